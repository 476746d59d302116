"""Draws the times of generated trips.

Every number drawn is a hash of the seed, the trip's number and the place within the trip, so a
trip's times are the same whatever batch, process or run it comes from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from runtime.hashing import uniform_at
from times.distribution import FloatArray, IntArray, TimeConditions, TimeDistribution

_STREAM = 0x74696D6573  # apart from other draws with the same seed


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
    conditions = TimeConditions.of(expected_s, road_class[leaves], times[leaves])
    scores = _trip_scores(distribution, seed, numbers, waits)
    drawn = np.zeros(len(times), dtype=np.int64)
    drawn[np.flatnonzero(leaves) + 1] = distribution.draw(
        scores[np.repeat(np.arange(len(waits)), waits), position[leaves]], conditions
    )
    total = np.cumsum(drawn)
    since_start = total - np.repeat(total[first], lengths)
    return np.repeat(times[first], lengths) + since_start


def _trip_scores(
    distribution: TimeDistribution, seed: int, numbers: IntArray, waits: IntArray
) -> FloatArray:
    """Normal scores [n, longest] with the distribution's dependence along each trip."""
    longest = int(waits.max(initial=0))
    shared, following = distribution.shared, distribution.following
    place = np.arange(longest + 1)
    normal = ndtri(_uniform(seed, numbers[:, None], place[None, :]))  # [n, longest + 1]
    own = normal[:, 1:]
    for i in range(1, longest if following else 0):
        own[:, i] = following * own[:, i - 1] + np.sqrt(1.0 - following**2) * own[:, i]
    return np.sqrt(shared) * normal[:, :1] + np.sqrt(1.0 - shared) * own


def _uniform(seed: int, numbers: IntArray, places: IntArray) -> NDArray[np.float64]:
    return uniform_at(seed ^ _STREAM, numbers, places)
