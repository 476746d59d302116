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

Key = tuple[int, int] | tuple[int, int, int]
ScoreRows = Callable[[IntArray], NextRoads]


class KnownTrips:
    """Scores by partial trip; `score` asks only for those that are new."""

    def __init__(self, max_candidates: int) -> None:
        self._node: dict[Key, int] = {}
        self._log_prob = np.empty((0, max_candidates), dtype=np.float32)
        self._seconds = np.empty((0, max_candidates), dtype=np.int64)

    def score(
        self, trips: PartialTrips, destination: IntArray, start: IntArray, score_rows: ScoreRows
    ) -> NextRoads:
        """The scores of all partial trips, those of the new ones by `score_rows`."""
        columns = (trips.parent, trips.road, destination, start)
        keys: list[Key] = [
            (parent, road) if parent != NO_NODE else (road, goal, first)
            for parent, road, goal, first in zip(*(column.tolist() for column in columns))
        ]
        new: dict[Key, int] = {}
        for row, key in enumerate(keys):
            if key not in self._node:
                new.setdefault(key, row)
        if new:
            scores = score_rows(np.fromiter(new.values(), dtype=np.int64, count=len(new)))
            self._remember(new, scores)
        node = np.array([self._node[key] for key in keys], dtype=np.int64)
        return NextRoads(node, self._log_prob[node], self._seconds[node])

    def _remember(self, new: dict[Key, int], scores: NextRoads) -> None:
        size = int(scores.node.max()) + 1
        self._log_prob = with_room(self._log_prob, size)
        self._seconds = with_room(self._seconds, size)
        self._log_prob[scores.node], self._seconds[scores.node] = scores.log_prob, scores.seconds
        self._node.update(zip(new, scores.node.tolist(), strict=True))

    def keep(self, used: NDArray[np.bool_]) -> None:
        """Forgets what belongs to nodes that are no more."""
        self._node = {key: node for key, node in self._node.items() if used[node]}
