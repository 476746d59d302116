"""Map matching of the demo city's points, whose trips are known, by interval and noise."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.match_tracks import INTERVALS_S
from data.demo_city import make_demo_city
from data.demo_city.gps import GpsSettings, simulate_points
from data.match.cleaning_kernels import thin_trips
from data.match.matcher import Matcher, TripPoints, estimate_sigma_m
from data.match.network import MatchNetwork
from data.match.settings import model_for, spacing_m
from data.road_network import RoadNetwork
from data.splits import SPLITS, split_file
from data.trip_csv import read_trips

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


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
            entry = np.concatenate([legs.entry_s[part] for part in parts])
            spent = np.maximum(np.diff(times), 1)
            errors.append((np.abs(entry - times)[1:] / spent).astype(np.float64))
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


def _trips(folder: Path, network: RoadNetwork) -> Iterator[tuple[IntArray, IntArray]]:
    for split in SPLITS:
        for chunk in read_trips(split_file(folder, split), network, "error"):
            ends = np.cumsum(chunk.lengths)
            for begin, end in zip(ends - chunk.lengths, ends):
                yield chunk.road_ids[begin:end].astype(np.int64), chunk.times[begin:end]
