"""All that is to be fast on a GPU, at Beijing's size, in less than ten minutes.

    python -m bench.gpu                                  what `make bench-gpu` runs
    python -m bench.gpu --device cpu --quick --no-save   the same code, tiny, anywhere

Training steps (without a teacher, distilled at all positions from the cache, with replayed trips;
eager and compiled), the cache of a large teacher, and beam search, each beside its bar and as a
share of the floor that operations and bytes set. A step is a batch of 64 trips, as the documents
count; eight of them make an optimizer step. Written to `docs/benchmarks/<gpu>.json`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench._common import grow_city, parser, print_table, save
from bench.generate import floor_seconds_per_position, open_session, run_ours
from bench.gpu_floors import Peaks, teacher_flops, wait_for
from bench.student import least_work
from bench.teacher import BEIJING, BEIJING_TRIPS, cache_building
from bench.train import StepRun, bench_config, random_teacher
from config import Config
from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging
from training.resources import ResourcePool

BARS = {
    "distilled": 100.0,  # steps a second
    "replayed": 60.0,
    "cache_minutes": 10.0,
    "beam_trips_per_s": 2000.0,
}
BEIJING_ROADS = 40_060
BEIJING_POSITIONS = 82  # of a trip, as in Beijing
BATCH_SIZE, ACCUMULATED = 64, 8


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    roads: int
    trips: int
    timed_steps: int  # optimizer steps
    taught_steps: int  # of the student that drives
    generated: int
    modes: tuple[str, ...]  # of torch.compile; "" is eager


WHOLE = Sizes(BEIJING_ROADS, 16_000, 12, 200, 20_000, ("", "default"))
QUICK = Sizes(220, 200, 1, 1, 8, ("",))


def main(argv: list[str] | None = None) -> None:
    """Runs all parts; without a GPU it says so in one line."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--device", default="cuda:0", help="cuda:N, or cpu to try the code")
    arguments.add_argument("--autotune", action="store_true", help="also max-autotune: minutes")
    options = arguments.parse_args(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "There is no CUDA GPU here, and this bench is of one; --device cpu --quick --no-save "
            "tries its code."
        )
    setup_logging("WARNING")
    sizes = QUICK if options.quick else WHOLE
    with tempfile.TemporaryDirectory() as scratch:
        bench = GpuBench(Path(scratch), device, sizes, options.quick)
        results = bench.run((*sizes.modes, "max-autotune") if options.autotune else sizes.modes)
    _print(results)
    if not options.no_save:
        save("gpu", results)


class GpuBench:
    """The parts, on one city."""

    def __init__(self, folder: Path, device: torch.device, sizes: Sizes, quick: bool) -> None:
        self.folder, self.device, self.sizes, self.quick = folder, device, sizes, quick
        self.pool = ResourcePool()
        make_demo_city(folder, min(sizes.roads, 40_000), sizes.trips, progress=False)
        if sizes.roads > 40_000:
            grow_city(folder, sizes.roads)
        ensure_zones(folder)
        self.network = RoadNetwork.load(folder)
        random_teacher(folder, self.network.num_roads)

    def run(self, modes: tuple[str, ...]) -> dict[str, Any]:
        """All figures."""
        started = time.perf_counter()
        self.peaks = Peaks.measured(self.device, self.quick)
        results: dict[str, Any] = {
            "device": str(self.device),
            "roads": self.network.num_roads,
            "peaks": {**vars(self.peaks)},
            "training": [self._steps(kind, mode) for mode in modes for kind in _KINDS],
            "cache_building": self._cache(),
            "beam": self._beam(),
        }
        if self.device.type == "cuda":
            results["peak_memory_mib"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        return {**results, "seconds": time.perf_counter() - started}

    def _config(self, kind: str, mode: str = "") -> Config:
        return bench_config(
            self.folder,
            **{
                "optimizer_config.batch_size": 16 if self.quick else BATCH_SIZE,
                "optimizer_config.accum_steps": 2 if self.quick else ACCUMULATED,
                "training.torch_compile": bool(mode),
                "training.torch_compile_mode": mode or "default",
                "distill.enable": kind != "vanilla",
                "dataloader.num_workers": 4,
                "dataloader.pin_memory": self.device.type == "cuda",
            },
        )

    def _steps(self, kind: str, mode: str) -> dict[str, Any]:
        """Batches a second of one kind of training, and their share of the floor."""
        run = self._run_of(kind, mode)
        began = time.perf_counter()
        for _ in range(1 if self.quick else 3):
            run.advance()
        wait_for(self.device)
        warm_up = time.perf_counter() - began
        group = run.groups[run.done]
        gathered = [rows for spec in group if (rows := run.plan.gather(spec)) is not None]
        batches = [run.dataset.features(rows, self.device) for rows in gathered]
        floor = self.peaks.floor(*least_work(run.model, batches))
        began = time.perf_counter()
        for _ in range(self.sizes.timed_steps):
            run.advance()
        wait_for(self.device)
        seconds = (time.perf_counter() - began) / self.sizes.timed_steps
        # With replayed trips a step has as many batches again, of which the documents know nothing.
        real = sum(not spec.replayed for spec in group)
        return {
            "kind": kind,
            "mode": mode or "eager",
            "steps_per_s": real / seconds,
            "optimizer_steps_per_s": 1 / seconds,
            "positions_per_s": sum(int(batch.trace_len.sum()) for batch in batches) / seconds,
            "share_of_floor": floor / seconds,
            "warm_up_s": warm_up,
        }

    def _run_of(self, kind: str, mode: str = "") -> StepRun:
        config = self._config(kind, mode)
        return StepRun(config, self.pool, self.device, replays=kind == "replayed")

    def _cache(self) -> dict[str, Any]:
        """The answers of a teacher of Beijing's size, and how long all of its trips would take."""
        train = TripDataset.load(self.folder, "train", self.network, max_len=256)
        found = cache_building(self.network, train, self.device, self.quick)["full history"]
        rate = found["positions_per_second"]
        answers = found["bytes_per_position"] / 2  # float16 each
        flops = teacher_flops(BEIJING, found["positions_per_trip"] / 2, answers)
        return {
            "positions_per_s": rate,
            "minutes_for_beijing": BEIJING_TRIPS * BEIJING_POSITIONS / rate / 60,
            "share_of_floor": self.peaks.floor(rate * flops, 0.0),
        }

    def _beam(self) -> dict[str, Any]:
        """Trips of a student that has learned where to go, by a beam of four."""
        run = self._run_of("vanilla")
        for _ in range(self.sizes.taught_steps):
            run.advance()
        model = self.folder / "student.pth"
        content = {"model": run.model.state_dict(), "config": self._config("vanilla").model_dump()}
        torch.save(content, model)
        session = open_session(self.folder, model, "beam", self.sizes.generated, 4, self.device)
        session.prepare()
        with torch.inference_mode():
            found = run_ours(session)
            rows = max(1, round(found.positions / found.passes))
            floor = floor_seconds_per_position(session, rows) * found.positions
        reached = sum(trip.reached for trip in found.trips) / len(found.trips)
        roads = sum(len(trip.road_ids) for trip in found.trips) / len(found.trips)
        return {
            "trips_per_s": found.rate,
            "share_of_floor": floor / found.seconds,
            "reached": reached,
            "roads_per_trip": roads,
        }


_KINDS = ("vanilla", "distilled", "replayed")


def _print(results: dict[str, Any]) -> None:
    rows = [
        [
            row["kind"],
            row["mode"],
            f"{row['steps_per_s']:.1f}",
            f"{BARS[row['kind']]:.0f}" if row["kind"] in BARS else "",
            f"{row['share_of_floor']:.1%}",
            f"{row['warm_up_s']:.0f} s",
        ]
        for row in results["training"]
    ]
    header = ["training", "mode", "steps/s", "bar", "of the floor", "first steps"]
    print_table(f"{results['roads']} roads on {results['device']}", header, rows)
    cache, beam = results["cache_building"], results["beam"]
    rows = [
        [
            "teacher's answers to Beijing, minutes",
            f"{cache['minutes_for_beijing']:.1f}",
            f"{BARS['cache_minutes']:.0f}",
            f"{cache['share_of_floor']:.1%}",
        ],
        [
            f"beam of 4, trips/s ({beam['reached']:.0%} arrive)",
            f"{beam['trips_per_s']:.0f}",
            f"{BARS['beam_trips_per_s']:,.0f}",
            f"{beam['share_of_floor']:.1%}",
        ],
    ]
    print_table("Beside training", ["", "measured", "bar", "of the floor"], rows)
    print(f"\nAll of it took {results['seconds']:.0f} s.")


if __name__ == "__main__":
    run_main(partial(main, sys.argv[1:]))
