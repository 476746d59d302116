"""Replayed trips: how fast the teacher drives, and what a step with its trips costs.

python -m bench.replay [--quick] [--data_dir DIR --teacher FILE]

On the demo city with a teacher of the demo's size that was trained briefly, or on any folder with
its own teacher. The plain way drives one trip at a time and encodes its whole prefix again at every
step, as the published programs search; many trips at once, still without keeping anything, stand
beside it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench._common import parser, print_table, save, timed_alternately
from config import Config, load_config
from critics.cache_builder import open_or_build
from critics.distill_hook import DistillationManager
from critics.replay.driving import Driver, DriveRules, Drives
from critics.replay.policies import LMTADPolicy
from critics.replay.requests import Requests, detour_limit, recombined_requests
from critics.replay.times import predict_times
from critics.replay.trips import ReplayedTrips
from critics.road_teacher import LMTADRoadTeacher, road_teacher
from critics.teacher_training import TeacherOptions, train_teacher
from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from runtime.distributed import Processes
from runtime.precision import Precision
from training.accumulation import AccumulationStep
from training.compilation import compile_student
from training.optimization import Optimization
from training.plan import EpochPlan
from training.profiling import StepProfiler
from training.resources import ResourcePool

BARS = {"trips_per_s": 1000.0, "against_plain": 20.0, "step_ratio": 1.05}
ROADS, TRIPS, TEACHER_EPOCHS = 1500, 10_000, 2
PLAIN_TRIPS = 48


def main() -> None:
    """Runs both parts and prints them beside their bars."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data_dir", type=Path)
    arguments.add_argument("--teacher", type=Path)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data_dir or Path(scratch) / "city"
        if options.data_dir is None:
            make_demo_city(folder, ROADS, TRIPS, progress=False)
        ensure_zones(folder)
        network = RoadNetwork.load(folder)
        dataset = TripDataset.load(folder, "train", network, max_len=256)
        path = options.teacher or _teacher(folder, network)
        count = 1000 if options.quick else 4000
        results = _drives(road_teacher(path, network), dataset, count)
        results |= _steps(folder, path, Path(scratch))
    rows = [
        [name, f"{value:,.2f}", f"{BARS[name]:,}" if name in BARS else ""]
        for name, value in results.items()
    ]
    print_table("Replayed trips", ["figure", "measured", "bar"], rows)
    if not options.no_save:
        save("replay", results)


def _teacher(folder: Path, network: RoadNetwork) -> Path:
    """A teacher of the demo's size that arrives often enough."""
    path = folder / "bench_teacher.pt"
    train, val = (TripDataset.load(folder, split, network) for split in ("train", "val"))
    options = TeacherOptions(path, epochs=TEACHER_EPOCHS, progress=False)
    return train_teacher(options, network, train, val)


def _drives(teacher: LMTADRoadTeacher, dataset: TripDataset, count: int) -> dict[str, float]:
    requests = recombined_requests(dataset, count, np.random.default_rng(0))
    rules = DriveRules(max_detour=detour_limit(dataset, 0.95))
    _drive(teacher, dataset, requests[:64], rules, cached=True)
    drives, seconds = _drive(teacher, dataset, requests, rules, cached=True)
    few = requests[: max(64, count // 8)]
    _, cached = _drive(teacher, dataset, few, rules, cached=True)
    _, uncached = _drive(teacher, dataset, few, rules, cached=False)
    single = [few[i : i + 1] for i in range(0, len(few), max(1, len(few) // PLAIN_TRIPS))]
    plain = sum(_drive(teacher, dataset, one, rules, cached=False)[1] for one in single)
    return {
        "requests": float(len(requests)),
        "trips_kept": float(len(drives)),
        "roads_per_trip": float(drives.lengths.mean()),
        "trips_per_s": len(requests) / seconds,
        "trips_kept_per_s": len(drives) / seconds,
        "against_plain": (plain / len(single)) / (seconds / len(requests)),
        "against_plain_at_once": uncached / cached,
    }


def _drive(
    teacher: LMTADRoadTeacher,
    dataset: TripDataset,
    requests: Requests,
    rules: DriveRules,
    cached: bool,
) -> tuple[Drives, float]:
    driver = Driver(LMTADPolicy(teacher, cached), dataset.network, rules)
    start = time.perf_counter()
    drives = driver.drive(requests)
    return drives, time.perf_counter() - start


def _steps(folder: Path, teacher: Path, scratch: Path) -> dict[str, float]:
    """Steps of the same trips, half of them once as real and once as replayed ones."""
    config = load_config(
        None,
        {
            "data_dir": str(folder),
            "dataset": "bench",
            "trajectory_encoder_config.max_len": 256,
            "optimizer_config.batch_size": 64,
            "optimizer_config.accum_steps": 1,
            "training.torch_compile": False,
            "distill.ckpt": str(teacher),
            "distill.vocabulary": "road",
            "distill.destination_prefix": True,
            "distill.window": "full",
            "distill.ties": "marginal",
            "distill.cache_dir": str(scratch / "cache"),
        },
    )
    steps = {kind: _Steps(config, kind == "replayed") for kind in ("real", "replayed")}
    calls: dict[str, Any] = {kind: step.advance for kind, step in steps.items()}
    calls["times"] = steps["replayed"].predict
    found = timed_alternately(calls, 25, 4)
    return {
        **{f"step_{kind}_s": timing.median for kind, timing in found.items()},
        "step_ratio": found["replayed"].median / found["real"].median,
    }


def as_replayed(
    teacher: DistillationManager, train: TripDataset, device: torch.device
) -> TripDataset:
    """The training trips, with the teacher's answers, as if the teacher had driven them."""
    values = open_or_build(teacher.cache_dir, train, teacher.teacher, progress=False).values
    answers = values.cpu().numpy()
    trips = ReplayedTrips(train.road_ids, train.num_roads_of_trip, train.starts, answers)
    replayed = trips.dataset(train)
    teacher.attach_answers(replayed, trips.answers(replayed, device))
    replayed.seconds[:] = train.seconds
    return replayed


class _Steps:
    """Steps of real trips, half of which are called replayed where asked."""

    def __init__(self, config: Config, replayed: bool) -> None:
        pool = ResourcePool()
        resources = pool.get(config)
        cpu = torch.device("cpu")
        torch.manual_seed(0)
        model = HOSER(config, resources.network)
        self.replayed = replayed
        train = self.dataset = resources.train
        self.plan = EpochPlan(config, train, Processes(), cpu)
        teacher = pool.teacher(config, resources, cpu)
        teacher.set_length(10_000, 100)
        teacher.attach(train, progress=False)
        self.plan.replayed = as_replayed(teacher, train, cpu)
        precision = Precision("cpu", None)
        optimization = Optimization(model, config.optimizer_config, precision, 10_000)
        optimization.set_learning_rate(1000)
        calls = compile_student(model, config.training, cpu)
        profiler = StepProfiler(False, 1, cpu)
        self.step = AccumulationStep(
            model, calls, optimization, precision, Processes(), profiler, teacher
        )
        self.groups = [group for epoch in range(9) for group in self.plan.groups(epoch)]
        self.done = 0
        self.model = model

    def advance(self) -> None:
        """One optimizer step."""
        batches = []
        for spec in self.groups[self.done]:
            rows: Any = self.plan.gather(spec)
            batch = self.dataset.features(rows, "cpu")
            batches.append(replace(batch, replayed=spec.replayed and self.replayed))
        self.step.run(batches, self.done, lambda: False)
        self.done += 1

    def predict(self) -> None:
        """The times of the replayed trips of one step."""
        assert self.plan.replayed is not None
        trips = [spec.trip_id for spec in self.groups[self.done] if spec.replayed]
        predict_times(self.model, self.plan.replayed, np.concatenate(trips), 64)


if __name__ == "__main__":
    main()
