"""Gathers a student's predicted times along real trips, as it would predict them when generating.

A generated trip's past is made of expected times, not of true ones. So the student drives each
real route on its own clock: the times along it are those it predicted before. A few passes over
the whole trip come to the same as driving it road by road, since later times depend on earlier
ones only.

Data split by time may have a weekend among the validation trips only, or only outside of them, and
a student is off by a factor on a kind of day that it has not learned from. So trips of both kinds
of days are driven wherever there are any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.clock import SECONDS_PER_DAY, is_weekend
from data.features import TripRows
from data.sampling import evaluation_batches
from dataset import TripDataset
from hoser import HOSER
from models.losses import labelled_positions
from models.road_tables import RoadTables
from times.conditions import TimeConditions, extents, places
from times.fitting import TimeRecords

MOST_TRIPS = 1500
_LEAST_TRIPS_A_KIND = 100  # of days
_PASSES = 3
_BATCH_SIZE = 128
_MAX_WAIT_S = 604_800.0


@dataclass
class _Driven:
    """A batch after the last pass, on the CPU, [B, T] each."""

    expected_s: Tensor
    entered_s: Tensor
    road: Tensor
    labelled: Tensor


def drive_both_kinds_of_days(
    student: HOSER, val: TripDataset, train: Callable[[], TripDataset], device: torch.device
) -> TimeRecords:
    """Records of validation trips; where they lack a kind of day, of its training trips as well."""
    records = drive_real_trips(student, val, device)
    has_weekend = _is_weekend(val)
    for weekend in (False, True):
        if (has_weekend == weekend).sum() >= _LEAST_TRIPS_A_KIND:
            continue
        more = train()
        of_kind = np.flatnonzero(_is_weekend(more) == weekend)
        if len(of_kind):
            records = records.and_also(drive_real_trips(student, more, device, of_kind))
    return records


def _is_weekend(trips: TripDataset) -> NDArray[np.bool_]:
    return is_weekend(np.asarray(trips.starts, dtype=np.int64) // SECONDS_PER_DAY)


@torch.no_grad()
def drive_real_trips(
    student: HOSER,
    trips: TripDataset,
    device: torch.device,
    among: NDArray[np.int64] | None = None,
) -> TimeRecords:
    """Predicted and true times of (not too many) trips, spread over all or over those `among`."""
    was_training = student.training
    student.eval()
    spec = trips.evaluation_rows()
    if among is not None:
        spec = spec[np.flatnonzero(np.isin(spec.trip_id, among))]
    step = max(1, -(-len(spec) // MOST_TRIPS))
    spec = spec[np.arange(0, len(spec), step)]
    road_class = trips.network.road_attr_type
    tables = student.encode_roads()
    parts = []
    for rows in evaluation_batches(spec.trace_len, _BATCH_SIZE):
        gathered = trips.rows(spec[rows])
        driven = _drive(student, trips, gathered, tables, device)
        true_s = gathered.seconds[:, 1:] - gathered.seconds[:, :-1]
        keep = driven.labelled
        number = torch.from_numpy(rows)[:, None].expand(keep.shape)
        at = _places(trips, gathered, keep.shape[1])
        whose = gathered.trip_id[:, None].expand(keep.shape)
        columns = (driven.expected_s, driven.entered_s, driven.road, true_s, number, at, whose)
        parts.append([column[keep].numpy() for column in columns])
    student.train(was_training)
    expected_s, entered_s, road, seconds, trip, place, whose_trip = map(
        np.concatenate, zip(*parts, strict=True)
    )
    order = np.argsort(trip, kind="stable")
    extent = extents(expected_s, np.unique(whose_trip, return_inverse=True)[1])
    conditions = TimeConditions.of(expected_s, road_class[road], entered_s, place, extent)
    return TimeRecords(conditions[order], seconds[order].astype(float), trip[order])


def _places(trips: TripDataset, rows: TripRows, width: int) -> Tensor:
    """Where the times of a batch stand in their whole trips. [B, T]"""
    position = rows.crop_start.numpy()[:, None] + np.arange(width)
    following = trips.trace_lengths[rows.trip_id.numpy()][:, None] - 1 - position
    return torch.from_numpy(places(position, following))


def _drive(
    student: HOSER, trips: TripDataset, rows: TripRows, tables: RoadTables, device: torch.device
) -> _Driven:
    clock = rows.seconds
    for _ in range(_PASSES):
        batch = trips.features(replace(rows, seconds=clock), device)
        labelled = labelled_positions(batch)
        _, time_pred = student(batch, tables)
        at_label = time_pred.gather(2, batch.road_label.clamp(min=0).unsqueeze(2)).squeeze(2)
        log_s = at_label.double() * batch.timestamp_log1p_std + batch.timestamp_log1p_mean
        expected = log_s.expm1().clamp(0.0, _MAX_WAIT_S).round().long().cpu()
        true_s = rows.seconds[:, 1:] - rows.seconds[:, :-1]
        expected = torch.where(labelled.cpu(), expected, true_s)
        since = torch.cat([torch.zeros_like(expected[:, :1]), expected.cumsum(dim=1)], dim=1)
        clock = rows.seconds[:, :1] + since
    return _Driven(expected.double(), clock[:, :-1], batch.trace_road_id.cpu(), labelled.cpu())
