"""Runs one search for many trips at a time.

Slots of trips that have ended are filled with the next ones, so the batch stays full. Several trips
of one pair set out together: what one comes to the scorer knows for the others. Trips come
out in the order they were asked for; how far the search may run ahead of an unfinished trip is
bounded, so memory depends on the trips in flight, not on the trips asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from search.interface import IntArray, NewTrips, Outcomes, Search
from search.scorer import Scorer
from search.trips import GeneratedTrip, TripRequests

_RUN_AHEAD = 64  # trips per slot that may wait for an earlier one
_FIRST_PRUNING = 1 << 12


class SearchEngine:
    """`for trip in engine.run(requests)`: one `GeneratedTrip` for each request, in order."""

    def __init__(self, search: Search, scorer: Scorer, together: int = 1) -> None:
        """`together` requests that follow one another have the same pair of roads."""
        self.search, self.scorer = search, scorer
        slots = search.num_slots
        self._together = together if together <= slots else 1
        self._number = np.zeros(slots, dtype=np.int64)
        self._origin = np.zeros(slots, dtype=np.int64)
        self._destination = np.zeros(slots, dtype=np.int64)
        self._start = np.zeros(slots, dtype=np.int64)
        self._free = np.arange(slots)
        self._prune_above = _FIRST_PRUNING
        self._done: dict[int, GeneratedTrip] = {}

    def run(self, requests: Iterable[TripRequests]) -> Iterator[GeneratedTrip]:
        """Generates every trip asked for."""
        queue = _Queue(requests)
        next_out = queue.next_number
        run_ahead = _RUN_AHEAD * len(self._number)
        while True:
            self._admit(queue, next_out + run_ahead)
            busy = len(self._number) - len(self._free)
            if busy:
                self._round()
            while (trip := self._done.pop(next_out, None)) is not None:
                yield trip
                next_out += 1
            if not busy:
                return

    def _admit(self, queue: _Queue, end: int) -> None:
        """Puts the next trips into free slots, as far as they may run ahead."""
        while len(self._free):
            batch = queue.take(self._room(queue.next_number, end))
            if not len(batch):
                return
            slots, self._free = np.split(self._free, [len(batch)])
            number = batch.first + np.arange(len(batch))
            self._number[slots] = number
            self._origin[slots] = batch.origin
            self._destination[slots] = batch.destination
            self._start[slots] = batch.start
            self.search.start(NewTrips(slots, number, batch.origin, batch.destination, batch.start))

    def _room(self, number: int, end: int) -> int:
        """How many trips from `number` on may set out now."""
        room = min(len(self._free), end - number)
        rest = (number + room) % self._together  # of a pair whose other trips would come later
        return room - rest if room > rest or len(self._free) < len(self._number) else room

    def _round(self) -> None:
        selected, ended = self.search.select()
        self._collect(ended)
        if len(selected):
            slot = selected.slot
            scores = self.scorer.score(selected, self._destination[slot], self._start[slot])
            self.search.update(selected, scores)
        if self.scorer.num_nodes > self._prune_above:
            self.scorer.keep(self.search.held_nodes())
            self._prune_above = max(2 * self.scorer.num_nodes, _FIRST_PRUNING)

    def _collect(self, ended: Outcomes) -> None:
        trips = ended.trips
        for i, slot in enumerate(trips.slot.tolist()):
            roads, times = self.scorer.history(int(trips.parent[i]))
            number = int(self._number[slot])
            self._done[number] = GeneratedTrip(
                number=number,
                origin=int(self._origin[slot]),
                destination=int(self._destination[slot]),
                road_ids=np.append(roads, trips.road[i]),
                times=np.append(times, trips.seconds[i]),
                reached=bool(ended.reached[i]),
                log_prob=float(trips.log_prob[i]),
            )
        self._free = np.concatenate([self._free, trips.slot])


class _Queue:
    """Requests to be taken in pieces of any size."""

    def __init__(self, requests: Iterable[TripRequests]) -> None:
        self._source = iter(requests)
        self._waiting: deque[TripRequests] = deque()
        self.next_number = 0
        self._fill()
        if self._waiting:
            self.next_number = self._waiting[0].first

    def _fill(self) -> None:
        while not self._waiting:
            block = next(self._source, None)
            if block is None:
                return
            if len(block):
                self._waiting.append(block)

    def take(self, count: int) -> TripRequests:
        """Up to `count` requests; none when there are no more."""
        self._fill()
        if not self._waiting or count <= 0:
            empty: IntArray = np.zeros(0, dtype=np.int64)
            return TripRequests(self.next_number, empty, empty, empty)
        block = self._waiting.popleft()
        taken, rest = block.split(count)
        if len(rest):
            self._waiting.appendleft(rest)
        self.next_number = taken.first + len(taken)
        return taken
