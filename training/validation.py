"""Measuring the student on a split: accuracy, travel-time errors, likelihood and calibration.

Every real position of every trip counts once; a position whose next road was filtered out of
the candidates counts as wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from critics.distill_hook import DistillationManager
from data.batch import Batch
from data.sampling import evaluation_batches, rank_share
from dataset import TripDataset
from hoser import HOSER
from models.losses import labelled_positions, mask_candidates
from runtime.distributed import Processes
from runtime.errors import UserError
from runtime.precision import Precision

CALIBRATION_BINS = 15
ROWS_PER_BATCH_FACTOR = 2


@dataclass(frozen=True)
class ValidationResult:
    """Means over all positions of a split."""

    next_step_acc: float
    time_pred_mape: float
    time_pred_mape_seconds: float
    next_step_nll: float
    calibration_error: float
    num_positions: int
    kl: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The figures under the names of the logs; `kl` only where there is a teacher."""
        figures = {f"val_{name}": value for name, value in asdict(self).items()}
        if self.kl is None:
            del figures["val_kl"]
        return figures


@torch.no_grad()
def validate(
    model: HOSER,
    dataset: TripDataset,
    *,
    device: torch.device,
    batch_size: int,
    processes: Processes | None = None,
    precision: Precision | None = None,
    teacher: DistillationManager | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> ValidationResult | None:
    """Runs the student over `dataset`; None when `interrupted` says to stop."""
    processes = processes or Processes()
    precision = precision or Precision(device.type, None)
    model.eval()
    sums = torch.zeros(8 + 3 * CALIBRATION_BINS, dtype=torch.float64, device=device)
    spec = dataset.evaluation_rows()
    with precision.autocast():
        tables = model.encode_roads()
    try:
        for rows in evaluation_batches(spec.trace_len, batch_size * ROWS_PER_BATCH_FACTOR):
            if interrupted():
                return None
            share = rank_share(rows, processes.rank, processes.world_size)
            if len(share) == 0:
                continue
            batch = dataset.features(dataset.rows(spec[share]), device)
            with precision.autocast():
                logits, time_pred = model(batch, tables)
            sums += _batch_sums(batch, logits.float(), time_pred.float(), teacher, dataset.split)
    finally:
        model.train()
    return _result(processes.sum(sums).cpu(), teacher is not None)


def _batch_sums(
    batch: Batch, logits: Tensor, time_pred: Tensor, teacher: DistillationManager | None, split: str
) -> Tensor:
    real = batch.position_mask & (batch.candidate_len > 0)
    labelled = labelled_positions(batch) & real
    masked = mask_candidates(logits, batch.candidate_len)[real]  # [N, C]
    label = torch.where(labelled, batch.road_label, -1)[real]
    log_p = torch.log_softmax(masked, dim=-1)
    confidence, choice = log_p.exp().max(dim=-1)
    correct = choice == label
    has_label = label >= 0
    at_label = label.clamp(min=0)[:, None]
    nll = -log_p.gather(1, at_label).squeeze(1)[has_label]
    mean, std = batch.timestamp_log1p_mean, batch.timestamp_log1p_std
    predicted = time_pred[real].gather(1, at_label).squeeze(1)[has_label].double() * std + mean
    actual = batch.timestamp_label[real][has_label].double() * std + mean
    predicted_s, actual_s = predicted.expm1().clamp(min=0), actual.expm1()
    # Seconds are whole: rounding takes away what float32 added to the label.
    actual_s = actual_s.round()
    kl = (logits.new_zeros(()), logits.new_zeros(()))
    if teacher is not None:
        kl = _divergence(batch, logits, teacher, split)
    scalars = [
        batch.trace_len.sum(),
        correct.sum(),
        has_label.sum(),
        ((predicted - actual).abs() / actual.clamp(min=1.0)).sum(),
        ((predicted_s - actual_s).abs() / actual_s.clamp(min=1.0)).sum(),
        nll.sum(),
        *kl,
    ]
    usable = confidence.nan_to_num(0.0)  # a student that diverged is found out by its sums
    bins = (usable * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    calibration = [
        torch.bincount(bins, weights.double(), minlength=CALIBRATION_BINS)
        for weights in (torch.ones_like(confidence), confidence, correct)
    ]
    return torch.cat([torch.stack([value.double() for value in scalars]), *calibration])


def _divergence(
    batch: Batch, logits: Tensor, teacher: DistillationManager, split: str
) -> tuple[Tensor, Tensor]:
    """The distillation loss summed over all positions, and their number.

    At the temperature that training ends with, so that epochs compare.
    """
    last = teacher.total_steps - 1
    targets = teacher.targets(batch, step=last, split=split, positions="all")
    targets = replace(targets, hidden=None)
    output = teacher.compute_kl_for_batch(batch, logits, step=last, targets=targets)
    return output.kl_sum, output.num_positions


def _result(sums: Tensor, has_teacher: bool) -> ValidationResult:
    positions, correct, labelled, mape, mape_seconds, nll, kl, kl_positions = sums[:8].tolist()
    count, confidence, hits = sums[8:].view(3, CALIBRATION_BINS)
    if not all(map(math.isfinite, (mape, mape_seconds, nll, float(confidence.sum())))):
        raise UserError(
            "The student's answers to the validation trips are not finite: the training has "
            "diverged. Lower optimizer_config.learning_rate, or try training.amp_dtype=off."
        )
    labelled = max(labelled, 1.0)
    error = (confidence - hits).abs().sum() / count.sum().clamp(min=1)
    return ValidationResult(
        next_step_acc=correct / max(positions, 1.0),
        time_pred_mape=mape / labelled,
        time_pred_mape_seconds=mape_seconds / labelled,
        next_step_nll=nll / labelled,
        calibration_error=float(error),
        num_positions=int(positions),
        kl=(kl / kl_positions if kl_positions else math.nan) if has_teacher else None,
    )
