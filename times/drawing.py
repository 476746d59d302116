"""Draws the times of generated trips.

Every number drawn is a hash of the seed, the trip's number and the place within the trip, so a
trip's times are the same whatever batch, process or run it comes from.
"""

from __future__ import annotations

import numpy as np

from runtime.hashing import uniform_at
from times.conditions import IntArray, TimeConditions, extents, places
from times.distribution import TimeDistribution

_CHOICE_STREAM = 0x6B656570
_ATTEMPTS = 32


def draw_times(
    distribution: TimeDistribution,
    seed: int,
    numbers: IntArray,  # [n], the trips' numbers
    lengths: IntArray,  # [n], roads of each trip
    times: IntArray,  # [S], expected times of entering each road, trip after trip
    road_class: IntArray,  # [S]
) -> IntArray:
    """Drawn times [S] of the same trips: same first times, whole seconds, never running back."""
    waits = lengths - 1
    first = np.cumsum(lengths) - lengths
    leaves = np.ones(len(times), dtype=bool)
    leaves[first + waits] = False
    position = np.arange(len(times)) - np.repeat(first, lengths)
    expected_s = np.append(np.diff(times), 0)[leaves].astype(np.float64)
    position = position[leaves]
    place = places(position, np.repeat(waits, waits) - 1 - position)
    trip = np.repeat(np.arange(len(waits)), waits)
    conditions = TimeConditions.of(
        expected_s, road_class[leaves], times[leaves], place, extents(expected_s, trip)
    )
    drawn = np.zeros(len(times), dtype=np.int64)
    drawn[np.flatnonzero(leaves) + 1] = draw_waits(distribution, seed, numbers, waits, conditions)
    total = np.cumsum(drawn)
    since_start = total - np.repeat(total[first], lengths)
    return np.repeat(times[first], lengths) + since_start


def draw_waits(
    distribution: TimeDistribution,
    seed: int,
    numbers: IntArray,  # [n]
    waits: IntArray,  # [n], times of each trip
    conditions: TimeConditions,  # of N times, trip after trip
) -> IntArray:  # [N]
    """Whole seconds of every time; again where a trip's duration is one that the data lack."""
    first = np.cumsum(waits) - waits
    drawn = np.zeros(len(conditions), dtype=np.int64)
    open_trips = np.arange(len(waits))
    for attempt in range(_ATTEMPTS):
        lengths = waits[open_trips]
        trip = np.repeat(np.arange(len(open_trips)), lengths)
        position = np.arange(len(trip)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = first[open_trips][trip] + position
        own_seed = seed + (attempt << 40)
        scores = distribution.dependence.scores(own_seed, numbers[open_trips], lengths)
        drawn[rows] = distribution.draw(scores[trip, position], conditions[rows])
        if not distribution.selection.selects:
            break
        durations = np.bincount(trip, drawn[rows], len(open_trips)).astype(np.float64)
        chance = uniform_at(own_seed ^ _CHOICE_STREAM, numbers[open_trips])
        open_trips = open_trips[chance >= distribution.selection.kept(durations)]
        if not len(open_trips):
            break
    return drawn
