"""Partial trips that were scored before: draws between the same roads come to many of them again.

A partial trip is known by its history's node and its road, a first one by its road, destination and
start. What a node's scores are is kept as long as the node is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from search.interface import NO_NODE, IntArray, NextRoads, PartialTrips
from search.pools import with_room

ScoreRows = Callable[[IntArray], NextRoads]

_FIRST_SIZE = 1 << 12


class KnownTrips:
    """Scores by partial trip; `score` asks only for those that are new."""

    def __init__(self, num_roads: int, max_candidates: int) -> None:
        self._num_roads = num_roads
        self._table = _empty_table(_FIRST_SIZE)
        self._count = 0
        self._beginnings: dict[tuple[int, int, int], int] = {}  # road, destination, start: its key
        self._next_beginning = -1
        self._log_prob = np.empty((0, max_candidates), dtype=np.float32)
        self._seconds = np.empty((0, max_candidates), dtype=np.int64)

    def score(
        self, trips: PartialTrips, destination: IntArray, start: IntArray, score_rows: ScoreRows
    ) -> NextRoads:
        """The scores of all partial trips, those of the new ones by `score_rows`."""
        from search.kernels.known import find_or_list, settle

        self._reserve(len(trips))
        keys = self._keys(trips, destination, start)
        node, new = np.empty(len(trips), dtype=np.int64), np.empty(len(trips), dtype=np.int64)
        new = new[: find_or_list(self._table, keys, node, new)]
        if len(new):
            scores = score_rows(new)
            settle(self._table, keys[new], scores.node, node)
            self._remember(scores)
        return NextRoads(node, self._log_prob[node], self._seconds[node])

    def _keys(self, trips: PartialTrips, destination: IntArray, start: IntArray) -> IntArray:
        """A number for each partial trip; negative ones are of trips' first roads."""
        keys = trips.parent * self._num_roads + trips.road
        for row in np.flatnonzero(trips.parent == NO_NODE).tolist():
            beginning = int(trips.road[row]), int(destination[row]), int(start[row])
            if beginning not in self._beginnings:
                self._beginnings[beginning] = self._next_beginning
                self._next_beginning -= 1
            keys[row] = self._beginnings[beginning]
        return keys

    def _remember(self, scores: NextRoads) -> None:
        size = int(scores.node.max()) + 1
        self._log_prob = with_room(self._log_prob, size)
        self._seconds = with_room(self._seconds, size)
        self._log_prob[scores.node], self._seconds[scores.node] = scores.log_prob, scores.seconds
        self._count += len(scores.node)

    def _reserve(self, count: int) -> None:
        """Leaves at least half of the table free when `count` more are in it."""
        if 2 * (self._count + count) > len(self._table):
            self._rebuild(np.ones(len(self._log_prob), dtype=np.bool_), 4 * (self._count + count))

    def _rebuild(self, used: NDArray[np.bool_], size: int) -> None:
        from search.kernels.known import copy_kept

        table = _empty_table(size)
        self._count = copy_kept(self._table, used, table)
        self._table = table

    def keep(self, used: NDArray[np.bool_]) -> None:
        """Forgets what belongs to nodes that are no more."""
        from search.kernels.known import EMPTY

        self._rebuild(used, 4 * self._count)
        keys = self._table[:, 0]
        kept = set(keys[(keys < 0) & (keys != EMPTY)].tolist())
        self._beginnings = {at: key for at, key in self._beginnings.items() if key in kept}


def _empty_table(size: int) -> IntArray:
    """Room for `size` keys and values; rows are a power of two."""
    from search.kernels.known import EMPTY

    table = np.zeros((1 << max(size, _FIRST_SIZE).bit_length(), 2), dtype=np.int64)
    table[:, 0] = EMPTY
    return table
