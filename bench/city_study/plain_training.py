"""Trains the student by its plain formulas, on the very trips and steps of a training run.

What the fast student must equal in what it learns, not only in what it computes: the same first
weights, the same trips in every step, the same optimizer. It goes on from its last epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.reference_student import PlainHOSER
from config import Config
from data.batch import Batch
from dataset import RowSpec
from hoser import HOSER
from models.losses import labelled_positions, supervised_losses
from runtime.distributed import Processes
from runtime.precision import Precision
from runtime.torch_files import load_plain, save_plain
from training.checkpoint import save_student
from training.identity import run_inputs
from training.optimization import Optimization
from training.plan import EpochPlan
from training.resources import Resources
from training.validation import validate

CPU = torch.device("cpu")


@dataclass
class PlainTraining:
    """A run of the plain student; `folder` holds its state and, at the end, its best student."""

    config: Config
    resources: Resources
    folder: Path

    def __post_init__(self) -> None:
        torch.manual_seed(self.config.training.seed)
        self.student = HOSER(self.config, self.resources.network)
        self.plain = PlainHOSER(self.config, self.resources.network)
        self.plain.load_state_dict(self.student.state_dict(), strict=False)
        self.plan = EpochPlan(self.config, self.resources.train, Processes(), CPU)
        self.epochs = self.config.optimizer_config.max_epoch
        precision = Precision("cpu", None)
        total = self.plan.groups_per_epoch * self.epochs
        self.optimization = Optimization(self.plain, self.config.optimizer_config, precision, total)
        self.history: list[float] = []
        self.seconds = 0.0

    @property
    def best(self) -> Path:
        """The student of the best epoch, in the format of every student."""
        return self.folder / "best.pth"

    def run(self) -> dict[str, Any]:
        """Trains to the end; the figures of the training."""
        self._take_up()
        for epoch in range(len(self.history), self.epochs):
            started = time.perf_counter()
            for number, group in enumerate(self.plan.groups(epoch)):
                self._step(group, epoch * self.plan.groups_per_epoch + number)
            self._finish_epoch()
            self.seconds += time.perf_counter() - started
            self._keep()
        return {
            "val_accuracy": max(self.history),
            "epoch": self.history.index(max(self.history)) + 1,
            "learning_curve": self.history,
            "training_seconds": self.seconds,
        }

    def _step(self, group: list[RowSpec], step: int) -> None:
        train = self.resources.train
        self.optimization.set_learning_rate(step)
        batches: list[Batch] = [train.features(train.rows(spec), "cpu") for spec in group]
        count = sum(labelled_positions(batch).sum() for batch in batches)
        for batch in batches:
            logits, time_pred = self.plain(batch)
            losses = supervised_losses(logits, time_pred, batch)
            ((losses.next_road_sum + losses.travel_time_sum) / count).backward()
        self.optimization.unscale_and_clip()
        self.optimization.update()

    def _finish_epoch(self) -> None:
        weights = self.plain.state_dict()
        self.student.load_state_dict({name: weights[name] for name in self.student.state_dict()})
        batch_size = self.config.optimizer_config.batch_size
        found = validate(self.student, self.resources.val, device=CPU, batch_size=batch_size)
        assert found is not None  # nothing interrupts it
        self.history.append(found.next_step_acc)
        if found.next_step_acc == max(self.history):
            self._keep_best(found.as_dict())

    def _keep_best(self, metrics: dict[str, Any]) -> None:
        train = self.resources.train
        save_student(
            self.best,
            self.student,
            inputs=run_inputs(self.config, self.resources, None),
            mode="vanilla",
            config=self.config.model_dump(mode="json", by_alias=True),
            metrics=metrics,
            trained_on={
                "train_hash": train.source_hash,
                "time_log1p_mean": train.time_mean,
                "time_log1p_std": train.time_std,
            },
        )

    def _keep(self) -> None:
        state = {
            "model": self.plain.state_dict(),
            "optimization": self.optimization.state_dict(),
            "history": self.history,
            "seconds": self.seconds,
        }
        save_plain(self.folder / "state.pt", state)

    def _take_up(self) -> None:
        file = self.folder / "state.pt"
        if not file.exists():
            return
        state = load_plain(file)
        self.plain.load_state_dict(state["model"])
        self.optimization.load_state_dict(state["optimization"])
        self.history, self.seconds = list(state["history"]), float(state["seconds"])
