"""One small city, student and teacher, computed once as a CPU does it and once as a GPU does."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config import Config
from config.choices import AmpChoice
from critics.distill_hook import DistillationManager
from critics.lmtad_teacher import LMTADTeacher
from critics.replay.driving import Driver, DriveRules, Drives
from critics.replay.policies import Policy
from critics.replay.requests import Requests
from critics.replay.trips import ReplayedTrips
from critics.road_teacher import LMTADRoadTeacher
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from runtime.device import prefers_loops
from runtime.distributed import Processes
from runtime.precision import Precision
from tests.teacher_helpers import small_weights
from tests.training_helpers import distilled, near_pairs, tiny_config
from training.accumulation import AccumulationStep, GroupResult
from training.compilation import StudentCalls
from training.optimization import Optimization
from training.plan import EpochPlan
from training.profiling import StepProfiler

CPU = torch.device("cpu")
MAX_LEN = 24


def take_accelerator_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a CPU computes what an accelerator would: padded, without compiled loops."""
    for module in list(sys.modules.values()):
        if getattr(module, "prefers_loops", None) is prefers_loops:
            monkeypatch.setattr(module, "prefers_loops", lambda _: False)


@dataclass
class Lesson:
    """What a student learns from on one device: its own trips and some that the teacher drove."""

    config: Config
    network: RoadNetwork
    train: TripDataset
    device: torch.device
    replayed: ReplayedTrips

    @classmethod
    def on(cls, city: Path, scratch: Path, device: torch.device, **overrides: Any) -> Lesson:
        """With fixed trips of one and two steps as those that the teacher drove."""
        config = tiny_config(city, scratch, **distilled(city, **overrides))
        network = RoadNetwork.load(city)
        train = TripDataset.load(city, "train", network, max_len=MAX_LEN)
        return cls(config, network, train, device, some_drives(network))

    def student(self) -> HOSER:
        """The same student every time."""
        torch.manual_seed(5)
        return HOSER(self.config, self.network).to(self.device)

    def teacher(self, **changes: Any) -> LMTADRoadTeacher:
        """The same teacher every time, in float32."""
        weights = small_weights(self.network.num_roads, 40, **changes)
        lmtad = LMTADTeacher(weights, self.device, "float32")
        return LMTADRoadTeacher(lmtad, np.arange(self.network.num_roads), self.network)

    def manager(self, cached: bool = True) -> DistillationManager:
        """The teacher's part, with answers for the training trips and the driven ones."""
        teacher = self.teacher()
        manager = DistillationManager(self.config, self.network, self.device, teacher)
        if cached:
            manager.attach(self.train, progress=False)
        driven = self.replayed.dataset(self.train)
        manager.attach_answers(driven, self.replayed.answers(driven, self.device))
        return manager

    def plan(self) -> EpochPlan:
        """The groups of an epoch."""
        plan = EpochPlan(self.config, self.train, Processes(), self.device)
        plan.replayed = self.replayed.dataset(self.train)
        return plan

    def step(
        self, model: HOSER, calls: StudentCalls | None = None, amp: AmpChoice = "off"
    ) -> AccumulationStep:
        """What trains `model`, through `calls`."""
        precision = Precision.choose(amp, self.device)
        optimization = Optimization(model, self.config.optimizer_config, precision, 100)
        optimization.set_learning_rate(20)
        return AccumulationStep(
            model=model,
            calls=calls or StudentCalls(model, model.encode_roads),
            optimization=optimization,
            precision=precision,
            processes=Processes(),
            profiler=StepProfiler(False, 1, self.device),
            teacher=self.manager(),
        )

    def train_steps(self, step: AccumulationStep, count: int) -> list[GroupResult]:
        """The epoch's first steps."""
        plan, results = self.plan(), []
        for number, group in enumerate(plan.groups(0)[:count]):
            rows = [found for spec in group if (found := plan.gather(spec)) is not None]
            batches = [self.train.features(part, self.device) for part in rows]
            results.append(step.run(batches, number, lambda: False))
        return results

    def drives(self, policy: Policy, count: int = 60) -> Drives:
        """Trips that a policy drives between near roads."""
        ends = near_pairs(self.network, count)
        start = np.asarray(self.train.starts)[:1].repeat(count)
        driver = Driver(policy, self.network, DriveRules(max_detour=50.0))
        return driver.drive(Requests(ends[:, 0], ends[:, 1], start))


def some_drives(network: RoadNetwork) -> ReplayedTrips:
    """Trips of two or three roads with made-up answers."""
    generator = np.random.default_rng(4)
    roads: list[int] = []
    lengths: list[int] = []
    while len(lengths) < 60:
        trip = [int(generator.integers(network.num_roads))]
        while len(trip) < 3 and network.out_degree[trip[-1]]:
            trip.append(int(generator.choice(network.candidates(trip[-1]))))
        if len(trip) > 1:
            roads += trip
            lengths.append(len(trip))
    counts = network.out_degree[np.array(roads)]
    ends = np.cumsum(lengths) - 1
    answers = generator.normal(size=int(np.delete(counts, ends).sum()))
    return ReplayedTrips(
        np.array(roads, dtype=np.int32),
        np.array(lengths, dtype=np.int32),
        np.full(len(lengths), 1_600_000_000, dtype=np.int64),
        answers.astype(np.float16),
    )


def parameters_of(model: HOSER) -> dict[str, torch.Tensor]:
    """On the CPU."""
    return {name: value.detach().cpu() for name, value in model.named_parameters()}


def assert_close(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float
) -> None:
    """The same names, and values that differ by rounding alone."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=tolerance, msg=name)
