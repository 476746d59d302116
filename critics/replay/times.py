"""When replayed trips pass their roads: as the student predicts, never a made-up constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from critics.replay.policies import LONGEST_LOG_WAIT
from data.sampling import evaluation_batches
from dataset import RowSpec, TripDataset

if TYPE_CHECKING:
    from hoser import HOSER


@torch.no_grad()
def predict_times(
    student: HOSER, dataset: TripDataset, trips: NDArray[np.int64], batch_size: int
) -> None:
    """Sets the times of `trips` in `dataset` to what the student predicts along their roads.

    One pass: the student reads the times that stand there, which are its own of the pass before.
    """
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    tables = student.encode_roads()
    lengths = dataset.trace_lengths[trips].astype(np.int64)
    limit = dataset.max_len or int(lengths.max(initial=1))
    for rows in evaluation_batches(lengths, batch_size):
        trip = trips[rows]
        spec = RowSpec(trip, np.zeros(len(trip), dtype=np.int64), lengths[rows].clip(max=limit))
        batch = dataset.features(dataset.rows(spec), device)
        _, time_pred = student(batch, tables)
        label = batch.road_label.clamp(min=0).unsqueeze(2)
        predicted = time_pred.gather(2, label).squeeze(2).double()
        log_wait = predicted * dataset.time_std + dataset.time_mean
        waited = log_wait.clamp(0.0, LONGEST_LOG_WAIT).expm1()
        elapsed = (waited * batch.position_mask).cumsum(dim=1).round().long().cpu().numpy()
        for row, index in enumerate(trip):
            begin, length = dataset.offsets[index], int(spec.trace_len[row])
            dataset.seconds[begin + 1 : begin + 1 + length] = elapsed[row, :length]
            end = dataset.offsets[index + 1]
            dataset.seconds[begin + 1 + length : end] = elapsed[row, length - 1]  # beyond max_len
    student.train(was_training)
