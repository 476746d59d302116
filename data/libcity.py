"""A dataset folder from LibCity's atomic files: roads, who follows whom, trips point by point.

`.geo` and `.rel` are the very format of `roadmap.geo` and `roadmap.rel`. A `.dyna` or `.traj`
file has a row for each road that a trip enters; rows of one `entity_id` and `traj_id` that follow
each other are a trip. Trips are split by time: the first go to training, the last to the test.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.csv_reading import read_columns
from data.road_network import RoadNetwork
from runtime.errors import UserError
from runtime.files import replace_atomically
from runtime.logs import get_logger

logger = get_logger("data")

SPLITS = ("train", "val", "test")
DEFAULT_SHARES = (0.8, 0.1, 0.1)


@dataclass
class _Trip:
    entity: str
    number: str
    roads: list[str]
    times: list[str]


def import_libcity(
    source: Path, target: Path, shares: tuple[float, float, float] = DEFAULT_SHARES
) -> dict[str, int]:
    """Makes the folder `target`; returns how many trips each split got."""
    if abs(sum(shares) - 1) > 1e-9 or min(shares) < 0:
        raise UserError(f"The shares of the splits are {shares}; they must add up to 1.")
    files = {kind: _only_file(source, kinds) for kind, kinds in _KINDS.items()}
    trips = sorted(_trips(files["trips"]), key=lambda trip: trip.times[0])
    _check_roads(files)
    target.mkdir(parents=True, exist_ok=True)
    for kind in ("geo", "rel"):
        with replace_atomically(target / f"roadmap.{kind}") as temporary:
            shutil.copyfile(files[kind], temporary)
    edges = [0, round(shares[0] * len(trips)), round((1 - shares[2]) * len(trips)), len(trips)]
    counts = {}
    for split, begin, end in zip(SPLITS, edges[:-1], edges[1:], strict=True):
        _write(target / f"{split}.csv", trips[begin:end])
        counts[split] = end - begin
    logger.info("%s has %s.", target, ", ".join(f"{n} {name}" for name, n in counts.items()))
    return counts


def _check_roads(files: dict[str, Path]) -> None:
    """Refuses a network that no program could read, before anything is in its place."""
    with tempfile.TemporaryDirectory() as folder:
        links = {kind: Path(folder) / f"roadmap.{kind}" for kind in ("geo", "rel")}
        for kind, link in links.items():
            link.symlink_to(files[kind].absolute())
        try:
            RoadNetwork.load(folder)
        except UserError as error:
            text = str(error)
            for kind, link in links.items():
                text = text.replace(str(link), str(files[kind]))
            raise UserError(text) from error


_KINDS = {"geo": ("geo",), "rel": ("rel",), "trips": ("dyna", "traj")}


def _only_file(folder: Path, kinds: tuple[str, ...]) -> Path:
    found = [file for kind in kinds for file in sorted(folder.glob(f"*.{kind}"))]
    if len(found) != 1:
        names = " or ".join(f"*.{kind}" for kind in kinds)
        raise UserError(f"{folder} has {len(found)} files {names}; expected exactly one.")
    return found[0]


def _trips(file: Path) -> Iterator[_Trip]:
    trip: _Trip | None = None
    required = ["time", "entity_id", "location"]
    for line, (time, entity, road, number) in read_columns(file, required, ["traj_id"]):
        if not road.strip().isdecimal():
            raise UserError(f"{file}:{line}: location is {road[:40]!r}, not a road's geo_id.")
        if trip is None or (trip.entity, trip.number) != (entity, number):
            if trip is not None:
                yield trip
            trip = _Trip(entity, number, [], [])
        trip.roads.append(road.strip())
        trip.times.append(time.strip())
    if trip is None:
        raise UserError(f"{file} has no rows.")
    yield trip


def _write(path: Path, trips: list[_Trip]) -> None:
    with (
        replace_atomically(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["mm_id", "entity_id", "traj_id", "rid_list", "time_list"])
        for index, trip in enumerate(trips):
            roads, times = ",".join(trip.roads), ",".join(trip.times)
            writer.writerow([index, trip.entity, trip.number or 0, roads, times])
