"""One optimizer step: a group of micro-batches that together give one exact gradient.

Losses are normalised over the whole group on all processes, so that the step does not depend on
how the group is cut. The road network is encoded once a group, and differentiated once, through
the gradients that the micro-batches leave at its tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from critics.distill_hook import DistillationManager, DistillOutput, DistillTargets
from data.batch import Batch
from hoser import HOSER
from models.losses import labelled_positions, mask_candidates, supervised_losses
from runtime.distributed import Processes
from runtime.precision import Precision
from training.compilation import StudentCalls
from training.optimization import Optimization
from training.profiling import StepProfiler

SUMS = (
    "loss",
    "loss_next_step",
    "loss_time_pred",
    "distill_loss",
    "correct",
    "positions",
    "teacher_nonfinite",
    "replay_loss",
)


@dataclass(frozen=True)
class GroupResult:
    """What one optimizer step did; losses are means over the group."""

    values: dict[str, float]
    grad_norm: float
    finite: bool

    @property
    def accuracy(self) -> float:
        """The share of positions whose next road was scored highest."""
        return self.values["correct"] / max(self.values["positions"], 1.0)


class Interrupted(Exception):
    """A signal arrived between micro-batches; the group is dropped and redone on resume."""


@dataclass
class AccumulationStep:
    """Everything a step needs that stays the same from step to step."""

    model: HOSER
    calls: StudentCalls
    optimization: Optimization
    precision: Precision
    processes: Processes
    profiler: StepProfiler
    teacher: DistillationManager | None = None

    def run(
        self, batches: Sequence[Batch], step: int, interrupted: Callable[[], bool]
    ) -> GroupResult:
        """Differentiates the group's loss and, when all is finite, updates the parameters."""
        profiler, optimization = self.profiler, self.optimization
        with profiler.phase("Distill KL (Teacher)"):
            targets = [self._targets(batch, step) for batch in batches]
        counts = self._counts(batches, targets)
        device = optimization.parameters[0].device
        with profiler.phase("HOSER Forward"), self.precision.autocast():
            roads = self.model.roads_worth_encoding(batches) if batches else None
            tables = self.calls.encode_roads(roads)
        leaf = tables.detach_for_accumulation()
        sums = torch.zeros(len(SUMS), dtype=torch.float64, device=device)
        need_hidden = self.teacher is not None and self.teacher.settings.embedding_weight > 0
        for batch, target in zip(batches, targets, strict=True):
            if interrupted():
                optimization.zero_grad()
                raise Interrupted
            with profiler.phase("HOSER Forward"), self.precision.autocast():
                outputs = self.calls.forward(batch, leaf, with_hidden=need_hidden)
                losses = supervised_losses(outputs[0], outputs[1], batch)
            count = counts[int(batch.replayed)]
            next_road = losses.next_road_sum / count[0]
            travel_time = losses.travel_time_sum / count[0]
            loss = self._supervised(batch.replayed, next_road, travel_time)
            taught = None
            if self.teacher is not None and target is not None:
                with profiler.phase("Distill KL (Teacher)"):
                    taught = self.teacher.compute_kl_for_batch(
                        batch,
                        outputs[0],
                        step=step,
                        targets=target,
                        student_embedding=outputs[2] if need_hidden else None,
                    )
                    loss = taught.total(loss, count[1], count[2])
            with profiler.phase("Backward Pass"):
                optimization.scale(loss).backward()
            sums += _recorded(batch, outputs[0], loss, next_road, travel_time, taught, count[1])
        with profiler.phase("Backward Pass"):
            tables.backward(leaf)
        with profiler.phase("Optimizer Step"):
            return self._update(sums)

    def _supervised(self, replayed: bool, next_road: Tensor, travel_time: Tensor) -> Tensor:
        """The labels' share of the loss; replayed trips have no true times."""
        if self.teacher is None:
            return next_road + travel_time
        settings = self.teacher.settings
        if replayed:
            return settings.replay.label_weight * next_road
        return next_road + settings.time_weight * travel_time

    def _targets(self, batch: Batch, step: int) -> DistillTargets | None:
        if self.teacher is None:
            return None
        return self.teacher.targets(batch, step=step, split="replay" if batch.replayed else "train")

    def _counts(self, batches: Sequence[Batch], targets: Sequence[DistillTargets | None]) -> Tensor:
        """Labelled positions, taught positions and trips of the whole group on all processes.

        Real trips first, then replayed ones: [2, 3].
        """
        device = self.optimization.parameters[0].device
        counts = torch.zeros(2, 3, dtype=torch.float64, device=device)
        for batch, target in zip(batches, targets, strict=True):
            row = counts[int(batch.replayed)]
            row[0] += labelled_positions(batch).sum()
            row[1] += target.num_positions if target is not None else 0
            row[2] += batch.num_trips
        return self.processes.sum(counts).clamp(min=1).float()

    def _update(self, sums: Tensor) -> GroupResult:
        optimization = self.optimization
        self.processes.sum_gradients(optimization.parameters)
        self.processes.sum(sums)
        grad_norm = float(optimization.unscale_and_clip())
        values = dict(zip(SUMS, sums.tolist(), strict=True))
        # float16 gradients may overflow: then the scaler skips the step and lowers its scale.
        overflow_expected = optimization.scaler.is_enabled()
        finite = math.isfinite(values["loss"]) and (math.isfinite(grad_norm) or overflow_expected)
        if finite:
            optimization.update()
        else:
            optimization.skip()
        return GroupResult(values, grad_norm, finite)


def _recorded(
    batch: Batch,
    logits: Tensor,
    loss: Tensor,
    next_road: Tensor,
    travel_time: Tensor,
    taught: DistillOutput | None,
    num_taught: Tensor,
) -> Tensor:
    """A micro-batch's share of `SUMS`; what they say of labels is said of real trips alone."""
    nothing = torch.zeros((), device=loss.device)
    distilled = taught.kl_sum / num_taught if taught is not None else nothing
    nonfinite = taught.num_nonfinite if taught is not None else nothing
    if batch.replayed:
        parts = [loss, *[nothing] * 5, nonfinite, distilled]
    else:
        hits = _hits(batch, logits)
        parts = [loss, next_road, travel_time, distilled, *hits, nonfinite, nothing]
    return torch.stack([part.detach().double() for part in parts])


def _hits(batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
    """How many positions were predicted right, and how many there are."""
    with torch.no_grad():
        choice = mask_candidates(logits, batch.candidate_len).argmax(dim=-1)
        hit = (choice == batch.road_label) & labelled_positions(batch)
        return hit.sum(), batch.trace_len.sum()
