"""Replayed trips as a split of their own: batches of them, and the teacher's answers for those."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from critics.replay.driving import Drives
from critics.teacher_cache import CacheLayout, TeacherCache, encode_values
from data.road_network import RoadNetwork
from data.trip_cache import CachedTrips
from dataset import TripDataset

SPLIT = "replay"


@dataclass(frozen=True)
class ReplayedTrips:
    """Trips with the teacher's answers; how long the roads took is not known."""

    road_ids: NDArray[np.int32]  # [S]
    lengths: NDArray[np.int32]  # [n]
    starts: NDArray[np.int64]  # [n]
    values: NDArray[np.float16]  # [V], as in a teacher cache

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of_drives(cls, drives: Drives, network: RoadNetwork) -> ReplayedTrips:
        """The trips that arrived, with the answers that were given on the way."""
        counts = network.out_degree[drives.road_ids].astype(np.int64)
        ends = np.cumsum(drives.lengths, dtype=np.int64) - 1
        values = encode_values(drives.values, np.delete(counts, ends))
        return cls(drives.road_ids, drives.lengths, drives.starts, values)

    def first(self, count: int, network: RoadNetwork) -> ReplayedTrips:
        """The first `count` of them."""
        if count >= len(self):
            return self
        steps = int(self.lengths[:count].sum(dtype=np.int64))
        roads, lengths = self.road_ids[:steps], self.lengths[:count]
        counts = network.out_degree[roads].astype(np.int64)
        counts[np.cumsum(lengths, dtype=np.int64) - 1] = 0
        values = self.values[: int(counts.sum())]
        return ReplayedTrips(roads, lengths, self.starts[:count], values)

    def dataset(self, like: TripDataset) -> TripDataset:
        """A split of these trips; every road is entered at the start until times are predicted."""
        trips = CachedTrips(
            folder=Path(),
            road_ids=self.road_ids,
            seconds=np.zeros(len(self.road_ids), dtype=np.int32),
            starts=self.starts,
            lengths=self.lengths,
            content_hash=SPLIT,
            time_log1p_mean=like.time_mean,
            time_log1p_std=like.time_std,
            skipped=0,
        )
        statistics = (like.time_mean, like.time_std)
        return TripDataset(
            like.network, trips, statistics, like.max_len, like.candidate_top_k, SPLIT
        )

    def answers(self, dataset: TripDataset, device: torch.device) -> TeacherCache:
        """The teacher's answers for the split that `dataset` made."""
        return TeacherCache(self.values, CacheLayout(dataset), device)


def join_trips(parts: list[ReplayedTrips]) -> ReplayedTrips:
    """All trips, one part after the other."""
    names = ("road_ids", "lengths", "starts", "values")
    return ReplayedTrips(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
