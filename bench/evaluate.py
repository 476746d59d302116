"""How fast trips are measured, against the plain loops of the original notebook.

python -m bench.evaluate [--quick] [--no-save]
"""

from __future__ import annotations

import csv
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench._common import parser, print_table, save, timed
from bench.peak import peak_memory_mib
from config.choices import DtwKind
from data.demo_city import make_demo_city
from data.road_network import RoadNetwork
from metrics.assessment import assess
from metrics.distributions import bin_edges, histogram, jensen_shannon
from metrics.generated import GeneratedTrips, read_generated
from metrics.local import PairMetrics, measure_local
from metrics.measures import measure_quantities, pair_values
from metrics.od import Pairs
from metrics.reference import Reference, Settings
from metrics.trips import Trips

ROADS_PER_TRIP = 30
BARS = {"exact_s": 2.0, "fastdtw_s": 6.0, "global_s": 5.0}


def main() -> None:
    """Runs all parts and prints them beside their bars."""
    options = parser(__doc__ or "").parse_args()
    num_pairs, num_trips = (500, 10_000) if options.quick else (5_000, 100_000)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_demo_city(folder / "city", 3_000, 500, progress=False)
        network = RoadNetwork.load(folder / "city")
        results: dict[str, Any] = {
            **_memory(network, 10 * num_trips),
            **_local(network, num_pairs),
            **_global(network, num_trips),
            **_everything(network, num_trips, folder),
        }
    rows = [
        [name, f"{value:,.3f}", f"{BARS[name]:.1f}" if name in BARS else ""]
        for name, value in results.items()
    ]
    print_table(
        f"Evaluation: {num_pairs} pairs and {num_trips} trips of {ROADS_PER_TRIP} roads",
        ["figure", "measured", "bar"],
        rows,
    )
    if not options.no_save:
        save("evaluate", {"num_pairs": num_pairs, "num_trips": num_trips, **results})


def _walks(network: RoadNetwork, count: int, seed: int) -> Trips:
    """Random drives of ROADS_PER_TRIP roads, all of them a step further at a time."""
    rng = np.random.default_rng(seed)
    degree = network.out_degree
    roads = np.empty((count, ROADS_PER_TRIP), dtype=np.int32)
    roads[:, 0] = rng.choice(np.flatnonzero(degree), count)
    for step in range(1, ROADS_PER_TRIP):
        before = roads[:, step - 1]
        choice = (rng.random(count) * degree[before]).astype(np.int64)
        following = network.reach_offsets[before] + choice
        dead_end = degree[before] == 0
        following[dead_end] = 0
        roads[:, step] = np.where(dead_end, before, network.reach_targets[following])
    times = 1_446_000_000 + np.cumsum(rng.integers(1, 60, roads.shape), axis=1)
    times += rng.integers(0, 14 * 86_400, (count, 1))
    lengths = np.full(count, ROADS_PER_TRIP)
    return Trips.from_lengths(roads.reshape(-1), times.reshape(-1), lengths)


def _local(network: RoadNetwork, count: int) -> dict[str, float]:
    real, generated = _walks(network, count, 1), _walks(network, count, 2)
    pairs = Pairs(np.arange(count), np.arange(count), count, count)

    def ours(dtw: DtwKind) -> Callable[[], PairMetrics]:
        return lambda: measure_local(real, generated, pairs, network, dtw=dtw)

    compiling = time.perf_counter()
    ours("fastdtw")()
    compile_s = time.perf_counter() - compiling
    exact, fast = timed(ours("exact")), timed(ours("fastdtw"))
    started = time.perf_counter()
    plain = _plain_loops(real, generated, network, count)
    plain_s = time.perf_counter() - started
    found = pair_values(ours("fastdtw")())
    for name, values in plain.items():
        difference = np.abs(found[name] - values).max()
        assert difference < 1e-6, f"{name} differs by {difference} from the plain loops"
    return {
        "plain_loops_s": plain_s,
        "exact_s": exact.median,
        "fastdtw_s": fast.median,
        "first_call_s": compile_s,
        "exact_speedup": plain_s / exact.median,
        "fastdtw_speedup": plain_s / fast.median,
    }


def _plain_loops(
    real: Trips, generated: Trips, network: RoadNetwork, count: int
) -> dict[str, NDArray[np.float64]]:
    """Pair by pair with the packages and loops that the notebook used."""
    from fastdtw import fastdtw

    found: dict[str, list[float]] = {"hausdorff_km": [], "dtw_km": [], "edr": []}
    for index in range(count):
        first, second = (
            np.stack([network.center_lat[roads], network.center_lon[roads]], axis=1)
            for roads in (real.trip(index)[0], generated.trip(index)[0])
        )
        distance = np.array([[_haversine(a, b, 6378.0) for b in second] for a in first])
        hausdorff = max(distance.min(axis=0).max(), distance.min(axis=1).max())
        found["hausdorff_km"].append(hausdorff)
        found["dtw_km"].append(fastdtw(first, second, 1, lambda a, b: _haversine(a, b, 6378.0))[0])
        found["edr"].append(_edr(first, second))
    return {name: np.array(values) for name, values in found.items()}


def _haversine(first: Any, second: Any, radius: float) -> float:
    lat1, lon1 = math.radians(first[0]), math.radians(first[1])
    lat2, lon2 = math.radians(second[0]), math.radians(second[1])
    chord = math.sin((lat2 - lat1) / 2) ** 2
    chord += math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * radius * math.asin(math.sqrt(chord))


def _edr(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    n, m = len(first), len(second)
    edits = np.add.outer(np.arange(n + 1), np.arange(m + 1))
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            apart = _haversine(first[i - 1][::-1], second[j - 1][::-1], 6378137.0)
            change = 0 if apart < 100 else 1
            edits[i][j] = min(
                edits[i][j - 1] + 1, edits[i - 1][j] + 1, edits[i - 1][j - 1] + change
            )
    return float(edits[n][m]) / max(n, m)


def _global(network: RoadNetwork, count: int) -> dict[str, float]:
    real, generated = _walks(network, count, 3), _walks(network, count, 4)

    def divergences() -> list[float]:
        sides = measure_quantities(real, network), measure_quantities(generated, network)
        found = []
        for name, values in sides[0].items():
            edges = bin_edges(values.values)
            counts = [histogram(side[name].values, edges) for side in sides]
            found.append(float(jensen_shannon(counts[0], counts[1])))
        return found

    return {"global_s": timed(divergences, repeats=3).median}


def _everything(network: RoadNetwork, count: int, folder: Path) -> dict[str, float]:
    """Reading a generated file, all measures, 1,000 resamples and all scenarios."""
    path = folder / "generated.csv"
    generated = _walks(network, count, 5)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["gene_trace_road_id", "gene_trace_datetime"])
        stamps = np.datetime_as_string(generated.times.astype("datetime64[s]"))
        for index in range(count):
            span = slice(generated.offsets[index], generated.offsets[index + 1])
            times = [f"{stamp}Z" for stamp in stamps[span]]
            writer.writerow([str(generated.road_ids[span].tolist()), str(times)])
    started = time.perf_counter()
    read: GeneratedTrips = read_generated(path, network)
    read_s = time.perf_counter() - started
    assert len(read) == count
    started = time.perf_counter()
    reference = Reference.of(_walks(network, count, 6), network, Settings(grid_size=0.01))
    assess("bench", read, reference)
    return {"read_generated_s": read_s, "assess_all_s": time.perf_counter() - started}


def _memory(network: RoadNetwork, count: int) -> dict[str, float]:
    """What a hundred times the pairs take beyond the bytes of their results."""
    trips = _walks(network, 1_000, 7)
    few = Pairs(np.arange(1_000), np.arange(1_000), 1_000, 1_000)
    measure_local(trips, trips, few, network, dtw="exact")
    index = np.arange(count) % 1_000
    pairs = Pairs(index, index[::-1].copy(), count, count)
    before = peak_memory_mib()
    local = measure_local(trips, trips, pairs, network, dtw="exact")
    columns = (local.hausdorff_km, local.dtw_km, local.edits, local.points)
    kept = sum(column.nbytes for column in columns) / 2**20
    return {
        "memory_pairs": count,
        "results_mib": kept,
        "beyond_mib": peak_memory_mib() - before - kept,
    }


if __name__ == "__main__":
    main()
