"""Cheapest routes between roads for any cost of driving from one road onto the next.

The cost belongs to the step from road to road, so lengths, times and probabilities all fit. The
model-guided searches of `search/` are something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.geometry import EARTH_RADIUS_M
from data.road_network import RoadNetwork
from runtime.chunks import run_in_threads

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PAIRS_PER_BLOCK = 4096
FIRST_WIDTH = 128


@dataclass(frozen=True)
class Routes:
    """The cheapest routes of n pairs; an empty route and an infinite cost where there is none."""

    cost: FloatArray  # [n]
    lengths: IntArray  # [n]
    roads: NDArray[np.int32]  # [n, width]

    def __len__(self) -> int:
        return len(self.cost)

    def route(self, index: int) -> NDArray[np.int32]:
        """The roads of one route, origin and destination included."""
        return self.roads[index, : self.lengths[index]]


@dataclass(frozen=True)
class RouteFinder:
    """Finds routes in one network by one cost."""

    network: RoadNetwork
    edge_cost: FloatArray  # [E], of each entry of `reach_targets`; not negative

    @classmethod
    def by_length(cls, network: RoadNetwork) -> RouteFinder:
        """The cost is the length of the road entered, in metres."""
        return cls(network, network.length_m[network.reach_targets].astype(np.float64))

    @cached_property
    def _ends(self) -> FloatArray:
        """The roads' ends in space, metres from the Earth's centre. [3, R]"""
        lat, lon = np.radians(self.network.end_lat), np.radians(self.network.end_lon)
        flat = np.cos(lat)
        return EARTH_RADIUS_M * np.stack([flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)])

    @cached_property
    def _cost_per_metre(self) -> float:
        """The least that a metre of straight line costs: what makes A* exact."""
        network = self.network
        source = np.repeat(np.arange(network.num_roads), network.out_degree)
        step = self._ends[:, network.reach_targets] - self._ends[:, source]
        straight = np.sqrt((step**2).sum(axis=0))
        far = straight > 1.0
        if not far.any():
            return 0.0
        return max(0.0, float((self.edge_cost[far] / straight[far]).min()) * (1 - 1e-9))

    def find(self, origin: IntArray, destination: IntArray) -> Routes:
        """The routes of all pairs; memory is that of the routes."""
        width = FIRST_WIDTH
        while True:
            found = self._find(origin, destination, width)
            longest = int(found.lengths.max(initial=0))
            if longest <= width:
                return found
            width = longest

    def blocks(self, origin: IntArray, destination: IntArray) -> Iterator[tuple[int, Routes]]:
        """The routes in blocks of bounded size, each with the number of its first pair."""
        for first in range(0, len(origin), PAIRS_PER_BLOCK):
            chosen = slice(first, first + PAIRS_PER_BLOCK)
            yield first, self.find(origin[chosen], destination[chosen])

    def costs(self, origin: IntArray, destination: IntArray) -> FloatArray:
        """The cost of the cheapest route of each pair; equal pairs are searched once. [n]"""
        key = origin.astype(np.int64) * self.network.num_roads + destination
        different, inverse = np.unique(key, return_inverse=True)
        first, last = np.divmod(different, self.network.num_roads)
        return self._find(first, last, 0).cost[inverse]

    def _find(self, origin: IntArray, destination: IntArray, width: int) -> Routes:
        from data.route_kernels import search_routes

        count = len(origin)
        cost = np.empty(count)
        lengths = np.zeros(count, dtype=np.int64)
        roads = np.zeros((count, width), dtype=np.int32)
        arguments = (
            np.asarray(origin, dtype=np.int64),
            np.asarray(destination, dtype=np.int64),
            self.network.reach_offsets,
            self.network.reach_targets,
            self.edge_cost,
            self._ends,
            self._cost_per_metre,
            cost,
            lengths,
            roads,
        )
        run_in_threads(lambda begin, end: search_routes(begin, end, *arguments), count)
        return Routes(cost, lengths, roads)
