"""A batch of trips with all features, named as the published system names them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from data.masks import real_entries


@dataclass
class Batch:
    """B trips, T positions (all roads of a trip but the last), C candidates; zero-padded.

    Position t of row b is real where `t < trace_len[b]`, candidate c where
    `c < candidate_len[b, t]`.
    """

    trace_road_id: Tensor  # int64 [B, T]
    temporal_info: Tensor  # float32 [B, T], minutes of the day / 1440, negative on week-ends
    trace_distance_mat: Tensor  # float32 [B, T, T], km between centres, at most 1
    trace_time_interval_mat: Tensor  # float32 [B, T, T], minutes / 5, at most 1
    trace_len: Tensor  # int64 [B]
    destination_road_id: Tensor  # int64 [B]
    candidate_road_id: Tensor  # int64 [B, T, C]
    metric_dis: Tensor  # float32 [B, T, C]
    metric_angle: Tensor  # float32 [B, T, C]
    candidate_len: Tensor  # int64 [B, T]
    road_label: Tensor  # int64 [B, T], position among the candidates, -100 for none
    timestamp_label: Tensor  # float32 [B, T], normalised log1p seconds to the next road
    trip_id: Tensor  # int64 [B], the trip's number in its split
    crop_start: Tensor  # int64 [B], the trip's step that position 0 is
    timestamp_log1p_mean: float
    timestamp_log1p_std: float
    candidate_position: Tensor | None = None  # int64 [B, T, C], place before top-k filtering
    replayed: bool = False  # trips that nobody drove: their times are the student's own

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.trace_road_id.device

    @property
    def num_trips(self) -> int:
        """B."""
        return self.trace_road_id.shape[0]

    @property
    def position_mask(self) -> Tensor:
        """True at real positions. [B, T]"""
        return real_entries(self.trace_len, self.trace_road_id.shape[1])

    @property
    def candidate_mask(self) -> Tensor:
        """True at real candidates. [B, T, C]"""
        return real_entries(self.candidate_len, self.candidate_road_id.shape[2])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device, non_blocking=non_blocking)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)
