"""Partial trips that were scored before: found again by history and road, or by how they begin."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from search.interface import NO_NODE, IntArray, NextRoads, PartialTrips
from search.known import KnownTrips, ScoreRows

ROADS = 50


class _Scores:
    """Gives every partial trip that it is asked for the next node, and scores that name it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int, int]] = []

    def of(self, trips: PartialTrips, destination: IntArray, start: IntArray) -> NextRoads:
        first = len(self.asked)
        columns = (trips.parent, trips.road, destination, start)
        self.asked += zip(*(column.tolist() for column in columns), strict=True)
        node = np.arange(first, len(self.asked))
        log_prob = np.repeat(node[:, None], 2, axis=1).astype(np.float32)
        return NextRoads(node, log_prob, log_prob.astype(np.int64) * 10)

    def asker(self, trips: PartialTrips, destination: IntArray, start: IntArray) -> ScoreRows:
        return lambda rows: self.of(trips[rows], destination[rows], start[rows])


trip = st.tuples(
    st.integers(NO_NODE, 5), st.integers(0, ROADS - 1), st.integers(0, 3), st.integers(0, 2)
)


@settings(max_examples=150, deadline=None)
@given(rounds=st.lists(st.lists(trip, min_size=1, max_size=30), max_size=8), data=st.data())
def test_every_partial_trip_is_scored_once_until_it_is_forgotten(
    rounds: list[list[tuple[int, int, int, int]]], data: st.DataObject
) -> None:
    scores, known = _Scores(), KnownTrips(ROADS, 2)
    expected: dict[tuple[int, ...], int] = {}  # what is known: its node
    for asked in rounds:
        parent, road, destination, start = np.array(asked, dtype=np.int64).T
        # A history has one destination and start only.
        destination = np.where(parent == NO_NODE, destination, 0)
        start = np.where(parent == NO_NODE, start, 0)
        slot = np.zeros(len(asked), dtype=np.int64)
        at = np.stack([slot, parent, road, slot])
        trips = PartialTrips(at, np.zeros(len(asked), dtype=np.float32))
        before = len(scores.asked)
        found = known.score(trips, destination, start, scores.asker(trips, destination, start))
        keys = list(zip(*(c.tolist() for c in (parent, road, destination, start)), strict=True))
        for key in keys:
            if key not in expected:
                assert scores.asked[before] == key  # in the order of their first rows
                expected[key] = before
                before += 1
        assert before == len(scores.asked)
        assert found.node.tolist() == [expected[key] for key in keys]
        assert found.log_prob[:, 1].tolist() == found.node.tolist()
        assert found.seconds[:, 0].tolist() == [10 * node for node in found.node.tolist()]
        if data.draw(st.booleans()):
            used = np.array(data.draw(st.lists(st.booleans(), min_size=before, max_size=before)))
            known.keep(used.astype(bool))
            expected = {key: node for key, node in expected.items() if used[node]}


def test_the_table_grows() -> None:
    scores, known = _Scores(), KnownTrips(10**6, 2)
    road = np.arange(20_000)
    at = np.stack([road * 0, road * 0 + 7, road, road * 0])
    trips = PartialTrips(at, np.zeros(len(road), dtype=np.float32))
    for _ in range(2):
        found = known.score(trips, road, road, scores.asker(trips, road, road))
        assert found.node.tolist() == road.tolist()
    assert len(scores.asked) == len(road)
