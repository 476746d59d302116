"""Draws the times of generated trips.

Every number drawn is a hash of the seed, the trip's number and the place within the trip, so a
trip's times are the same whatever batch, process or run it comes from.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from runtime.hashing import uniform_at
from times.conditions import FloatArray, IntArray, TimeConditions, extents, places
from times.distribution import TimeDistribution

_STREAM = 0x74696D6573  # apart from other draws with the same seed
_OWN_STREAM = 0x6F776E


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
    scores = _trip_scores(distribution, seed, numbers, waits)
    drawn = np.zeros(len(times), dtype=np.int64)
    drawn[np.flatnonzero(leaves) + 1] = distribution.draw(scores[trip, position], conditions)
    total = np.cumsum(drawn)
    since_start = total - np.repeat(total[first], lengths)
    return np.repeat(times[first], lengths) + since_start


def _trip_scores(
    distribution: TimeDistribution, seed: int, numbers: IntArray, waits: IntArray
) -> FloatArray:
    """Normal scores [n, longest] with the distribution's dependence along each trip."""
    longest = int(waits.max(initial=0))
    dependence = distribution.dependence
    shared, following, linked = dependence.shared, dependence.following, dependence.linked
    normal = _normal(seed ^ _STREAM, numbers, longest + 1)
    along = normal[:, 1:]
    for i in range(1, longest if following else 0):
        along[:, i] = following * along[:, i - 1] + np.sqrt(1.0 - following**2) * along[:, i]
    if linked < 1.0:
        own = _normal(seed ^ _OWN_STREAM, numbers, longest)
        along = np.sqrt(linked) * along + np.sqrt(1.0 - linked) * own
    return np.sqrt(shared) * normal[:, :1] + np.sqrt(1.0 - shared) * along


def _normal(seed: int, numbers: IntArray, count: int) -> FloatArray:
    """So many standard normal numbers for each trip. [n, count]"""
    return ndtri(uniform_at(seed, numbers[:, None], np.arange(count)[None, :]))
