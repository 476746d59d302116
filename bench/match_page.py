"""The figures of map matching and of reading maps, kept and shown in `docs/own-city.md`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench._common import RESULTS, machine_name, save
from bench._pages import fill
from runtime.files import read_json

PAGE = Path(__file__).parent.parent / "docs" / "own-city.md"
NAME = "match"


def keep(results: dict[str, Any]) -> None:
    """Adds figures to those of other kinds that were measured before, and to the page."""
    path = RESULTS / f"{machine_name()}.json"
    known = read_json(path).get(NAME, {}) if path.exists() else {}
    if "tracks" in results:  # each track's own scores are for the screen
        tracks = {key: value for key, value in results["tracks"].items() if key != "by_track"}
        results = results | {"tracks": tracks}
    merged = {key: value for key, value in known.items() if key != "machine"} | results
    save(NAME, merged)
    write_sections(merged)


def write_sections(results: dict[str, Any], page: Path = PAGE) -> None:
    """Writes the figures in their places on the page."""
    matching = [
        *_tracks(results.get("tracks")),
        *_points(results.get("points")),
        *_known(results.get("known_trips")),
    ]
    maps = _maps(results.get("osm"))
    fill(
        page,
        {
            "match": lambda: "\n".join(matching).strip("\n"),
            "osm": lambda: "\n".join(maps).strip("\n"),
        },
    )
    print(f"Written into {page.name}.")


def _maps(results: dict[str, Any] | None) -> list[str]:
    if results is None:
        return []
    lines = ["| file | roads | seconds | memory |", "| --: | --: | --: | --: |"]
    lines += [
        f"| {size['file_mb']:.1f} MB | {size['roads']:,} | {size['seconds']:.1f} "
        f"| {size['peak_mib']:,.0f} MiB |"
        for size in results["sizes"]
    ]
    whole = results["gigabyte"]
    lines += [
        "",
        f"Growing on like this, a country's extract of 1 GB takes {whole['minutes']:.0f} minutes "
        f"and {whole['gib']:.1f} GiB.",
    ]
    return lines


def _tracks(results: dict[str, Any] | None) -> list[str]:
    if results is None:
        return []
    lines = [
        "",
        f"{results['tracks']} tracks from all over the world (Kubička et al. 2015), thinned; "
        "means over the tracks, weighted by length within each:",
        "",
        "| a point every | recall | precision |",
        "| --: | --: | --: |",
    ]
    return lines + [
        f"| {interval} | {of['recall']:.4f} | {of['precision']:.4f} |"
        for interval, of in results["mean"].items()
    ]


def _points(results: dict[str, Any] | None) -> list[str]:
    if results is None:
        return []
    text = (
        f"Points in bulk: {results['points']:,} points made {results['trips']:,} trips in "
        f"{results['seconds_in_all']:.1f} s, reading and writing included, "
        f"{results['points_per_second']:,} points a second while matching, within "
        f"{results['peak_memory_mib']:,} MiB."
    )
    if "agreement_by_length" in results:
        text += (
            f" Of the length of {results['trips_compared']:,} trips that another matcher made of "
            f"them, {results['agreement_by_length']:.1%} is the same."
        )
    return ["", text]


def _known(rows: list[dict[str, Any]] | None) -> list[str]:
    if not rows:
        return []
    lines = [
        "",
        "The demo city's trips, which are known, from their points. Right: by length; error of "
        "entry times: the median, as a share of the time spent on the road.",
        "",
        "| a point every | noise | trips exactly right | roads right | error of entry times |",
        "| --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        error = row["entry_error_median"]
        lines.append(
            f"| {row['interval_s']} s | {row['noise_m']:.0f} m | {row['trips_exact']:.1%} "
            f"| {row['roads_right']:.1%} | {'' if error is None else f'{error:.1%}'} |"
        )
    return lines
