"""How fast roads and trips become arrays, and arrays batches.

python -m bench.data [--quick] [--trips 1000000]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench._common import grow_city, parser, print_table, save, timed
from data.demo_city import make_demo_city
from data.road_network import RoadNetwork
from data.text_rows import read_text
from dataset import RowSpec, TripDataset

BARS = {
    "csv_to_cache_trips_per_s": 20_000,
    "cache_to_ram_trips_per_s": 100_000,
    "bytes_per_road": 16,
    "batch_ms": 10,
    "load_60k_roads_s": 5,
    "load_60k_roads_mib": 1024,
    "streamed_million_mib": 2048,
}


def main() -> None:
    """Runs all parts and prints them beside their bars."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--trips", type=int, default=1_000_000, help="of the streamed run")
    options = arguments.parse_args()
    trips = 50_000 if options.quick else options.trips
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results = {
            **_reading(folder / "read", 5_000 if options.quick else 20_000),
            **_network(folder / "large", 10_000 if options.quick else 50_000),
            **_streamed(folder / "many", trips),
        }
    rows = [
        [name, f"{value:,.2f}", f"{BARS[name]:,}" if name in BARS else ""]
        for name, value in results.items()
    ]
    print_table("Data", ["figure", "measured", "bar"], rows)
    if not options.no_save:
        save("data", results)


def _reading(folder: Path, num_trips: int) -> dict[str, float]:
    """Trips of 83 roads on average, as in Beijing, from CSV to cache to memory to a batch."""
    make_demo_city(folder, 5_000, 500, progress=False)
    network = RoadNetwork.load(folder)
    _write_long_trips(folder / "train.csv", network, num_trips, mean_roads=83)
    warm_up = folder / "warm_up"
    warm_up.mkdir()
    header, first = (folder / "train.csv").read_text().split("\n", 2)[:2]
    (warm_up / "train.csv").write_text(f"{header}\n{first}\n")
    TripDataset.load(warm_up, "train", network)  # compiles the parser
    columns = ["rid_list", "time_list"]
    list(read_text(warm_up / "train.csv", columns, polars_from_bytes=0))  # imports what it takes
    start = time.perf_counter()
    dataset = TripDataset.load(folder, "train", network)
    built = time.perf_counter() - start
    loading = timed(lambda: TripDataset.load(folder, "train", network), repeats=5)
    steps = len(dataset.road_ids)
    held = (dataset.road_ids, dataset.seconds, dataset.starts, dataset.num_roads_of_trip)
    num_bytes = sum(column.nbytes for column in (*held, dataset.offsets))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spec = RowSpec(np.arange(64), np.zeros(64, dtype=np.int64), np.full(64, 79))
    batch = timed(lambda: dataset.features(dataset.rows(spec), "cpu"), repeats=30, warm_up=5)
    torch.set_num_threads(threads)
    return {
        "mean_roads_per_trip": steps / len(dataset),
        "csv_to_cache_trips_per_s": len(dataset) / built,
        "cache_to_ram_trips_per_s": len(dataset) / loading.median,
        "bytes_per_road": num_bytes / steps,
        "batch_ms": 1000 * batch.median,
    }


def _write_long_trips(path: Path, network: RoadNetwork, count: int, mean_roads: int) -> None:
    """Random walks of 80 roads or more, written as the public datasets are."""
    generator = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("mm_id,entity_id,traj_id,rid_list,time_list\n")
        for trip in range(count):
            length = int(generator.integers(80, 2 * mean_roads - 79))
            road = int(generator.integers(network.num_roads))
            roads = [road]
            while len(roads) < length:
                candidates = network.candidates(roads[-1])
                if len(candidates) == 0:
                    roads = [int(generator.integers(network.num_roads))]
                    continue
                roads.append(int(candidates[generator.integers(len(candidates))]))
            seconds = 1446534044 + np.cumsum(generator.integers(3, 60, length))
            times = np.datetime_as_string(seconds.astype("datetime64[s]"))
            road_text = ",".join(map(str, roads))
            file.write(f'{trip},{trip % 50},{trip},"{road_text}","{"Z,".join(times)}Z"\n')


def _network(folder: Path, num_roads: int) -> dict[str, float]:
    """A large road network on one core, in a process of its own for its memory."""
    make_demo_city(folder, num_roads, 100, progress=False)
    if num_roads == 50_000:
        grow_city(folder, 60_000)
    program = (
        "import sys, time\n"
        "from bench.peak import peak_memory_mib\n"
        "from data.road_network import RoadNetwork\n"
        "start = time.perf_counter()\n"
        "RoadNetwork.load(sys.argv[1])\n"
        "print(time.perf_counter() - start, peak_memory_mib())\n"
    )
    seconds, mebibytes = _measure(program, folder)
    return {"load_60k_roads_s": seconds, "load_60k_roads_mib": mebibytes}


def _streamed(folder: Path, num_trips: int) -> dict[str, float]:
    """Generates many trips, caches them and runs batches from disk, with little memory."""
    start = time.perf_counter()
    make_demo_city(folder, 2_000, num_trips, progress=False)
    generated = time.perf_counter() - start
    program = (
        "import sys, time\n"
        "from bench.peak import peak_memory_mib\n"
        "import numpy as np\n"
        "from data.road_network import RoadNetwork\n"
        "from data.sampling import bucketed_batches\n"
        "from dataset import RowSpec, TripDataset\n"
        "start = time.perf_counter()\n"
        "network = RoadNetwork.load(sys.argv[1])\n"
        "dataset = TripDataset.load(sys.argv[1], 'train', network, ram_fraction=1e-9)\n"
        "batches = bucketed_batches(dataset.trace_lengths, 64, 0, 0)\n"
        "for trips in batches[:2000]:\n"
        "    zeros = np.zeros(len(trips), dtype=np.int64)\n"
        "    spec = RowSpec(trips, zeros, dataset.trace_lengths[trips].astype(np.int64))\n"
        "    dataset.features(dataset.rows(spec), 'cpu')\n"
        "print(time.perf_counter() - start, peak_memory_mib())\n"
    )
    seconds, mebibytes = _measure(program, folder)
    shutil.rmtree(folder)
    return {
        "streamed_trips": float(num_trips),
        "generated_trips_per_s": num_trips / generated,
        "streamed_run_s": seconds,
        "streamed_million_mib": mebibytes,
    }


def _measure(program: str, folder: Path) -> tuple[float, float]:
    """Runs a measuring program in a process of its own; its seconds and its peak MiB."""
    command: list[Any] = [sys.executable, "-c", program, str(folder)]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, mebibytes = map(float, output.stdout.split()[-2:])
    return seconds, mebibytes


if __name__ == "__main__":
    main()
