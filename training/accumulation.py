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

from critics.distill_hook import DistillationManager, DistillTargets
from critics.terms import KL, RELATIONS, ZONES, DistillOutput
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
    "distill_zones",
    "distill_relations",
)
# Under which name a distillation term is recorded, of real trips and of replayed ones.
TERMS_OF_REAL_TRIPS = {KL: "distill_loss", ZONES: "distill_zones", RELATIONS: "distill_relations"}
TERMS_OF_REPLAYED_TRIPS = {KL: "replay_loss"}


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
        leaf = tables.detach_for_accumulation(own_gradients=self.calls.reuses_memory)
        if self.calls.reuses_memory:
            optimization.reserve_gradients()
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
            recorded = {"loss": loss, **_recorded_terms(batch, taught, count)}
            if not batch.replayed:  # labels are spoken of for real trips alone
                correct, positions = _hits(batch, outputs[0])
                recorded |= {"loss_next_step": next_road, "loss_time_pred": travel_time}
                recorded |= {"correct": correct, "positions": positions}
            sums += _in_order(recorded)
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


def _recorded_terms(batch: Batch, taught: DistillOutput | None, count: Tensor) -> dict[str, Tensor]:
    """What a micro-batch adds to the distillation's part of `SUMS`; count as in `_counts`, [3]."""
    if taught is None:
        return {}
    names = TERMS_OF_REPLAYED_TRIPS if batch.replayed else TERMS_OF_REAL_TRIPS
    means = taught.means(count[1], count[2])
    recorded = {names[term]: mean for term, mean in means.items() if term in names}
    return {**recorded, "teacher_nonfinite": taught.num_nonfinite}


def _in_order(recorded: dict[str, Tensor]) -> Tensor:
    """The recorded values as `SUMS` orders them, zero where there is none."""
    nothing = torch.zeros((), device=recorded["loss"].device)
    parts = [recorded.get(name, nothing) for name in SUMS]
    return torch.stack([part.detach().double() for part in parts])


def _hits(batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
    """How many positions were predicted right, and how many there are."""
    with torch.no_grad():
        choice = mask_candidates(logits, batch.candidate_len).argmax(dim=-1)
        hit = (choice == batch.road_label) & labelled_positions(batch)
        return hit.sum(), batch.trace_len.sum()
