"""Temperature scaling: one number that makes a student as sure of itself as it is right.

Logits are divided by the temperature that the validation trips find likeliest. It is multiplied
into the last layer, so that whoever reads the student's file gets calibrated logits: the searches,
the evaluation, an export to the original.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data.sampling import evaluation_batches
from dataset import TripDataset
from hoser import HOSER
from models.losses import labelled_positions, mask_candidates

MOST_TRIPS = 5000
LOWEST, HIGHEST = 0.05, 20.0
_ROUNDS = 40


@torch.no_grad()
def calibrate(model: HOSER, val: TripDataset, device: torch.device, batch_size: int) -> float:
    """Divides the student's logits by the temperature that it returns."""
    logits, labels = _collect(model, val, device, batch_size)
    temperature = likeliest_temperature(logits, labels)
    model.navigator.v_proj.weight.div_(temperature)
    return temperature


def likeliest_temperature(logits: Tensor, labels: Tensor) -> float:
    """What logits [P, C] are to be divided by so that labels [P] are likeliest.

    The likelihood has one peak in the inverse temperature; golden-section search finds it.
    """
    if not len(labels):
        return 1.0
    logits = logits.double()  # in float32 the bottom of the valley is flat
    low, high = math.log(LOWEST), math.log(HIGHEST)
    golden = (math.sqrt(5) - 1) / 2

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), labels))

    first, second = high - golden * (high - low), low + golden * (high - low)
    of_first, of_second = loss(first), loss(second)
    for _ in range(_ROUNDS):
        if of_first < of_second:
            high, second, of_second = second, first, of_first
            first = high - golden * (high - low)
            of_first = loss(first)
        else:
            low, first, of_first = first, second, of_second
            second = low + golden * (high - low)
            of_second = loss(second)
    found = (low + high) / 2
    # Where there is nothing to choose, all temperatures are alike, and none is a finding.
    return math.exp(found) if loss(found) < loss(0.0) else 1.0


def _collect(
    model: HOSER, val: TripDataset, device: torch.device, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Masked logits [P, C] and labels [P] of all labelled positions of the first trips."""
    was_training = model.training
    model.eval()
    spec = val.evaluation_rows()
    spec = spec[np.flatnonzero(spec.trip_id < MOST_TRIPS)]
    tables = model.encode_roads()
    logits, labels = [], []
    for rows in evaluation_batches(spec.trace_len, batch_size):
        batch = val.features(val.rows(spec[rows]), device)
        found = model(batch, tables)[0]
        labelled = labelled_positions(batch) & (batch.candidate_len > 0)
        logits.append(mask_candidates(found, batch.candidate_len)[labelled])
        labels.append(batch.road_label[labelled])
    model.train(was_training)
    width = max((part.shape[1] for part in logits), default=1)
    padded = [F.pad(part, (0, width - part.shape[1]), value=-torch.inf) for part in logits]
    if not padded:
        return torch.zeros(0, 1), torch.zeros(0, dtype=torch.long)
    return torch.cat(padded), torch.cat(labels)
