"""How well and how fast map matching works: tracks with known ways, and points in bulk.

`--kubicka DIR`: a folder per track (`*.track`, `*.nodes`, `*.arcs`, `*.route`, of Kubička et al.
2015), scored by the length-weighted recall and precision of arcs, as it is and thinned.
`--points FILE --data_dir DIR`: speed, memory, and agreement with the trips that the folder has.
Without either: the demo city, whose trips are known. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench._common import save
from data.demo_city import make_demo_city
from data.demo_city.gps import GpsSettings, simulate_points
from data.match.arrays import Model
from data.match.cleaning_kernels import thin_trips
from data.match.matcher import Matcher, TripPoints, estimate_sigma_m
from data.match.network import MatchNetwork
from data.match.settings import model_for, spacing_m
from data.road_network import RoadNetwork
from data.roadmap_files import RoadTable
from data.splits import has_split, split_file
from data.trip_csv import read_trips
from runtime.errors import UserError, run_main
from runtime.files import read_json

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

INTERVALS_S = (1, 15, 30, 60, 120)
_KMH = 50.0


@dataclass(frozen=True)
class Track:
    """A recorded drive, the arcs it truly took, and the network."""

    name: str
    lon: FloatArray
    lat: FloatArray
    time_s: FloatArray
    route: IntArray
    network: MatchNetwork


def read_track(folder: Path) -> Track:
    """Reads a track's folder; every arc is a road."""
    name = folder.name
    node = np.loadtxt(folder / f"{name}.nodes", usecols=(0, 1), ndmin=2)
    arc = np.loadtxt(folder / f"{name}.arcs", usecols=(0, 1), dtype=np.int64, ndmin=2)
    track = np.loadtxt(folder / f"{name}.track", usecols=(0, 1, 2), ndmin=2)
    route = np.loadtxt(folder / f"{name}.route", dtype=np.int64, ndmin=1)
    table = RoadTable(
        vertex_offsets=2 * np.arange(len(arc) + 1, dtype=np.int64),
        vertex_lon=node[arc.ravel(), 0],
        vertex_lat=node[arc.ravel(), 1],
        highway=[""] * len(arc),
        length_m=np.zeros(len(arc)),
    )
    origin, target = _turns(arc, len(node))
    network = MatchNetwork.build(table, origin, target, np.full(len(arc), _KMH))
    return Track(name, track[:, 0], track[:, 1], track[:, 2], route, network)


def _turns(arc: IntArray, num_nodes: int) -> tuple[IntArray, IntArray]:
    """Every arc onto those that leave its end; back to where it came from at dead ends only."""
    leaving = np.argsort(arc[:, 0], kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(arc[:, 0], minlength=num_nodes))])
    counts = np.diff(first)[arc[:, 1]]
    origin = np.repeat(np.arange(len(arc)), counts)
    within = np.arange(len(origin)) - np.repeat(np.cumsum(counts) - counts, counts)
    target = leaving[np.repeat(first[arc[:, 1]], counts) + within]
    is_return = arc[target, 1] == arc[origin, 0]
    ways_on = np.bincount(origin, ~is_return, minlength=len(arc))
    kept = ~is_return | (ways_on[origin] == 0)
    return origin[kept], target[kept]


def match_track(track: Track, interval_s: float, model: Model | None = None) -> IntArray:
    """The arcs of a track thinned to an interval, in order."""
    chosen = _thinned(track.time_s, interval_s)
    lon, lat, time_s = track.lon[chosen], track.lat[chosen], track.time_s[chosen]
    moving = _apart(lon, lat, time_s, 10.0)
    sigma = estimate_sigma_m(track.network, lon[moving], lat[moving])
    kept = _apart(lon, lat, time_s, spacing_m(sigma))
    points = TripPoints(
        offsets=np.array([0, int(kept.sum())]),
        lon=lon[kept],
        lat=lat[kept],
        arrive_s=time_s[kept],
        leave_s=time_s[kept],
        heading=np.full(int(kept.sum()), np.nan, dtype=np.float32),
    )
    matcher = Matcher(track.network, model or model_for(sigma))
    return matcher.match(points).roads.astype(np.int64)


def _thinned(time_s: FloatArray, interval_s: float) -> IntArray:
    """The first point, those at least the interval after the last one taken, and the last."""
    taken = [0]
    for i in range(1, len(time_s)):
        if time_s[i] >= time_s[taken[-1]] + interval_s - 0.01:
            taken.append(i)
    if taken[-1] != len(time_s) - 1 and interval_s > 1:
        taken.append(len(time_s) - 1)
    return np.array(taken if interval_s > 1 else range(len(time_s)), dtype=np.int64)


def _apart(
    lon: FloatArray, lat: FloatArray, time_s: FloatArray, spacing: float
) -> NDArray[np.bool_]:
    kept = np.zeros(len(lon), dtype=np.bool_)
    thin_trips(np.array([0, len(lon)]), time_s, lon, lat, spacing, kept, time_s.copy())
    return kept


def score(track: Track, matched: IntArray) -> tuple[float, float]:
    """Length-weighted recall and precision of a matched way."""
    length = track.network.roads.length_m
    found, true = np.isin(track.route, matched), np.isin(matched, track.route)
    recall = length[track.route][found].sum() / max(length[track.route].sum(), 1e-9)
    precision = length[matched][true].sum() / max(length[matched].sum(), 1e-9)
    return float(recall), float(precision)


def bench_tracks(folder: Path) -> dict[str, Any]:
    """Mean recall and precision of all tracks, by interval; and each track's."""
    tracks = sorted(path for path in folder.iterdir() if (path / f"{path.name}.route").exists())
    if not tracks:
        raise UserError(f"{folder} has no tracks; expected folders NAME with NAME.track and so on.")
    scores: dict[int, dict[str, tuple[float, float]]] = {interval: {} for interval in INTERVALS_S}
    started = time.perf_counter()
    for path in tracks:
        track = read_track(path)
        for interval in INTERVALS_S:
            scores[interval][track.name] = score(track, match_track(track, interval))
    summary = {}
    for interval, of_track in scores.items():
        recall, precision = np.array(list(of_track.values())).mean(axis=0).round(4).tolist()
        summary[f"{interval} s"] = {"recall": recall, "precision": precision}
    return {
        "tracks": len(tracks),
        "seconds": round(time.perf_counter() - started, 1),
        "mean": summary,
        "by_track": {
            f"{interval} s": {name: [round(v, 4) for v in pair] for name, pair in of.items()}
            for interval, of in scores.items()
        },
    }


def bench_points(points: Path, data_dir: Path, options: list[str]) -> dict[str, Any]:
    """Speed and memory on points in bulk, and agreement with the trips of the folder.

    A second run is timed: the first compiles. Work is done in a copy of the road map.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("roadmap.geo", "roadmap.rel"):
            shutil.copy(data_dir / file, folder / file)
        command = [sys.executable, "-m", "data.match", "--gps", str(points.resolve())]
        command += ["--data_dir", str(folder), "--quiet", "--format", "parquet", *options]
        for _ in range(2):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        report = read_json(folder / "match_report.json")
        peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        result = {
            "points": report["counts"]["points"],
            "trips": report["counts"]["trips"],
            "points_per_second": report["points_per_second"],
            "seconds_in_all": report["seconds_in_all"],
            "peak_memory_mib": round(peak_mib),
            "receivers_error_m": report["sigma_m"],
        }
        if has_split(data_dir, "train"):
            result |= _agreement(data_dir, folder)
    return result


def _agreement(known: Path, matched: Path) -> dict[str, Any]:
    """How much of the length of the folder's trips is in the matched trips of the same times.

    A trip of the folder is compared with the matched trip that overlaps it in time and shares
    most roads with it, where they share one at all; only what lies between their common first
    and last roads counts, for the ends of trips are cut by taste.
    """
    network = RoadNetwork.load(known, with_zones=False)
    by_minute: dict[int, list[int]] = {}
    trips = list(_trips(matched, network))
    for number, (_, times) in enumerate(trips):
        for minute in range(int(times[0]) // 600, int(times[-1]) // 600 + 1):
            by_minute.setdefault(minute, []).append(number)
    on_trip = [frozenset(roads.tolist()) for roads, _ in trips]
    compared, agreed_m, length_m = 0, 0.0, 0.0
    for roads, times in _trips(known, network):
        best: tuple[int, IntArray] = (0, roads)
        middle, own = int((times[0] + times[-1]) // 2), frozenset(roads.tolist())
        for number in by_minute.get(middle // 600, []):
            shared = len(own & on_trip[number])
            if shared > best[0]:
                best = (shared, trips[number][0])
        if 2 * best[0] < len(own):
            continue
        common = np.flatnonzero(np.isin(roads, best[1]))
        inner = roads[common[0] : common[-1] + 1]
        length = network.length_m[inner]
        compared += 1
        length_m += float(length.sum())
        agreed_m += float(length[np.isin(inner, best[1])].sum())
    return {
        "trips_compared": compared,
        "agreement_by_length": round(agreed_m / max(length_m, 1e-9), 4),
    }


def _trips(folder: Path, network: RoadNetwork) -> Iterator[tuple[IntArray, IntArray]]:
    for split in ("train", "val", "test"):
        if not has_split(folder, split):
            continue
        for chunk in read_trips(split_file(folder, split), network, "skip"):
            ends = np.cumsum(chunk.lengths)
            for begin, end in zip(ends - chunk.lengths, ends):
                yield chunk.road_ids[begin:end].astype(np.int64), chunk.times[begin:end]


def bench_known_trips(quick: bool) -> list[dict[str, Any]]:
    """The demo city's trips from their points, by interval and noise."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        city = make_demo_city(Path(name) / "city", 1200, 200 if quick else 1000, progress=False)
        network = RoadNetwork.load(city, with_zones=False)
        matching = MatchNetwork.load(city)
        true = list(_trips(city, network))
        for interval in (1, 15, 60) if quick else INTERVALS_S:
            for noise in (5.0, 10.0, 20.0):
                points = simulate_points(city, GpsSettings(interval, noise, outage_share=0.0))
                rows.append(_recovery(points, matching, network, true, interval, noise))
    return rows


def _recovery(
    points: pl.DataFrame,
    matching: MatchNetwork,
    network: RoadNetwork,
    true: list[tuple[IntArray, IntArray]],
    interval: float,
    noise: float,
) -> dict[str, Any]:
    lon, lat = points["lon"].to_numpy(), points["lat"].to_numpy()
    time_s = points["time"].dt.epoch("ms").to_numpy() / 1000.0
    sizes = np.bincount(points["trip"].to_numpy(), minlength=len(true))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    sigma = estimate_sigma_m(matching, lon, lat)
    kept, leave = np.zeros(len(lon), dtype=np.bool_), time_s.copy()
    thin_trips(offsets, time_s, lon, lat, spacing_m(sigma), kept, leave)
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    legs = Matcher(matching, model_for(sigma)).match(
        TripPoints(
            offsets=before[offsets],
            lon=lon[kept],
            lat=lat[kept],
            arrive_s=time_s[kept],
            leave_s=leave[kept],
            heading=np.full(int(kept.sum()), np.nan, dtype=np.float32),
        )
    )
    exact, right_m, true_m = 0, 0.0, 0.0
    errors: list[FloatArray] = []
    for number, (roads, times) in enumerate(true):
        of_trip = np.flatnonzero(legs.trip == number)
        parts = [slice(legs.offsets[leg], legs.offsets[leg + 1]) for leg in of_trip]
        found = np.concatenate([roads[:0], *(legs.roads[part] for part in parts)])
        right_m += float(network.length_m[roads[np.isin(roads, found)]].sum())
        true_m += float(network.length_m[roads].sum())
        if len(found) == len(roads) and bool((found == roads).all()):
            exact += 1
            entry = legs.entry_s[parts[0]] if len(parts) == 1 else times
            spent = np.maximum(np.diff(times), 1)
            errors.append(np.abs(entry - times)[1:] / spent)
    return {
        "interval_s": interval,
        "noise_m": noise,
        "estimated_m": round(sigma, 1),
        "trips_exact": round(exact / len(true), 4),
        "roads_right": round(right_m / true_m, 4),
        "entry_error_median": round(float(np.median(np.concatenate(errors))), 3)
        if errors
        else None,
    }


def main() -> None:
    """Measures what the arguments name and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubicka", type=Path, help="folder of tracks with known ways")
    parser.add_argument("--points", type=Path, help="points in bulk")
    parser.add_argument("--data_dir", type=Path, help="their dataset folder")
    parser.add_argument("--columns", help="as of data.match")
    parser.add_argument("--timezone", help="of the folder's trips")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="small sizes, for a try")
    parser.add_argument("--no-save", action="store_true", help="print only")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    if arguments.kubicka:
        results["tracks"] = bench_tracks(arguments.kubicka)
    if arguments.points:
        if arguments.data_dir is None:
            raise UserError("--points needs --data_dir, the folder of their road map.")
        options = ["--processes", str(arguments.processes)]
        for option in ("columns", "timezone"):
            if getattr(arguments, option) is not None:
                options += [f"--{option}", getattr(arguments, option)]
        results["points"] = bench_points(arguments.points, arguments.data_dir, options)
    if not results:
        results["known_trips"] = bench_known_trips(arguments.quick)
    print(json.dumps(results, indent=1))
    if not arguments.no_save and not (arguments.kubicka or arguments.points):
        save("match", results)


if __name__ == "__main__":
    run_main(main)  # type: ignore[arg-type]
