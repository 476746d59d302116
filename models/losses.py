"""The supervised losses of the student.

Each comes as a sum and a count, so that training can divide by the count of a whole accumulation
group or of all processes; the properties are the means of this batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from data.masks import real_entries

if TYPE_CHECKING:
    from data.batch import Batch

NO_LABEL = -100


@dataclass
class SupervisedLosses:
    """Sums over the labelled real positions of a batch, and how many those are."""

    next_road_sum: Tensor  # scalar, float32
    travel_time_sum: Tensor  # scalar, float32
    num_positions: Tensor  # scalar, int64

    @property
    def next_road(self) -> Tensor:
        """Mean cross-entropy over the candidates; 0 where no position has a label."""
        return self.next_road_sum / self.num_positions.clamp(min=1)

    @property
    def travel_time(self) -> Tensor:
        """Mean |p - y| / max(y, 1) of the log1p seconds; 0 where no position has a label."""
        return self.travel_time_sum / self.num_positions.clamp(min=1)


def labelled_positions(batch: Batch) -> Tensor:
    """bool [B, T]: real positions whose next road is among the candidates."""
    return batch.position_mask & (batch.road_label != NO_LABEL)


def mask_candidates(logits: Tensor, candidate_len: Tensor) -> Tensor:
    """logits [..., C] with -inf past `candidate_len` [...]."""
    return logits.masked_fill(~real_entries(candidate_len, logits.shape[-1]), -torch.inf)


def supervised_losses(logits: Tensor, time_pred: Tensor, batch: Batch) -> SupervisedLosses:
    """Both losses of logits and time_pred [B, T, C] against the batch's labels."""
    labelled = labelled_positions(batch)
    label = torch.where(labelled, batch.road_label, NO_LABEL)
    # Rows without a label keep all columns: a row of -inf alone would make NaN gradients.
    num_candidates = logits.shape[-1]
    candidate_len = torch.where(labelled, batch.candidate_len, num_candidates)
    masked = mask_candidates(logits.float(), candidate_len)
    next_road_sum = F.cross_entropy(
        masked.flatten(0, 1), label.flatten(), ignore_index=NO_LABEL, reduction="sum"
    )
    at_label = time_pred.float().gather(2, label.clamp(min=0).unsqueeze(2)).squeeze(2)
    mean, std = batch.timestamp_log1p_mean, batch.timestamp_log1p_std
    predicted = at_label * std + mean
    actual = batch.timestamp_label.float() * std + mean
    error = (predicted - actual).abs() / actual.clamp(min=1.0)
    return SupervisedLosses(
        next_road_sum=next_road_sum,
        travel_time_sum=torch.where(labelled, error, 0.0).sum(),
        num_positions=labelled.sum(),
    )
