"""How cost grows: with the roads of the city, the trips of the dataset, the length of a trip.

python -m bench.growth [--quick]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from bench._common import grow_city, parser, print_table, save, timed
from bench.memory import PeakMemory
from bench.student import random_walks, total_loss, training_step
from config import load_config
from data.batch import Batch
from data.demo_city import DemoCitySettings, make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from data.sampling import bucketed_batches
from dataset import TripDataset
from hoser import HOSER

ROADS = [2_000, 10_000, 40_000, 60_000]
MOST_MADE = 50_000  # a larger city repeats roads of a smaller one
TRIPS = [1_000, 10_000, 100_000, 1_000_000]
LENGTHS = [16, 32, 64, 128, 256, 512]
BATCH_SIZE = 64
POSITIONS = 4096  # of a batch whose trips have a given length
REPEATS = 5


def main() -> None:
    """Measures the three and prints them."""
    options = parser(__doc__ or "").parse_args()
    roads, trips, lengths = ROADS, TRIPS, LENGTHS
    if options.quick:
        roads, trips, lengths = roads[:1], trips[:2], lengths[:2]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results = {
            "roads": [_with_roads(folder / f"roads{count}", count) for count in roads],
            "trips": [_with_trips(folder / f"trips{count}", count) for count in trips],
            "length": _with_length(folder / "length", lengths),
        }
    for name, rows in results.items():
        header = list(rows[0])
        print_table(
            f"Growth with {name}", header, [[f"{row[key]:,.4g}" for key in header] for row in rows]
        )
    if not options.no_save:
        save("growth", results)


def _with_roads(folder: Path, num_roads: int) -> dict[str, float]:
    """Loading the network, a training step of 64 trips, encoding all roads for generation."""
    make_demo_city(folder, min(num_roads, MOST_MADE), 1000, progress=False)
    if num_roads > MOST_MADE:
        grow_city(folder, num_roads)
    ensure_zones(folder)
    loading = timed(lambda: RoadNetwork.load(folder), repeats=3, warm_up=0)
    network = RoadNetwork.load(folder)
    trips = TripDataset.load(folder, "train", network)
    model = HOSER(load_config(None), network)
    step = _median_step(model, trips.batch(range(BATCH_SIZE)))

    @torch.no_grad()
    def encode() -> None:
        model.encode_roads()

    return {
        "roads": float(network.num_roads),
        "load_s": loading.median,
        "training_step_ms": 1000 * step,
        "encode_all_roads_ms": 1000 * timed(encode, REPEATS).median,
    }


def _with_trips(folder: Path, num_trips: int) -> dict[str, float]:
    """CSV to cache, cache to memory, the order of an epoch, the features of a batch."""
    settings = DemoCitySettings(ROADS[0], num_trips, val=1, test=1)
    make_demo_city(folder, settings=settings, progress=False)
    network = RoadNetwork.load(folder)
    start = time.perf_counter()
    trips = TripDataset.load(folder, "train", network)
    built = time.perf_counter() - start
    loading = timed(lambda: TripDataset.load(folder, "train", network), repeats=3)
    order = timed(lambda: bucketed_batches(trips.trace_lengths, BATCH_SIZE, 0, 0), repeats=3)
    batch = timed(lambda: trips.batch(range(BATCH_SIZE)), REPEATS)
    return {
        "trips": float(num_trips),
        "csv_to_cache_s": built,
        "cache_to_memory_ms": 1000 * loading.median,
        "epoch_order_ms": 1000 * order.median,
        "batch_ms": 1000 * batch.median,
    }


def _with_length(folder: Path, lengths: list[int]) -> list[dict[str, float]]:
    """Training steps with the same number of positions, cut into trips of a given length."""
    make_demo_city(folder, ROADS[0], 100, progress=False)
    ensure_zones(folder)
    network = RoadNetwork.load(folder)
    config = load_config(None, {"trajectory_encoder_config.max_len": max(lengths)})
    rows = []
    for length in lengths:
        batch = random_walks(network, POSITIONS // length, length)
        model = HOSER(config, network)
        step = _median_step(model, batch)
        with PeakMemory() as memory:
            total_loss(model, batch).backward()
        rows.append(
            {
                "roads_per_trip": float(length),
                "training_step_ms": 1000 * step,
                "peak_mib": memory.peak_bytes / 2**20,
            }
        )
    return rows


def _median_step(model: HOSER, batch: Batch) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    steps = [training_step(model, optimizer, batch)[-1] for _ in range(REPEATS + 1)]
    return median(steps[1:])


if __name__ == "__main__":
    main()
