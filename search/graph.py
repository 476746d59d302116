"""The road network as the compiled loops of the searches read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.road_network import Followed, RoadNetwork, reversed_reach
from search.kernels.layout import Roads

# Each trip in flight has a table over all roads; together they stay below this.
_MAX_TABLE_BYTES = 1 << 28


@dataclass(frozen=True)
class SearchGraph:
    """Who follows whom, how long roads are, and where their centres lie."""

    num_roads: int
    max_candidates: int
    offsets: NDArray[np.int64]  # [R + 1]
    targets: NDArray[np.int64]  # [E]
    length_m: NDArray[np.float64]  # [R]
    lon: NDArray[np.float64]  # [R], radians
    lat: NDArray[np.float64]  # [R], radians
    step_cost: NDArray[np.float64] | None = None  # [E], nats, where a step leads off the way

    @property
    def roads(self) -> Roads:
        """What the loops of the searches need."""
        return Roads(self.offsets, self.targets, self.lon, self.lat, self.length_m)

    @classmethod
    def of(cls, network: RoadNetwork) -> SearchGraph:
        """The arrays of a road network."""
        return cls(
            num_roads=network.num_roads,
            max_candidates=max(1, network.max_candidates),
            offsets=np.ascontiguousarray(network.reach_offsets, dtype=np.int64),
            targets=np.ascontiguousarray(network.reach_targets, dtype=np.int64),
            length_m=np.ascontiguousarray(network.length_m, dtype=np.float64),
            lon=np.radians(network.center_lon),
            lat=np.radians(network.center_lat),
        )

    @cached_property
    def reversed(self) -> Followed:
        """Whom a road follows."""
        return reversed_reach(self.offsets, self.targets)

    def limit_slots(self, num_slots: int, bytes_per_road: int) -> int:
        """`num_slots`, or as many as tables of so many bytes per road allow."""
        return max(1, min(num_slots, _MAX_TABLE_BYTES // (bytes_per_road * self.num_roads)))
