"""The training program: where a step's time goes, what a teacher costs, how soon it starts.

python -m bench.train [--quick]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench._common import grow_city, parser, print_table, save, timed_alternately
from bench.replay import as_replayed
from config import Config, load_config
from critics.lmtad import LMTAD, LMTADConfig
from critics.weights import TeacherWeights, save_weights
from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from hoser import HOSER
from runtime.device import resolve_device
from runtime.distributed import Processes
from runtime.precision import Precision
from training.accumulation import AccumulationStep
from training.compilation import compile_student
from training.optimization import Optimization
from training.plan import EpochPlan
from training.profiling import StepProfiler
from training.resources import ResourcePool

BARS = {"data_wait_share": 0.02, "ratio_distilled_cached": 1.10, "start_60k_roads_s": 15.0}
EPOCHS = 9  # enough steps for every timing
START_PROGRAM = """
import sys, time
began = time.perf_counter()
from train_with_distill import train
from config import load_config
from training.accumulation import AccumulationStep
run = AccumulationStep.run
def first(self, *arguments):
    result = run(self, *arguments)
    print("first step after", time.perf_counter() - began)
    sys.stdout.flush()
    import os
    os._exit(0)
AccumulationStep.run = first
train(load_config(sys.argv[1]))
"""


def main() -> None:
    """Runs both parts and prints them beside their bars."""
    options = parser(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        roads, trips = (1_500, 2_000) if options.quick else (7_000, 6_000)
        results: dict[str, Any] = _steps(folder / "steps", roads, trips)
        large = (10_000, 5_000) if options.quick else (50_000, 125_000)
        results |= _start(folder / "start", *large)
    rows = [
        [name, f"{value:,.3f}", f"{BARS[name]:,}" if name in BARS else ""]
        for name, value in results.items()
        if not isinstance(value, dict)
    ]
    print_table("Training", ["figure", "measured", "bar"], rows)
    breakdown = [[name, f"{ms:.1f}"] for name, ms in results["breakdown_ms"].items()]
    print_table("One distilled step (cached teacher)", ["phase", "ms"], breakdown)
    if not options.no_save:
        save("train", results)


def bench_config(folder: Path, **overrides: Any) -> Config:
    """A run on a folder's city, with what the bench at hand changes."""
    settings = {
        "data_dir": str(folder),
        "dataset": "bench",
        "trajectory_encoder_config.max_len": 256,
        "optimizer_config.batch_size": 64,
        "optimizer_config.accum_steps": 1,
        "training.torch_compile": torch.cuda.is_available(),
        "training.progress": False,
        "distill.enable": False,
        "distill.ckpt": str(folder / "teacher.pt"),
        "distill.vocabulary": "road",
        "distill.window": "full",
        "distill.ties": "marginal",
        "distill.teacher_report": False,
        "dataloader.num_workers": 1,
    }
    return load_config(None, {**settings, **overrides})


def random_teacher(folder: Path, num_roads: int) -> None:
    """An LM-TAD of the demo teacher's size; what it says does not matter to the clock."""
    config = LMTADConfig(num_roads + 3, 200, 2, 4, 128)
    described = {"vocabulary": "road", "destination_prefix": False, "grip_size": [1, num_roads]}
    weights = TeacherWeights(LMTAD(config).state_dict(), config.to_dict(), described)
    save_weights(folder / "teacher.pt", weights)


def _steps(folder: Path, num_roads: int, num_trips: int) -> dict[str, Any]:
    """Steps without a teacher, with its cache and with it live, measured in turns."""
    make_demo_city(folder, num_roads, num_trips, progress=False)
    ensure_zones(folder)
    random_teacher(folder, RoadNetwork.load(folder).num_roads)
    device = resolve_device()
    pool = ResourcePool()
    kinds = {
        "vanilla": bench_config(folder),
        "distilled_cached": bench_config(folder, **{"distill.enable": True}),
        "distilled_live": bench_config(folder, **{"distill.enable": True, "distill.cache": False}),
    }
    runs = {name: StepRun(config, pool, device) for name, config in kinds.items()}
    timings = timed_alternately({name: run.advance for name, run in runs.items()}, 25, 4)
    vanilla = timings["vanilla"].median
    cached = runs["distilled_cached"]
    cached.profile(12)
    breakdown = {name: 1000 * value / 12 for name, value in cached.profiler.totals.items()}
    return {
        **{f"batches_per_s_{name}": 1 / timing.median for name, timing in timings.items()},
        "ratio_distilled_cached": timings["distilled_cached"].median / vanilla,
        "ratio_distilled_live": timings["distilled_live"].median / vanilla,
        "data_wait_share": breakdown["Data Wait"] / sum(breakdown.values()),
        "breakdown_ms": breakdown,
    }


class StepRun:
    """A run reduced to its steps: gathering, features, forward, backward, update.

    `replays`: each step has as many trips again that the teacher is said to have driven.
    """

    def __init__(
        self, config: Config, pool: ResourcePool, device: torch.device, replays: bool = False
    ) -> None:
        resources = pool.get(config)
        self.dataset = resources.train
        self.device = device
        torch.manual_seed(0)
        self.model = model = HOSER(config, resources.network).to(device)
        self.plan = EpochPlan(config, resources.train, Processes(), device)
        precision = Precision.choose("auto", device)
        optimization = Optimization(model, config.optimizer_config, precision, 10_000)
        optimization.set_learning_rate(1000)
        teacher = None
        if config.distilling:
            teacher = pool.teacher(config, resources, device)
            teacher.set_length(10_000, 100)
            teacher.attach(resources.train, progress=False)
            if replays:
                self.plan.replayed = as_replayed(teacher, resources.train, device)
        self.profiler = StepProfiler(False, 1, device)
        calls = compile_student(model, config.training, device)
        self.step = AccumulationStep(
            model, calls, optimization, precision, Processes(), self.profiler, teacher
        )
        self.groups = [group for epoch in range(EPOCHS) for group in self.plan.groups(epoch)]
        self.done = 0
        self.rows = self._prefetch()

    def _prefetch(self) -> Any:
        from data.loading import Prefetcher

        prefetch = Prefetcher(self.plan.gather, 1, 8)
        return prefetch([spec for group in self.groups for spec in group])

    def advance(self) -> None:
        """One optimizer step: all micro-batches of the next group."""
        self.profiler.start_step(self.done, 1)
        batches = []
        for _ in self.groups[self.done]:
            with self.profiler.phase("Data Wait"):
                gathered = next(self.rows)
            with self.profiler.phase("Data Transfer"):
                batches.append(self.dataset.features(gathered, self.device))
        never: Callable[[], bool] = lambda: False  # noqa: E731
        self.step.run(batches, self.done, never)
        self.done += 1

    def profile(self, steps: int) -> None:
        """Several steps with the profiler on."""
        self.profiler.enabled = True
        for _ in range(steps):
            self.advance()


def _start(folder: Path, num_roads: int, num_trips: int) -> dict[str, float]:
    """From the start of the process to the end of the first step, trips cached before."""
    make_demo_city(folder, num_roads, num_trips, progress=False)
    if num_roads == 50_000:
        grow_city(folder, 60_000)
    ensure_zones(folder)
    pool = ResourcePool()
    config = bench_config(folder, **{"training.torch_compile": False, "save_dir": str(folder)})
    resources = pool.get(config)
    path = folder / "config.yaml"
    from config import dump_config

    path.write_text(dump_config(config))
    start = time.perf_counter()
    command = [sys.executable, "-c", START_PROGRAM, str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return {
        "start_roads": float(resources.network.num_roads),
        "start_trips": float(len(resources.train)),
        "start_60k_roads_s": time.perf_counter() - start,
    }


if __name__ == "__main__":
    main()
