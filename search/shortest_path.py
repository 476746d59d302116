"""Shortest routes by length on the road network, timed and scored by the model along the way.

The model chooses nothing here; each road's time follows from the model's times before it.
"""

from __future__ import annotations

import numpy as np

from search.graph import SearchGraph
from search.interface import (
    NO_NODE,
    Chosen,
    IntArray,
    NewTrips,
    NextRoads,
    Outcomes,
    PartialTrips,
    Search,
    SearchKind,
)

_FIRST_ROUTE_LEN = 64
_TRIPS_A_CHUNK = 8


class ShortestPath:
    """The routes of `num_slots` trips; see `search.interface.Search`."""

    comes_again = False

    def __init__(self, graph: SearchGraph, num_slots: int, max_steps: int) -> None:
        self.graph, self.max_steps, self.num_slots = graph, max_steps, num_slots
        self.active = np.zeros(num_slots, dtype=bool)
        self.destination = np.zeros(num_slots, dtype=np.int64)
        self.route = np.zeros((num_slots, _FIRST_ROUTE_LEN), dtype=np.int64)
        self.route_len = np.zeros(num_slots, dtype=np.int64)
        self.position = np.zeros(num_slots, dtype=np.int64)
        self.at = np.full((3, num_slots), NO_NODE, dtype=np.int64)
        self.log_prob = np.zeros(num_slots, dtype=np.float32)

    def start(self, trips: NewTrips) -> None:
        """Finds the routes of new trips and stands at their beginning."""
        slots = trips.slots
        self.active[slots] = True
        self.destination[slots] = trips.destination
        self.position[slots] = 0
        self.at[:, slots] = np.stack([np.full(len(slots), NO_NODE), trips.origin, trips.start])
        self.log_prob[slots] = 0.0
        route, route_len = self._find(trips.origin, trips.destination, self.route.shape[1])
        longest = int(route_len.max(initial=1))
        if longest > self.route.shape[1]:
            route, route_len = self._find(trips.origin, trips.destination, longest)
            room = np.zeros((self.num_slots, longest - self.route.shape[1]), dtype=np.int64)
            self.route = np.concatenate([self.route, room], axis=1)
        self.route[slots] = route
        self.route_len[slots] = np.minimum(route_len, self.max_steps + 1)

    def _find(
        self, origin: IntArray, destination: IntArray, width: int
    ) -> tuple[IntArray, IntArray]:
        from models.cpu_parallel import even_chunks, run_chunks
        from search.kernels.shortest_path import find_routes

        graph = self.graph
        route = np.zeros((len(origin), width), dtype=np.int64)
        route_len = np.zeros(len(origin), dtype=np.int64)
        arguments = (
            origin, destination, graph.offsets, graph.targets, graph.length_m,
            graph.lon, graph.lat, route, route_len,
        )  # fmt: skip
        chunks = even_chunks(len(origin), max(1, len(origin) // _TRIPS_A_CHUNK))
        run_chunks(find_routes, chunks, lambda _: arguments)
        return route, route_len

    def select(self) -> tuple[PartialTrips, Outcomes]:
        """The places where the routes go on, and the routes that are at their end."""
        at_end = self.active & (self.position + 1 >= self.route_len)
        self.active &= ~at_end
        ended = self._places(np.flatnonzero(at_end))
        reached = ended.road == self.destination[ended.slot]
        return self._places(np.flatnonzero(self.active)), Outcomes(ended, reached)

    def _places(self, slots: IntArray) -> PartialTrips:
        at = np.concatenate([slots[None], self.at[:, slots]])
        return PartialTrips(at, self.log_prob[slots])

    def update(self, selected: PartialTrips, scores: NextRoads) -> None:
        """Moves every route to its next road."""
        from search.kernels.shortest_path import take_next

        take_next(
            selected.slot, selected.road, scores.node, scores.log_prob, scores.seconds,
            self.graph.offsets, self.graph.targets, self.route, self.position,
            self.at, self.log_prob,
        )  # fmt: skip

    def held_nodes(self) -> IntArray:
        """The histories of all routes."""
        nodes = self.at[0, self.active]
        return nodes[nodes != NO_NODE]


def _build(graph: SearchGraph, num_slots: int, chosen: Chosen) -> Search:
    return ShortestPath(graph, num_slots, chosen.settings.max_steps)


KIND = SearchKind(_build)
