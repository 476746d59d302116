"""Map matching of points in bulk: speed, memory, and agreement with trips that are known."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.programs import run
from data.road_network import RoadNetwork
from data.splits import SPLITS, has_split, split_file
from runtime.files import read_json

IntArray = NDArray[np.int64]


def bench_points(points: Path, data_dir: Path, options: list[str]) -> dict[str, Any]:
    """Speed and memory on points in bulk, and agreement with the trips of the folder.

    A second run is timed: the first compiles. Work is done in a copy of the road map.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("roadmap.geo", "roadmap.rel"):
            shutil.copy(data_dir / file, folder / file)
        command = ["data.match", "--gps", str(points.resolve()), "--data_dir", str(folder)]
        command += ["--quiet", "--format", "parquet", *options]
        costs = [run(*command) for _ in range(2)]
        report = read_json(folder / "match_report.json")
        result = {
            "points": report["counts"]["points"],
            "trips": report["counts"]["trips"],
            "points_per_second": report["points_per_second"],
            "seconds_in_all": report["seconds_in_all"],
            "peak_memory_mib": round(costs[-1].peak_mib),
            "receivers_error_m": report["sigma_m"],
        }
        if has_split(data_dir, "train"):
            result |= _agreement(data_dir, folder)
    return result


@dataclass(frozen=True)
class KnownTrip:
    """The roads of a trip and when each was entered."""

    roads: IntArray
    entry_s: IntArray


def _agreement(known: Path, matched: Path) -> dict[str, Any]:
    """How much of the length of the folder's trips is in the trips that were matched now.

    A trip of the folder is compared with the one of the same vehicle that is under way with it the
    longest, over the time that both are, for the ends of trips are cut by taste.
    """
    length_m = RoadNetwork.load(known, with_zones=False).length_m
    here = _trips_by_vehicle(matched)
    compared, agreed_m, both_m = 0, 0.0, 0.0
    for vehicle, trips in _trips_by_vehicle(known).items():
        others = sorted(here.get(vehicle, []), key=lambda trip: int(trip.entry_s[0]))
        starts = np.array([trip.entry_s[0] for trip in others], dtype=np.int64)
        for trip in trips:
            begin, end = trip.entry_s[0], trip.entry_s[-1]
            first = max(int(np.searchsorted(starts, begin)) - 1, 0)
            near = others[first : int(np.searchsorted(starts, end))]
            shared_s, best = max(
                ((min(o.entry_s[-1], end) - max(o.entry_s[0], begin), o) for o in near),
                key=lambda pair: pair[0],
                default=(0, trip),
            )
            if shared_s <= 0:
                continue
            both = (trip.entry_s >= best.entry_s[0]) & (trip.entry_s <= best.entry_s[-1])
            roads = trip.roads[both]
            compared += 1
            both_m += float(length_m[roads].sum())
            agreed_m += float(length_m[roads[np.isin(roads, best.roads)]].sum())
    return {
        "trips_compared": compared,
        "km_compared": round(both_m / 1000.0),
        "agreement_by_length": round(agreed_m / max(both_m, 1e-9), 4),
    }


def _trips_by_vehicle(folder: Path) -> dict[str, list[KnownTrip]]:
    trips: dict[str, list[KnownTrip]] = {}
    for split in SPLITS:
        if not has_split(folder, split):
            continue
        path = split_file(folder, split)
        if path.suffix == ".csv":
            frame = pl.read_csv(path, schema_overrides={"entity_id": pl.String}).with_columns(
                pl.col("rid_list").str.split(",").cast(pl.List(pl.Int64)),
                pl.col("time_list")
                .str.split(",")
                .list.eval(pl.element().str.to_datetime(time_zone="UTC").dt.epoch("s")),
            )
        else:
            frame = pl.read_parquet(path).with_columns(
                pl.col("time_list").list.eval(pl.element().dt.epoch("s"))
            )
        columns = (frame["entity_id"], frame["rid_list"], frame["time_list"])
        for vehicle, roads, times in zip(*columns):
            trips.setdefault(vehicle, []).append(KnownTrip(roads.to_numpy(), times.to_numpy()))
    return trips
