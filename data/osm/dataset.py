"""Puts a network with its report and README into a dataset's folder, and guards what is there."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from data.attribution import REPORT_NAME
from data.osm.build import Account, Network
from data.osm.streets import Findings
from data.roadmap_writing import write_road_rows
from data.splits import SPLITS, has_split
from runtime.errors import UserError, markdown_text
from runtime.files import FolderLock, atomic_write_bytes, read_json, sha256_of_file, write_json
from runtime.logs import get_logger
from runtime.placing import clear
from runtime.results import Results

logger = get_logger("osm")

README_NAME = "README.md"
FORMAT_VERSION = 1
_SHOWN = 12

# Made from a network by other programs; they do not fit another one.
_DERIVED_FILES = ("road_network_partition", "zone_trans_mat.npy", "zones.json")
_README = """# {name}

A road network in HOSER's format: `roadmap.geo` and `roadmap.rel`, {roads:,} directed roads,
{length_km:,.0f} km. Made from `{source}` by `python -m data.osm`; `{report}` says with which
options, and what was left out.
{attribution}"""
_ATTRIBUTION = """
## Attribution

Contains data of {attribution}. Whoever publishes the network, or pictures or figures made of it,
has to say so, and a database derived from it stays under that licence.
"""


def write_dataset(
    folder: Path,
    network: Network,
    source: dict[str, Any],
    findings: Findings,
    force: bool,
    trips: Results | None = None,
) -> None:
    """Writes the network, `roadmap.json` and `README.md` into `folder`.

    `trips` are going to be made anew and go with the network that they belong to.
    """
    with FolderLock(folder, name=".roadmap.lock", wait=True):
        known = _known_report(folder)
        _guard(folder, known, force, trips is not None and (force or trips.are_ours()))
        # What a killed run leaves is ours, too.
        write_json(folder / REPORT_NAME, known | {"files": {}})
        if trips is not None:
            trips.clear()
        _remove_derived(folder)
        write_road_rows(folder, network.rows)
        report = _report(folder, network.account, source, findings)
        write_json(folder / REPORT_NAME, report)
        _write_readme(folder, report)


def _known_report(folder: Path) -> dict[str, Any]:
    try:
        known = read_json(folder / REPORT_NAME)
    except UserError:
        return {}
    return known if isinstance(known, dict) else {}


def _guard(folder: Path, known: dict[str, Any], force: bool, trips_go: bool) -> None:
    """Refuses to replace what this program did not write, or what trips are matched to."""
    trips = [split for split in SPLITS if has_split(folder, split) and not trips_go]
    if force and trips:
        logger.warning(
            "The trips in %s belong to the network that was there; match them to the new one.",
            folder,
        )
    if force:
        return
    if trips:
        raise UserError(
            f"{folder} holds the trips of {trips[0]}, which belong to the network that is there; "
            "choose another folder, or replace the network with --force."
        )
    if not known and (folder / REPORT_NAME).exists():
        raise UserError(
            f"{folder / REPORT_NAME} is in the way, and not of this program; choose another "
            "folder, or replace it with --force."
        )
    if not any((folder / name).exists() for name in ("roadmap.geo", "roadmap.rel")):
        return
    files = known.get("files")
    try:
        ours = isinstance(files, dict) and all(
            sha256_of_file(folder / name) == value for name, value in files.items()
        )
    except UserError:
        ours = False
    if not ours:
        raise UserError(
            f"{folder} holds a roadmap.geo that this program did not write as it is; choose "
            "another folder, or replace it with --force."
        )


def _remove_derived(folder: Path) -> None:
    for name in _DERIVED_FILES:
        clear(folder / name)


def _report(
    folder: Path, account: Account, source: dict[str, Any], findings: Findings
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "source": source,
        "attribution": source.get("attribution", ""),
        **account.as_json(),
        "ways_left_out": dict(findings.left_out.most_common()),
        "tags_not_understood": _most_common(findings.not_understood),
        "warnings": findings.warnings,
        "files": {name: sha256_of_file(folder / name) for name in ("roadmap.geo", "roadmap.rel")},
    }


def _most_common(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common(50))


def _write_readme(folder: Path, report: dict[str, Any]) -> None:
    path = folder / README_NAME
    text = _README.format(
        name=markdown_text(folder.resolve().name),
        roads=report["roads"],
        length_km=report["length_km"],
        source=markdown_text(report["source"]["file"]),
        report=REPORT_NAME,
        attribution=_ATTRIBUTION.format(attribution=markdown_text(report["attribution"]))
        if report["attribution"]
        else "",
    )
    with contextlib.suppress(OSError, UnicodeDecodeError):
        first = path.read_text(encoding="utf-8")
        if "python -m data.osm" not in first:  # somebody's own
            logger.warning("%s is kept as it is; mind the attribution in %s.", path, REPORT_NAME)
            return
    atomic_write_bytes(path, text.encode("utf-8", "replace"))


def log_account(account: Account, findings: Findings) -> None:
    """Says what was made and what fell out."""
    if findings.left_out:
        logger.info("Ways left out: %s.", _counted(findings.left_out))
    if findings.not_understood:
        logger.info("Tags not understood: %s.", _counted(findings.not_understood))
    for warning in findings.warnings:
        logger.warning("%s", warning)
    if account.restrictions:
        logger.info("Turn restrictions: %s.", _counted(account.restrictions))
    if account.through_ways:
        logger.info(
            "Of %d paths that are forbidden through other ways, %d can be said by pairs of roads.",
            account.through_ways,
            account.through_ways_kept,
        )
    if account.unreachable_roads:
        total_km = account.length_km + account.unreachable_km
        logger.info(
            "Left out %d roads (%.1f km, %.1f %% of the length) that cannot reach all others or "
            "be reached by them: %s.",
            account.unreachable_roads,
            account.unreachable_km,
            100 * account.unreachable_km / total_km if total_km else 0.0,
            _counted(account.unreachable_by_class),
        )


def _counted(counts: Counter[str]) -> str:
    shown = [f"{count} {what}" for what, count in counts.most_common(_SHOWN)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
