"""`astar`: best-first search, as the original HOSER generates under that name, and A*.

Always the most probable partial trip is continued. Every trip has a queue of them ordered by
log-probability. The best one is taken; on the destination the search ends. A road is continued from
once, and a candidate is queued only when its road was not reached before or by a worse path. When
the queue is empty or `max_steps` partial trips were continued, the one that came nearest is
returned. Many trips run side by side, each taking the head of its own queue every round, so the
results are those of one trip at a time.

Where fewer trips are left than a pass has room for, each has the next ones of its queue scored as
well. They will nearly always have to be, and are taken in the same order, so the results are the
same; only the rounds are fewer.

Where detours cost something (`search.detours`), that comes off the log-probability in the order.
A student judges one crossing after the other, and a trip that wanders a little at many of them can
come out as the most probable one.
"""

from __future__ import annotations

import numpy as np

from config.generation import COSTS
from search.beam import continued
from search.detours import Detours
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
from search.kernels.layout import Blocks, Partial, Queues, Slots
from search.pools import with_room

_BYTES_PER_ROAD = 5
_BYTES_PER_ROAD_ORDERED = 9
_BYTES_PER_ROAD_DIRECTED = 17
_FIRST_HEAP_SIZE = 256
_ENTRIES_A_BLOCK = 128
_MOST_AHEAD = 15  # of one trip: the further down the queue, the more of them in vain


class BestFirstSearch:
    """The queues of `num_slots` trips, with room for `rows` in a pass; see `interface.Search`."""

    comes_again = False

    def __init__(self, graph: SearchGraph, num_slots: int, max_steps: int, rows: int = 1) -> None:
        self.graph, self.max_steps = graph, max_steps
        self.num_slots = slots = graph.limit_slots(num_slots, _BYTES_PER_ROAD)
        self.rows = max(rows, slots)
        self.state = Slots.free(slots, graph.num_roads)
        log_prob = np.empty(0, dtype=np.float32)
        self.queues = Queues(
            heap=np.empty((slots, _FIRST_HEAP_SIZE), dtype=np.int64),
            heap_size=np.zeros(slots, dtype=np.int64),
            unqueued=np.zeros(slots, dtype=np.int64),
            at=np.empty((0, 3), dtype=np.int64),
            log_prob=log_prob,
            priority=log_prob,
            candidates=np.empty(0, dtype=np.int64),
            waiting=np.full(slots, NO_NODE, dtype=np.int64),
            nearest=np.zeros(slots, dtype=np.int64),
            nearest_m=np.zeros(slots),
            blocks=Blocks.none(slots, max(_ENTRIES_A_BLOCK, graph.max_candidates)),
        )
        self._selected = PartialTrips.empty(self.rows)
        self._entry = np.zeros(self.rows, dtype=np.int64)
        self._ended = PartialTrips.empty(slots)
        self._reached = np.zeros(slots, dtype=bool)

    def start(self, trips: NewTrips) -> None:
        """Begins new trips in free slots."""
        from search.kernels.best_first import begin_heaps

        self._reserve_blocks(len(trips.slots))
        self.state.begin(trips.slots, trips.destination)
        begin_heaps(trips.slots, trips.origin, trips.start, self.state, self.queues)

    def select(self) -> tuple[PartialTrips, Outcomes]:
        """The heads of every queue, and the searches that have ended."""
        from search.kernels.best_first import select_heads

        selected, ended = self._selected, self._ended
        num_selected, num_ended = select_heads(
            self.state,
            self.queues,
            self.graph.roads,
            self.max_steps,
            self._ahead(),
            Partial(selected.at, selected.log_prob),
            self._entry,
            Partial(ended.at, ended.log_prob),
            self._reached,
        )
        outcomes = Outcomes(ended[:num_ended], self._reached[:num_ended])
        return selected[:num_selected], outcomes

    def _ahead(self) -> int:
        """How many further partial trips of each trip a pass has room for."""
        return min(_MOST_AHEAD, self.rows // max(1, int(self.state.active.sum())) - 1)

    def update(self, selected: PartialTrips, scores: NextRoads) -> None:
        """Keeps the candidates until their partial trip is taken from its queue."""
        from search.kernels.best_first import keep_candidates

        self._reserve_blocks(len(selected))
        entry = self._entry[: len(selected)]
        keep_candidates(continued(selected, scores), entry, self.graph.roads, self.queues)
        self._reserve_heaps()

    def held_nodes(self) -> IntArray:
        """The histories of all queued trips and of the nearest ones."""
        from search.kernels.best_first import open_histories

        room = 2 * (int(self.queues.heap_size[self.state.active].sum()) + self.num_slots)
        nodes = np.empty(room, dtype=np.int64)
        count = open_histories(self.state, self.queues, nodes)
        nodes = np.unique(nodes[:count])
        return nodes[nodes != NO_NODE]

    def _reserve_blocks(self, count: int) -> None:
        """Sees to so many free blocks of entries."""
        blocks = self.queues.blocks
        if count > int(blocks.num_free[0]):
            blocks = blocks.with_more(max(count, len(blocks.below)))
            self.queues = self.queues._replace(blocks=blocks)
            self._lengthen(len(blocks.below) * blocks.size)

    def _lengthen(self, size: int) -> None:
        """Makes the pool `size` entries long."""
        queues = self.queues
        log_prob = with_room(queues.log_prob, size)
        self.queues = queues._replace(
            at=with_room(queues.at, size),
            log_prob=log_prob,
            priority=log_prob,
            candidates=with_room(queues.candidates, size),
        )

    def _reserve_heaps(self) -> None:
        """Sees to room for all candidates that may be queued before the next scores."""
        heap, needed = self.queues.heap, self.queues.heap_size + self.queues.unqueued
        most = int(needed.max(initial=0))
        if most > heap.shape[1]:
            longer = np.empty((len(heap), max(most, 2 * heap.shape[1])), dtype=np.int64)
            longer[:, : heap.shape[1]] = heap
            self.queues = self.queues._replace(heap=longer)


class DirectedSearch(BestFirstSearch):
    """Queues with an order of their own, and steps that cost nats where they are a detour."""

    def __init__(self, graph: SearchGraph, num_slots: int, max_steps: int, rows: int = 1) -> None:
        free = graph.step_cost is None
        bytes_per_road = _BYTES_PER_ROAD_ORDERED if free else _BYTES_PER_ROAD_DIRECTED
        super().__init__(graph, graph.limit_slots(num_slots, bytes_per_road), max_steps, rows)
        # Not in float32: a partial trip that stays ahead keeps its value to the last digit.
        self.state = self.state._replace(best=np.empty((self.num_slots, graph.num_roads)))
        self.queues = self.queues._replace(priority=np.empty(0))
        self._detours = None if free else Detours(graph, self.num_slots)

    def start(self, trips: NewTrips) -> None:
        """Begins new trips in free slots."""
        super().start(trips)
        if self._detours is not None:
            self._detours.begin(trips, self.queues.heap[trips.slots, 0])

    def update(self, selected: PartialTrips, scores: NextRoads) -> None:
        """Keeps the candidates, ordered, until their partial trip is taken from its queue."""
        super().update(selected, scores)
        self._order(selected, scores)
        if self._detours is not None:
            entry = self._entry[: len(selected)]
            self._detours.charge(continued(selected, scores), entry, self.queues)

    def _order(self, selected: PartialTrips, scores: NextRoads) -> None:
        """Candidates have their log-probabilities for priorities; others are of subclasses."""

    def _lengthen(self, size: int) -> None:
        priority = with_room(self.queues.priority, size)
        super()._lengthen(size)
        self.queues = self.queues._replace(priority=priority)
        if self._detours is not None:
            self._detours.lengthen(size)


def _build(graph: SearchGraph, num_slots: int, chosen: Chosen) -> Search:
    steps = chosen.settings.max_steps
    assert chosen.settings.charges == (graph.step_cost is not None)
    if graph.step_cost is None:
        return BestFirstSearch(graph, num_slots, steps, chosen.rows)
    return DirectedSearch(graph, num_slots, steps, chosen.rows)


KIND = SearchKind(_build, reads=("costs", *COSTS))
