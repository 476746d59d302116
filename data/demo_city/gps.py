"""GPS points as vehicles on the trips of a dataset would have sent them: sparse, noisy, with gaps.

`python -m data.demo_city.gps --data_dir data/demo --out points.parquet`. For trying out map
matching on trips that are known; nothing else needs it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from config.arguments import example_parser
from data.geometry import EARTH_RADIUS_M
from data.road_network import RoadNetwork
from data.splits import SPLITS, split_file
from data.tables import writable_by_polars
from data.trip_csv import read_trips
from runtime.errors import UserError, run_main
from runtime.files import replace_atomically
from runtime.logs import setup_logging
from runtime.results import Results, add_force_argument

if TYPE_CHECKING:
    import polars as pl

EXAMPLES = "  python -m data.demo_city.gps --data_dir data/demo --out points.parquet --interval 30"
_FIRST_SHARE, _LAST_SHARE = 0.4, 0.5  # of the first and the last road that are driven
_LAST_SPEED = 8.0  # metres a second on the last road, whose end the trips do not time


@dataclass(frozen=True)
class GpsSettings:
    """What the receivers are like."""

    interval_s: float = 15.0
    noise_m: float = 8.0
    outage_share: float = 0.05
    """Trips during which the receiver is silent for a while."""
    outage_s: float = 90.0
    seed: int = 0

    def check(self) -> None:
        """Raises `UserError` where a value makes no sense."""
        if not 0.1 <= self.interval_s <= 86_400:
            raise UserError(f"--interval is {self.interval_s}; it must be 0.1 to 86400 seconds.")
        if not 0 <= self.noise_m <= 1e6 or not 0 <= self.outage_share <= 1:
            raise UserError(
                f"--noise is {self.noise_m}, --outages {self.outage_share}; metres from 0 to a "
                "million and a share from 0 to 1 are possible."
            )


def simulate_points(data_dir: Path, settings: GpsSettings) -> pl.DataFrame:
    """Points of all trips; `trip` counts them through train, val and test in the files' order."""
    import polars as pl

    settings.check()
    network = RoadNetwork.load(data_dir, with_zones=False)
    rng = np.random.default_rng([settings.seed, 41])
    parts: list[pl.DataFrame] = []
    number = 0
    for split in SPLITS:
        for chunk in read_trips(split_file(data_dir, split), network, "error"):
            ends = np.cumsum(chunk.lengths)
            for begin, end in zip(ends - chunk.lengths, ends):
                steps = slice(int(begin), int(end))
                roads, times = chunk.road_ids[steps], chunk.times[steps].astype(np.float64)
                time_s, lon, lat = _drive(network, roads, times, settings, rng)
                parts.append(pl.DataFrame({"trip": number, "time": time_s, "lat": lat, "lon": lon}))
                number += 1
    points = pl.concat(parts)
    return points.with_columns(
        pl.from_epoch((pl.col("time") * 1000).round().cast(pl.Int64), time_unit="ms"),
        (pl.col("trip") % max(1, number // 12)).alias("vehicle"),
    )


def _drive(
    network: RoadNetwork,
    roads: NDArray[np.int32],
    times: NDArray[np.float64],
    settings: GpsSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """When and where a vehicle on one trip sends points."""
    last_s = max(float(network.length_m[roads[-1]]) / _LAST_SPEED, 2.0)
    bounds = np.append(times, times[-1] + last_s)
    start = bounds[0] + _FIRST_SHARE * (bounds[1] - bounds[0])
    stop = bounds[-2] + _LAST_SHARE * last_s
    sent = np.append(np.arange(start, stop, settings.interval_s), stop)
    if rng.random() < settings.outage_share:
        silent = rng.uniform(start, stop)
        within = (sent > silent) & (sent < silent + settings.outage_s)
        within[[0, -1]] = False
        sent = sent[~within]
    step = np.clip(np.searchsorted(bounds, sent, side="right") - 1, 0, len(roads) - 1)
    share = (sent - bounds[step]) / np.maximum(bounds[step + 1] - bounds[step], 1e-9)
    places = np.array(
        [_place(network, int(roads[k]), min(float(s), 1.0)) for k, s in zip(step, share)]
    )
    error = np.degrees(rng.normal(0.0, settings.noise_m, places.shape) / EARTH_RADIUS_M)
    error[:, 0] /= np.cos(np.radians(places[:, 1]))
    places = places + error
    return sent, places[:, 0], places[:, 1]


def _place(network: RoadNetwork, road: int, share: float) -> tuple[float, float]:
    vertices = slice(network.vertex_offsets[road], network.vertex_offsets[road + 1])
    lon, lat = network.vertex_lon[vertices], network.vertex_lat[vertices]
    steps = np.hypot(np.diff(lon) * np.cos(np.radians(lat[0])), np.diff(lat))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = share * along[-1]
    return float(np.interp(at, along, lon)), float(np.interp(at, along, lat))


def write_points(data_dir: Path, out: Path, settings: GpsSettings) -> int:
    """Writes the points as Parquet or CSV; returns how many."""
    points = simulate_points(data_dir, settings)
    with replace_atomically(out) as temporary, writable_by_polars(temporary) as file:
        if out.suffix == ".csv":
            points.write_csv(file)
        else:
            points.write_parquet(file)
    return len(points)


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the points."""
    defaults = GpsSettings()
    parser: argparse.ArgumentParser = example_parser(
        "Writes GPS points as vehicles on a dataset's trips would have sent them.",
        EXAMPLES,
        prog="python -m data.demo_city.gps",
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset folder")
    parser.add_argument("--out", type=Path, required=True, help="points: .parquet or .csv")
    parser.add_argument("--interval", type=float, default=defaults.interval_s, help="seconds")
    parser.add_argument("--noise", type=float, default=defaults.noise_m, help="metres")
    parser.add_argument(
        "--outages", type=float, default=defaults.outage_share, help="share of trips with one"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of noise and outages")
    add_force_argument(parser)
    arguments = parser.parse_args(argv)
    setup_logging()
    results = Results.file(arguments.out, "data.demo_city.gps", arguments.force)
    results.check()
    settings = GpsSettings(
        interval_s=arguments.interval,
        noise_m=arguments.noise,
        outage_share=arguments.outages,
        seed=arguments.seed,
    )
    with results.written():
        count = write_points(arguments.data_dir, arguments.out, settings)
    print(f"{count:,} points are in {arguments.out}.")


if __name__ == "__main__":
    run_main(main)
