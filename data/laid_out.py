"""Trips laid end to end, one after the other: where a road was left, for which, and after how long.

`offsets` delimits each trip's roads; the last road of a trip is not left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def places_left(offsets: IntArray) -> IntArray:  # [n + 1] -> [P]
    """The places of all roads but the last one of each trip."""
    is_left = np.ones(int(offsets[-1]), dtype=np.bool_)
    is_left[offsets[1:] - 1] = False
    return np.flatnonzero(is_left)


def here_and_taken(road_ids: NDArray[np.int32], offsets: IntArray) -> tuple[IntArray, IntArray]:
    """The road at each position, and the one taken after it. [P] each"""
    place = places_left(offsets)
    return road_ids[place].astype(np.int64), road_ids[place + 1].astype(np.int64)


def passages(times: NDArray[np.integer], offsets: IntArray) -> tuple[IntArray, FloatArray]:
    """The places of roads that were left, and how long trips were on them. [P] each

    `times` [S] says when each road was entered, in seconds.
    """
    place = places_left(offsets)
    return place, times[place + 1].astype(np.float64) - times[place]
