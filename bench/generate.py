"""Generation: ours against the plain way with the same weights, and against the floor.

    python -m bench.generate                    the demo city of 7,000 roads, a student trained here
    python -m bench.generate --data_dir D --model_path best.pth

The plain way searches one trip at a time and encodes the whole trace again at each step
(`bench.reference_generate`). The floor is the time that the matrix products of the positions which
our search encodes take by themselves, on the same machine and in the same run.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from bench._common import parser, print_table, save
from bench.reference_generate import PlainGenerator, PlainTrip
from bench.reference_student import PlainHOSER
from bench.small_student import train_small_student
from config import Config
from config.generation import ArrivalName, Execution, SearchName, SearchSettings
from config.schema import TrainingConfig
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging
from search.request import GenerationRequest
from search.session import Session
from search.trips import GeneratedTrip

ROADS, TRIPS, SEED = 7000, 12_000, 0
ROUNDS = 3
WORK = Path("data") / "bench"
_RELATION_WIDTH = 2  # the relation maps act on two numbers; they are no part of the floor


@dataclass
class Run:
    """Trips generated in one go, and what that took."""

    trips: list[GeneratedTrip]
    seconds: float
    positions: int
    passes: int

    @property
    def rate(self) -> float:
        """Trips a second."""
        return len(self.trips) / self.seconds


def open_session(
    data_dir: Path,
    model: Path,
    search: SearchName,
    num_trips: int,
    width: int = 4,
    device: torch.device | None = None,
    arrival: ArrivalName = "first",
) -> Session:
    """A session of our generator on the test split's pairs; by default it ends as the plain way."""
    config = Config(dataset="demo", data_dir=str(data_dir))
    device = device or torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    request = GenerationRequest(
        config=config,
        model_path=model,
        num_trips=num_trips,
        search=SearchSettings(search, width, arrival=arrival, times="expected"),
    )
    return Session(request, device)


def run_ours(session: Session) -> Run:
    """Generates all trips of the request, after a few to warm up."""
    list(session.generate(0, min(4, len(session.source))))
    before = vars(session.scorer.cost).copy()
    start = time.perf_counter()
    trips = list(session.generate(0, len(session.source)))
    seconds = time.perf_counter() - start
    cost = session.scorer.cost
    return Run(
        trips,
        seconds,
        cost.positions - before["positions"],
        cost.forward_passes - before["forward_passes"],
    )


def run_plain(
    session: Session, search: SearchName, width: int, num_trips: int
) -> tuple[list[PlainTrip], float]:
    """The first trips of the request the plain way, and its seconds."""
    model = PlainHOSER(session.city.config, session.city.network)
    student = session.city.load_student(torch.device("cpu"))
    model.load_state_dict(student.state_dict(), strict=False)
    dataset = session.dataset
    plain = PlainGenerator(model, session.city.network, dataset.time_mean, dataset.time_std)
    (block,) = list(session.source.requests(0, num_trips))
    columns = [column.tolist() for column in (block.origin, block.destination, block.start)]
    requests = list(zip(*columns, strict=True))
    origin, destination, departure = requests[0]
    plain.beam(origin, destination, departure, width)
    start = time.perf_counter()
    if search == "astar":
        trips = [plain.best_first(o, d, at) for o, d, at in requests]
    else:
        trips = [plain.beam(o, d, at, width) for o, d, at in requests]
    return trips, time.perf_counter() - start


def floor_seconds_per_position(session: Session, rows: int) -> float:
    """Seconds of the matrix products of one position, at the given number of rows a pass."""
    blocks = session.scorer.decoder.encoder.transformer["h"]
    linears = [
        layer
        for layer in blocks.modules()
        if isinstance(layer, nn.Linear) and layer.in_features > _RELATION_WIDTH
    ]
    device = session.device
    inputs = {layer: torch.randn(rows, layer.in_features, device=device) for layer in linears}

    def once() -> None:
        for layer, x in inputs.items():
            layer(x)

    repeats = max(3, 20_000 // rows)
    with torch.inference_mode():
        for _ in range(3):
            once()
        _synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            once()
        _synchronize()
    return (time.perf_counter() - start) / repeats / rows


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def same_trips(ours: list[GeneratedTrip], plain: list[PlainTrip]) -> float:
    """The share of trips that are the same, roads and times."""
    pairs = list(zip(ours, plain))
    equal = [a.road_ids.tolist() == b.road_ids and a.times.tolist() == b.times for a, b in pairs]
    return float(np.mean(equal))


def compare(
    data_dir: Path, model: Path, search: SearchName, num_ours: int, num_plain: int
) -> dict[str, Any]:
    """Ours, the plain way and the floor on the same requests, in turns; the plain way has fewer."""
    session = open_session(data_dir, model, search, num_ours)
    session.prepare()
    ours_s, plain_s, floor_s = [], [], []
    for _ in range(ROUNDS):
        plain, seconds = run_plain(session, search, 4, num_plain)
        plain_s.append(seconds)
        ours = run_ours(session)
        ours_s.append(ours.seconds)
        rows = max(1, round(ours.positions / ours.passes))
        floor_s.append(floor_seconds_per_position(session, rows) * ours.positions)
    rate, plain_rate = num_ours / median(ours_s), num_plain / median(plain_s)
    return {
        "search": "beam, width 4" if search == "beam" else "best-first",
        "trips_per_second": rate,
        "plain_trips_per_second": plain_rate,
        "times_faster": rate / plain_rate,
        "same_trips": same_trips(ours.trips, plain),
        "share_of_floor": median(floor_s) / median(ours_s),
        "reached": float(np.mean([trip.reached for trip in ours.trips])),
        "mean_roads": float(np.mean([len(trip.road_ids) for trip in ours.trips])),
        "positions_per_trip": ours.positions / len(ours.trips),
        "rows_per_pass": rows,
    }


def widths(data_dir: Path, model: Path, num_trips: int) -> list[dict[str, Any]]:
    """Trips a second by beam width, and where a search ends with the first arrival."""
    rows = []
    for width in (1, 4, 8, 16):
        session = open_session(data_dir, model, "beam", num_trips, width, arrival="best")
        first = run_ours(session.asked(replace(session.request.search, arrival="first")))
        run = run_ours(session)
        rows.append(
            {
                "width": width,
                "trips_per_second": run.rate,
                "reached": float(np.mean([trip.reached for trip in run.trips])),
                "positions_per_trip": run.positions / num_trips,
                "first_arrival": first.rate,
                "first_arrival_positions": first.positions / num_trips,
            }
        )
    return rows


def several_processes(data_dir: Path, model: Path, num_trips: int) -> dict[str, Any]:
    """Whole runs through `gene.generate`, files included, by number of processes."""
    from gene import generate

    result: dict[str, Any] = {"trips": num_trips}
    for processes in (1, 2):
        run = generate(
            Config(dataset="demo", data_dir=str(data_dir), training=TrainingConfig(device="cpu")),
            model_path=model,
            num_gene=num_trips,
            output=WORK / "generated.csv",
            execution=Execution(processes=processes),
        )
        result[f"trips_per_second_{processes}_processes"] = run.trips_per_second
    return result


def main(argv: list[str] | None = None) -> None:
    """Runs the bench."""
    arguments_of = parser("Generation against the plain way.")
    arguments_of.add_argument("--data_dir", type=Path, help="a city; default: one made here")
    arguments_of.add_argument("--model_path", type=Path, help="default: a student trained here")
    arguments_of.add_argument("--roads", type=int, default=ROADS, help="of the city made here")
    arguments_of.add_argument("--processes", action="store_true", help="also several processes")
    arguments: argparse.Namespace = arguments_of.parse_args(argv)
    setup_logging()
    quick = arguments.quick
    if (arguments.data_dir is None) != (arguments.model_path is None):
        raise UserError("Give --data_dir and --model_path together, or neither.")
    data_dir, model = arguments.data_dir, arguments.model_path
    if data_dir is None:
        data_dir, model = train_small_student(
            WORK / f"city{arguments.roads}", arguments.roads, TRIPS, SEED
        )
    results: dict[str, Any] = {
        "roads": arguments.roads,
        "beam": compare(data_dir, model, "beam", 100 if quick else 1200, 5 if quick else 40),
        "best_first": compare(data_dir, model, "astar", 20 if quick else 200, 2 if quick else 14),
        "widths": widths(data_dir, model, 50 if quick else 600),
    }
    if arguments.processes:
        results["processes"] = several_processes(data_dir, model, 400 if quick else 4000)
    _print(results)
    if not arguments.no_save:
        save("generate", results)


def _print(results: dict[str, Any]) -> None:
    rows = [
        (
            row["search"],
            f"{row['trips_per_second']:.1f}",
            f"{row['plain_trips_per_second']:.2f}",
            f"{row['times_faster']:.1f}x",
            f"{row['same_trips']:.1%}",
            f"{row['share_of_floor']:.0%}",
            f"{row['reached']:.1%}",
            f"{row['positions_per_trip']:.0f}",
        )
        for row in (results["beam"], results["best_first"])
    ]
    header = ["search", "trips/s", "plain trips/s", "faster", "same", "of the floor", "reached"]
    print_table("Generation", [*header, "positions/trip"], rows)
    by_width = [
        (
            r["width"],
            f"{r['trips_per_second']:.1f}",
            f"{r['reached']:.1%}",
            f"{r['positions_per_trip']:.0f}",
            f"{r['first_arrival']:.1f}",
            f"{r['first_arrival_positions']:.0f}",
        )
        for r in results["widths"]
    ]
    header = ["width", "trips/s", "reached", "positions/trip", "first arrival, trips/s"]
    print_table("By beam width", [*header, "positions/trip"], by_width)
    for name, value in results.get("processes", {}).items():
        print(f"  {name}: {value:.1f}")


if __name__ == "__main__":
    run_main(main)
