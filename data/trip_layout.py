"""The arrays that the loops of `data.trip_kernels` read from and write to, by name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork


class Text(NamedTuple):
    """Many fields, one after the other, and where each begins."""

    content: NDArray[np.uint8]
    offsets: NDArray[np.int64]  # [n + 1]

    @property
    def num_separators(self) -> int:
        """How many commas there are."""
        return int(np.count_nonzero(self.content == ord(",")))


class Reach(NamedTuple):
    """Which roads can be driven onto from which."""

    num_roads: int
    offsets: NDArray[np.int64]
    targets: NDArray[np.int64]

    @classmethod
    def of(cls, network: RoadNetwork) -> Reach:
        """Those of a road network."""
        return cls(network.num_roads, network.reach_offsets, network.reach_targets)


class Packed(NamedTuple):
    """Room for packed trips, and for what is wrong with each row."""

    road_ids: NDArray[np.int32]  # [S]
    times: NDArray[np.int64]  # [S]
    lengths: NDArray[np.int32]  # [n]
    status: NDArray[np.int8]  # [n]
    detail: NDArray[np.int64]  # [n]

    @classmethod
    def empty(cls, rows: int, steps: int) -> Packed:
        """Room for `rows` trips of `steps` roads in all."""
        return cls(
            road_ids=np.empty(steps, dtype=np.int32),
            times=np.empty(steps, dtype=np.int64),
            lengths=np.zeros(rows, dtype=np.int32),
            status=np.zeros(rows, dtype=np.int8),
            detail=np.zeros(rows, dtype=np.int64),
        )

    @classmethod
    def of_text(cls, roads: Text, times: Text) -> Packed:
        """Room for what two columns of lists can hold."""
        rows = len(roads.offsets) - 1
        # A row's steps are at most its separators plus one, on whichever side has more.
        return cls.empty(rows, roads.num_separators + times.num_separators + 2 * rows)
