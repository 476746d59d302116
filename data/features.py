"""What a trip looks like to the model: every feature from road ids, times and per-road tables.

Computed on the training device, vectorised over the whole batch. Distances are taken in float64,
since a city's coordinates differ only in digits that float32 does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.batch import Batch
from data.clock import SECONDS_PER_DAY, weekday
from data.geometry import EARTH_RADIUS_M
from data.masks import real_entries
from data.road_network import RoadNetwork

MAX_DISTANCE_M = 1000.0
MAX_INTERVAL_MINUTES = 5.0


@dataclass(frozen=True)
class TripRows:
    """B rows of trips as read, padded to L = T + 1 roads; the last real road is the next label.

    `destination_road_id` is the whole trip's last road, also where a row was cropped before it;
    `first_second` is when the whole trip began.
    """

    road_ids: Tensor  # int64 [B, L]
    seconds: Tensor  # int64 [B, L], since 1970
    trace_len: Tensor  # int64 [B]
    destination_road_id: Tensor  # int64 [B]
    first_second: Tensor  # int64 [B]
    trip_id: Tensor  # int64 [B]
    crop_start: Tensor  # int64 [B]
    max_candidates: int  # C
    replayed: bool = False

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TripRows:
        """The rows on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TripRows:
        """The rows in page-locked memory, for asynchronous copies to a GPU."""
        return self._map(Tensor.pin_memory)

    def padded(self, positions: int, candidates: int) -> TripRows:
        """The rows with T a multiple of `positions`, and room for `candidates` candidates."""
        missing = -(self.road_ids.shape[1] - 1) % positions

        def repeat_last(values: Tensor) -> Tensor:
            return torch.cat([values, values[:, -1:].expand(-1, missing)], dim=1)

        return replace(
            self,
            road_ids=repeat_last(self.road_ids),
            seconds=repeat_last(self.seconds),
            max_candidates=max(self.max_candidates, candidates),
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> TripRows:
        changed: dict[str, Any] = {
            name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **changed)


def unit_vectors(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on the unit sphere. [R, 3]"""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def temporal_info(seconds: Tensor, first_second: Tensor) -> Tensor:
    """Minutes of the day / 1440 as float32, negative where the trip began on a week-end.

    `seconds` [..., T] since 1970, `first_second` [...] of the whole trip.
    """
    of_day = seconds % SECONDS_PER_DAY
    minutes = (of_day // 3600).double() * 60.0 + (of_day // 60 % 60).double()
    minutes = minutes + (of_day % 60).double() / 60.0
    day = torch.div(first_second, SECONDS_PER_DAY, rounding_mode="floor")
    sign = torch.where(weekday(day) >= 5, -1.0, 1.0)
    return (minutes / 1440.0).float() * sign[..., None].float()


def time_interval(first: Tensor, second: Tensor) -> Tensor:
    """Clipped difference of two temporal infos, in units of five minutes (broadcasting)."""
    minutes = (first * 1440.0 - second * 1440.0).abs_()
    return minutes.clamp_(max=MAX_INTERVAL_MINUTES).div_(MAX_INTERVAL_MINUTES)


class FeatureTables:
    """Per-road tables on a device, and the features of trips and candidates from them."""

    def __init__(self, network: RoadNetwork, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.network = network
        move = self._move
        vectors = unit_vectors(network.center_lon, network.center_lat)
        self.center = move(vectors)  # float64 [R, 3]
        self.reach_offsets = move(network.reach_offsets)  # [R + 1]
        self.reach_targets = move(network.reach_targets)  # [E]
        x, y = _bearing_plane(network)
        self.end_x, self.end_y = move(x), move(y)  # float64 [R]
        road = np.repeat(np.arange(network.num_roads), network.out_degree)
        target = network.reach_targets
        self.reach_angle = move(_direction(x, y, road, target))  # float64 [E]

    def _move(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def batch(self, rows: TripRows, time_mean: float, time_std: float, top_k: int = 0) -> Batch:
        """All features of `rows`; with `top_k` only the k candidates nearest the destination."""
        trace = rows.road_ids[:, :-1]
        mask = real_entries(rows.trace_len, trace.shape[1])  # [B, T]
        pair_mask = mask[:, :, None] & mask[:, None, :]
        info = temporal_info(rows.seconds[:, :-1], rows.first_second)
        intervals = time_interval(info[:, :, None], info[:, None, :])  # [B, T, T]
        centers = self.center[trace]  # [B, T, 3]
        next_road = rows.road_ids[:, 1:]
        candidates = self.candidates(trace, rows.destination_road_id[:, None], rows.max_candidates)
        candidates.road_id.masked_fill_(~mask[..., None], 0)
        candidates.metric_dis.masked_fill_(~mask[..., None], 0.0)
        candidates.metric_angle.masked_fill_(~mask[..., None], 0.0)
        candidate_len = candidates.count * mask
        waited = (rows.seconds[:, 1:] - rows.seconds[:, :-1]).double() * mask
        label = (torch.log1p(waited) - time_mean) / time_std
        batch = Batch(
            trace_road_id=trace * mask,
            temporal_info=info * mask,
            trace_distance_mat=self.distance(centers, centers).mul_(pair_mask),
            trace_time_interval_mat=intervals.mul_(pair_mask),
            trace_len=rows.trace_len,
            destination_road_id=rows.destination_road_id,
            candidate_road_id=candidates.road_id,
            metric_dis=candidates.metric_dis,
            metric_angle=candidates.metric_angle,
            candidate_len=candidate_len,
            road_label=_label(candidates.road_id, candidate_len, next_road, mask),
            timestamp_label=label.float(),
            trip_id=rows.trip_id,
            crop_start=rows.crop_start,
            timestamp_log1p_mean=time_mean,
            timestamp_log1p_std=time_std,
            replayed=rows.replayed,
        )
        return keep_nearest(batch, top_k) if 0 < top_k < rows.max_candidates else batch

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Clipped distance in km between unit vectors [..., P, 3] and [..., Q, 3]: [..., P, Q].

        Up to the clip of one kilometre, chord and arc differ by less than a nanometre.
        """
        chord = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
        return chord.mul_(EARTH_RADIUS_M / MAX_DISTANCE_M).clamp_(max=1.0).float()

    def candidates(self, road_id: Tensor, destination: Tensor, width: int) -> Candidates:
        """The roads reachable from `road_id` [...], padded to `width` with zeros.

        `destination` must broadcast against `road_id`.
        """
        start = self.reach_offsets[road_id]
        count = self.reach_offsets[road_id + 1] - start  # [...]
        place = torch.arange(width, device=road_id.device)
        mask = real_entries(count, width)  # [..., C]
        edge = torch.where(mask, start[..., None] + place, 0)
        target = torch.where(mask, self.reach_targets[edge], 0) if len(self.reach_targets) else edge
        metric_dis = self._metric_dis(target, destination, mask)
        metric_angle = self._metric_angle(edge, road_id, destination, mask)
        return Candidates(target, count, metric_dis, metric_angle)

    def listed_candidates(
        self, road_id: Tensor, destination: Tensor, block: int = 1
    ) -> ListedCandidates:
        """The same on a CPU without padding between roads: [N], [N] -> M candidates in a row.

        M is rounded up to a multiple of `block`; what is past the real ones belongs to no road.
        """
        from data.candidate_kernels import list_candidates

        road, offsets = road_id.numpy(), self.reach_offsets.numpy()
        counts = (offsets[1:] - offsets[:-1])[road]
        size = -(-max(int(counts.sum()), 1) // block) * block
        owner, target = np.zeros((2, size), dtype=np.int64)
        metric_dis, metric_angle = np.zeros((2, size), dtype=np.float32)
        list_candidates(
            road, destination.numpy(), offsets, self.reach_targets.numpy(),
            self.center.numpy(), self.end_x.numpy(), self.end_y.numpy(), self.reach_angle.numpy(),
            2 * EARTH_RADIUS_M, owner, target, metric_dis, metric_angle,
        )  # fmt: skip
        return ListedCandidates(
            owner=torch.from_numpy(owner),
            road_id=torch.from_numpy(target),
            metric_dis=torch.from_numpy(metric_dis),
            metric_angle=torch.from_numpy(metric_angle),
            first=np.cumsum(counts) - counts,
        )

    def _metric_dis(self, target: Tensor, destination: Tensor, mask: Tensor) -> Tensor:
        offset = self.center[target] - self.center[destination][..., None, :]
        half_chord = (offset.square().sum(dim=-1).sqrt() / 2).clamp_(max=1.0)
        # Rounded to float32 before the minimum is taken away, as published.
        metres = (2 * EARTH_RADIUS_M * torch.asin(half_chord)).float()  # [..., C]
        nearest = metres.masked_fill(~mask, math.inf).amin(dim=-1, keepdim=True)
        return torch.where(mask, torch.log1p((metres - nearest) / 100), 0.0)

    def _metric_angle(
        self, edge: Tensor, road_id: Tensor, destination: Tensor, mask: Tensor
    ) -> Tensor:
        dx = self.end_x[destination] - self.end_x[road_id]
        dy = self.end_y[destination] - self.end_y[road_id]
        ahead = torch.atan2(dy, torch.cos(self.end_y[road_id]) * dx) % (2 * math.pi)
        if not len(self.reach_angle):
            return torch.zeros(mask.shape, device=self.device)
        difference = (self.reach_angle[edge] - ahead[..., None]).abs()
        folded = torch.minimum(difference, 2 * math.pi - difference)
        return torch.where(mask, folded / math.pi, 0.0).float()


@dataclass
class Candidates:
    """The roads that may come next, and where they lie relative to the destination."""

    road_id: Tensor  # int64 [..., C]
    count: Tensor  # int64 [...]
    metric_dis: Tensor  # float32 [..., C]
    metric_angle: Tensor  # float32 [..., C]


@dataclass
class ListedCandidates:
    """The candidates of N roads in one list; those of road n begin at `first[n]`."""

    owner: Tensor  # int64 [M], whose candidate it is
    road_id: Tensor  # int64 [M]
    metric_dis: Tensor  # float32 [M]
    metric_angle: Tensor  # float32 [M]
    first: NDArray[np.int64]  # [N]


def _bearing_plane(
    network: RoadNetwork,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The last vertices as the bearing formula's "longitude" and "latitude", in radians.

    The published system passes the longitude where the latitude belongs, so its angles are
    those of the mirrored map; published checkpoints depend on them.
    """
    lon, lat = np.radians(network.end_lon), np.radians(network.end_lat)
    return (lat, lon) if network.angle_convention == "hoser" else (lon, lat)


def _direction(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.float64]:
    dx, dy = x[second] - x[first], y[second] - y[first]
    return np.arctan2(dy, np.cos(y[first]) * dx) % (2 * np.pi)


def _label(candidate: Tensor, candidate_len: Tensor, next_road: Tensor, mask: Tensor) -> Tensor:
    """The place of the next road among the candidates; -100 where it is not one of them."""
    real = real_entries(candidate_len, candidate.shape[-1])
    match = (candidate == next_road[..., None]) & real
    label = torch.where(match.any(dim=-1), match.int().argmax(dim=-1), -100)
    return label * mask


def keep_nearest(batch: Batch, top_k: int) -> Batch:
    """Keeps each position's `top_k` candidates of smallest `metric_dis`, in their old order.

    Labels follow; one whose candidate fell out becomes -100.
    """
    mask = batch.candidate_mask
    width = batch.candidate_road_id.shape[-1]
    distance = batch.metric_dis.masked_fill(~mask, math.inf)
    nearest = distance.argsort(dim=-1, stable=True)[..., :top_k]
    kept_count = batch.candidate_len.clamp(max=top_k)
    padding = ~real_entries(kept_count, top_k)
    kept = nearest.masked_fill(padding, width).sort(dim=-1).values  # padding goes last
    position = kept.masked_fill(padding, 0)

    def gather(values: Tensor) -> Tensor:
        return values.gather(-1, position).masked_fill(padding, 0)

    match = (position == batch.road_label[..., None]) & ~padding
    label = torch.where(match.any(dim=-1), match.int().argmax(dim=-1), -100)
    batch.road_label = label * batch.position_mask
    batch.candidate_road_id = gather(batch.candidate_road_id)
    batch.metric_dis = gather(batch.metric_dis)
    batch.metric_angle = gather(batch.metric_angle)
    batch.candidate_len = kept_count
    batch.candidate_position = position
    return batch
