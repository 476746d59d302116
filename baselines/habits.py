"""What the walks and routes know: transitions and times counted on the training trips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from baselines.contexts import CONTEXTS
from critics.most_frequent import MostFrequent
from critics.scoring.trips import as_dataset
from critics.way import Way
from critics.way_fitting import fit_way
from data.laid_out import passages
from data.road_network import RoadNetwork
from data.road_times import usual_road_seconds
from data.turn_counts import SMOOTHING
from metrics.trips import Trips
from metrics.usual import period_of
from runtime.inputs import Inputs

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HELD_OUT = 5  # one trip in so many says what drivers pay for detours


@dataclass(frozen=True)
class Counts:
    """How often each key was seen; keys ascending."""

    keys: IntArray  # [k]
    counts: FloatArray  # [k]

    @classmethod
    def of(cls, keys: IntArray) -> Counts:
        """Counts equal keys."""
        different, counts = np.unique(keys, return_counts=True)
        return cls(different, counts.astype(np.float64))


@dataclass(frozen=True)
class _Steps:
    """Every step of the training trips from one road to the next. [s] each"""

    trip: IntArray
    edge: IntArray  # its place in `reach_targets`
    seconds: FloatArray  # on the road before
    goes_on: NDArray[np.bool_]  # whether the next step is of the same trip


@dataclass(frozen=True)
class Habits:
    """Counted on training trips; an edge is a pair of roads of `roadmap.rel`."""

    network: RoadNetwork
    trips: Trips

    @property
    def inputs(self) -> Inputs:
        """What was counted, and where."""
        return Inputs(network=self.network.content_hash, train=self.trips.source_hash)

    @cached_property
    def source(self) -> IntArray:
        """The road that each edge leaves. [E]"""
        return np.repeat(np.arange(self.network.num_roads), self.network.out_degree)

    @cached_property
    def _steps(self) -> _Steps:
        trips, num_roads = self.trips, self.network.num_roads
        trip = np.repeat(np.arange(len(trips)), trips.lengths)
        before, seconds = passages(trips.times, trips.offsets)
        key = trips.road_ids[before].astype(np.int64) * num_roads + trips.road_ids[before + 1]
        edge_key = self.source * num_roads + self.network.reach_targets
        order = np.argsort(edge_key, kind="stable")
        edge = order[np.searchsorted(edge_key[order], key)]
        goes_on = np.append(trip[before][:-1] == trip[before][1:], False)
        return _Steps(trip[before], edge, seconds, goes_on)

    @cached_property
    def first_order(self) -> FloatArray:
        """The probability of each edge among those of its road. [E]"""
        seen = np.bincount(self._steps.edge, minlength=len(self.source)) + SMOOTHING
        total = np.bincount(self.source, seen, minlength=self.network.num_roads)
        return seen / total[self.source]

    @cached_property
    def second_order(self) -> Counts:
        """How often each edge followed each other one."""
        steps = self._steps
        first = np.flatnonzero(steps.goes_on)
        return Counts.of(steps.edge[first] * len(self.source) + steps.edge[first + 1])

    @cached_property
    def by_destination(self) -> Counts:
        """How often each edge was taken on the way to each road."""
        steps = self._steps
        destination = self.trips.destination.astype(np.int64)[steps.trip]
        return Counts.of(steps.edge * self.network.num_roads + destination)

    @cached_property
    def by_direction(self) -> FloatArray:
        """How often each edge was taken with the destination in each direction. [E, CONTEXTS]"""
        from baselines.walk_kernels import contexts_of

        steps, network = self._steps, self.network
        context = np.empty(len(steps.edge), dtype=np.int64)
        road = self.source[steps.edge]
        destination = self.trips.destination.astype(np.int64)[steps.trip]
        contexts_of(road, destination, network.center_lon, network.center_lat, context)
        cell = steps.edge * CONTEXTS + context
        counts = np.bincount(cell, minlength=len(self.source) * CONTEXTS)
        return counts.reshape(-1, CONTEXTS).astype(np.float64)

    @cached_property
    def road_seconds(self) -> FloatArray:
        """How long a car is on each road; one seldom seen drives as its class does. [R]"""
        steps = self._steps
        return usual_road_seconds(self.network, self.source[steps.edge], steps.seconds)

    @cached_property
    def likely_cost(self) -> FloatArray:
        """How unlikely each edge is, and what its length and time cost where they are in vain. [E]

        What they cost is found on every fifth trip, beside the turns that the others took.
        """
        unlikely = -np.log(self.first_order)
        trips = np.arange(len(self.trips))
        left_out = trips % HELD_OUT == 0
        known, asked = (
            as_dataset(self.trips.select(trips[part]), self.network, (0.0, 1.0))
            for part in (~left_out, left_out)
        )
        found = fit_way(MostFrequent(known), asked, known)
        if found is None:
            return unlikely
        road = Way(found.sense, self.network).road_cost
        step = 0.5 * (road[self.source] + road[self.network.reach_targets])
        return found.sense.sharpness * unlikely + step

    @cached_property
    def period_factor(self) -> FloatArray:
        """How much longer than usual a road takes in each kind of hour. [4]"""
        steps = self._steps
        period = period_of(self.trips.start_time)[steps.trip]
        usual = self.road_seconds[self.source[steps.edge]]
        taken = np.bincount(period, steps.seconds, minlength=4)
        expected = np.bincount(period, usual, minlength=4)
        return np.where(expected > 0, taken / np.maximum(expected, 1e-9), 1.0)

    def times(self, roads: IntArray, start: int) -> IntArray:
        """When each road of a trip is entered, in seconds since 1970."""
        factor = self.period_factor[int(period_of(np.array([start]))[0])]
        passed = np.cumsum(factor * self.road_seconds[roads[:-1]])
        return start + np.concatenate([[0], np.rint(passed)]).astype(np.int64)
