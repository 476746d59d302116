"""Best-first search, as the original HOSER generates: always continue the most probable trip.

Every trip has a queue of partial trips ordered by log-probability. The best one is taken; on the
destination the search ends. A road is continued from once, and a candidate is queued only when its
road was not reached before or by a worse path. When the queue is empty or `max_steps` partial trips
were continued, the one that came nearest is returned. Many trips run side by side, each taking the
head of its own queue every round, so the results are those of one trip at a time.
"""

from __future__ import annotations

import numpy as np

from search.graph import SearchGraph
from search.interface import NO_NODE, IntArray, NextRoads, Outcomes, PartialTrips

_BYTES_PER_ROAD = 5
_FIRST_POOL_SIZE = 512


class BestFirstSearch:
    """The queues of `num_slots` trips; see `search.interface.Search`."""

    def __init__(self, graph: SearchGraph, num_slots: int, max_steps: int) -> None:
        self.graph, self.max_steps = graph, max_steps
        self.num_slots = slots = graph.limit_slots(num_slots, _BYTES_PER_ROAD)
        self.active = np.zeros(slots, dtype=bool)
        self.destination = np.zeros(slots, dtype=np.int64)
        self.steps = np.zeros(slots, dtype=np.int64)
        self.best = np.empty((slots, graph.num_roads), dtype=np.float32)
        self.visited = np.zeros((slots, graph.num_roads), dtype=bool)
        self.pool_at = np.empty((slots, _FIRST_POOL_SIZE, 3), dtype=np.int64)
        self.pool_log_prob = np.empty((slots, _FIRST_POOL_SIZE), dtype=np.float32)
        self.pool_size = np.zeros(slots, dtype=np.int64)
        self.heap = np.empty((slots, _FIRST_POOL_SIZE), dtype=np.int64)
        self.heap_size = np.zeros(slots, dtype=np.int64)
        self.nearest = np.full(slots, -1, dtype=np.int64)
        self.nearest_m = np.zeros(slots)
        self._selected = PartialTrips.empty(slots)
        self._ended = PartialTrips.empty(slots)
        self._reached = np.zeros(slots, dtype=bool)

    def start(
        self,
        slots: IntArray,
        number: IntArray,
        origin: IntArray,
        destination: IntArray,
        start: IntArray,
    ) -> None:
        """Begins new trips in free slots."""
        from search.kernels.best_first import begin_heaps

        self.active[slots] = True
        self.destination[slots] = destination
        self.steps[slots] = 0
        self.nearest[slots] = 0
        self.nearest_m[slots] = np.inf
        begin_heaps(
            slots, origin, start, self.best, self.visited,
            self.heap, self.heap_size, self.pool_at, self.pool_log_prob, self.pool_size,
        )  # fmt: skip

    def select(self) -> tuple[PartialTrips, Outcomes]:
        """The head of every queue, and the searches that have ended."""
        from search.kernels.best_first import select_heads

        graph, selected, ended = self.graph, self._selected, self._ended
        num_selected, num_ended = select_heads(
            self.active, self.destination, self.steps, self.max_steps, self.heap, self.heap_size,
            self.pool_at, self.pool_log_prob, self.nearest, self.nearest_m, self.visited,
            graph.offsets, graph.lon, graph.lat,
            selected.at, selected.log_prob, ended.at, ended.log_prob, self._reached,
        )  # fmt: skip
        outcomes = Outcomes(ended[:num_ended], self._reached[:num_ended])
        return selected[:num_selected], outcomes

    def update(self, selected: PartialTrips, scores: NextRoads) -> None:
        """Queues the candidates that reach their road better than before."""
        from search.kernels.best_first import update_heaps

        used = int(self.pool_size[selected.slot].max(initial=0))
        self._reserve(used + self.graph.max_candidates)
        update_heaps(
            selected.slot, selected.road, scores.node, scores.log_prob, scores.seconds,
            self.graph.offsets, self.graph.targets, self.best, self.heap, self.heap_size,
            self.pool_at, self.pool_log_prob, self.pool_size,
        )  # fmt: skip

    def held_nodes(self) -> IntArray:
        """The histories of all queued trips and of the nearest ones."""
        from search.kernels.best_first import open_parents

        room = int(self.heap_size[self.active].sum()) + self.num_slots
        nodes = np.empty(room, dtype=np.int64)
        count = open_parents(
            self.active, self.heap, self.heap_size, self.pool_at, self.visited, self.nearest, nodes
        )
        nodes = np.unique(nodes[:count])
        return nodes[nodes != NO_NODE]

    def _reserve(self, size: int) -> None:
        capacity = self.heap.shape[1]
        if size <= capacity:
            return
        extra = max(size - capacity, capacity)
        for name in ("pool_at", "pool_log_prob", "heap"):
            pool = getattr(self, name)
            room = np.empty((pool.shape[0], extra, *pool.shape[2:]), dtype=pool.dtype)
            setattr(self, name, np.concatenate([pool, room], axis=1))
