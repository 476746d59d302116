"""The figures of map matching as a section of `docs/own-city.md`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench._pages import fill

PAGE = Path(__file__).parent.parent / "docs" / "own-city.md"


def write_section(results: dict[str, Any], page: Path = PAGE) -> None:
    """Writes the figures in their place on the page."""
    lines = [
        *_tracks(results.get("tracks")),
        *_points(results.get("points")),
        *_known(results.get("known_trips")),
    ]
    fill(page, {"match": lambda: "\n".join(lines).strip("\n")})
    print(f"Written into {page.name}.")


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
