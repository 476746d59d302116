"""Errors of receivers, pauses and the ends of trips in sorted points. Compiled by numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from runtime.jit import kernel

KEPT, DUPLICATE, JUMP, VACANT, PARKED, STANDING = 0, 1, 2, 3, 4, 5
"""What became of a point. `PARKED`: between trips; `STANDING`: no movement that can be told."""

_EARTH_M = 6371008.8
_JUMP_TOLERANCE_M = 100.0
_JUMPS_THAT_ARE_REAL = 3
_DWELL_S = 15.0


@kernel()
def metres(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    """The distance of two places that are not far apart."""
    stretch = math.cos(math.radians((lat1 + lat2) / 2.0))
    return math.radians(1.0) * _EARTH_M * math.hypot((lon2 - lon1) * stretch, lat2 - lat1)


@kernel()
def split_trips(
    vehicle: NDArray[np.int32],
    trip: NDArray[np.int64],
    occupied: NDArray[np.int8],
    time_s: NDArray[np.float64],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    drop_vacant: bool,
    max_speed: float,
    max_gap_s: float,
    pause_s: float,
    pause_radius_m: float,
    state: NDArray[np.int8],
    trip_of: NDArray[np.int32],
) -> int:
    """Says of each point what becomes of it and which trip it belongs to; the number of trips.

    The points are sorted by vehicle and time.
    """
    trips = 0
    last = -1  # the last good point of the trip in progress; −1 where none is in progress
    anchor = -1  # since when the vehicle is within the radius of a pause
    jumps = 0
    far = -1  # the last point that jumped
    for i in range(len(time_s)):
        trip_of[i] = -1
        if drop_vacant and occupied[i] == 0:
            state[i] = VACANT
            last = -1
            continue
        continues = (
            last >= 0
            and vehicle[i] == vehicle[last]
            and trip[i] == trip[last]
            and occupied[i] == occupied[last]
            and time_s[i] - time_s[last] <= max_gap_s
        )
        if not continues:
            state[i], trip_of[i] = KEPT, trips
            trips += 1
            last, anchor, jumps = i, i, 0
            continue
        seconds = time_s[i] - time_s[last]
        if seconds <= 0.0:
            state[i] = DUPLICATE
            continue
        if metres(lon[last], lat[last], lon[i], lat[i]) > max_speed * seconds + _JUMP_TOLERANCE_M:
            near = jumps > 0 and metres(lon[far], lat[far], lon[i], lat[i]) <= (
                max_speed * (time_s[i] - time_s[far]) + _JUMP_TOLERANCE_M
            )
            jumps = jumps + 1 if near else 1
            far = i
            if jumps < _JUMPS_THAT_ARE_REAL:
                state[i] = JUMP
                continue
            state[i], trip_of[i] = KEPT, trips
            trips += 1
            last, anchor, jumps = i, i, 0
            continue
        jumps = 0
        if metres(lon[anchor], lat[anchor], lon[i], lat[i]) > pause_radius_m:
            if state[last] == PARKED:  # off again: the new trip begins where it stood
                state[last], trip_of[last] = KEPT, trips
                trips += 1
            anchor = i
        if time_s[i] - time_s[anchor] > pause_s:
            state[i] = PARKED
        else:
            state[i], trip_of[i] = KEPT, trips - 1
        last = i
    return trips


@kernel()
def thin_trips(
    offsets: NDArray[np.int64],
    time_s: NDArray[np.float64],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    spacing_m: float,
    kept: NDArray[np.bool_],
    leave_s: NDArray[np.float64],
) -> None:
    """Keeps the points that tell of a movement, and when the vehicle left each of them."""
    for trip in range(len(offsets) - 1):
        last = -1
        for i in range(offsets[trip], offsets[trip + 1]):
            leave_s[i] = time_s[i]
            kept[i] = last < 0 or metres(lon[last], lat[last], lon[i], lat[i]) >= spacing_m
            if kept[i]:
                last = i
            elif time_s[i] - time_s[last] >= _DWELL_S:
                leave_s[last] = time_s[i]
