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


@kernel(inner=True)
def _goes_on(points, last, i, max_gap_s):  # type: ignore[no-untyped-def]
    """Whether a point may belong to the trip of the last good one."""
    return (
        last >= 0
        and points.vehicle[i] == points.vehicle[last]
        and points.trip[i] == points.trip[last]
        and points.occupied[i] == points.occupied[last]
        and points.time_s[i] - points.time_s[last] <= max_gap_s
    )


@kernel(inner=True)
def _within_reach(points, start, i, max_speed):  # type: ignore[no-untyped-def]
    """Whether a vehicle can have come from one point to a later one."""
    way = metres(points.lon[start], points.lat[start], points.lon[i], points.lat[i])
    return way <= max_speed * (points.time_s[i] - points.time_s[start]) + _JUMP_TOLERANCE_M


@kernel()
def split_trips(points, rules, state, trip_of):  # type: ignore[no-untyped-def]
    """Says of each point what becomes of it and which trip it belongs to; the number of trips.

    The points are sorted by vehicle and time.
    """
    lon, lat, time_s = points.lon, points.lat, points.time_s
    trips = 0
    last = -1  # the last good point of the trip in progress; −1 where none is in progress
    anchor = -1  # since when the vehicle is within the radius of a pause
    jumps = 0
    far = -1  # the last point that jumped
    for i in range(len(time_s)):
        trip_of[i] = -1
        if rules.drop_vacant and points.occupied[i] == 0:
            state[i] = VACANT
            last = -1
            continue
        begins = not _goes_on(points, last, i, rules.max_gap_s)
        if not begins and time_s[i] - time_s[last] <= 0.0:
            state[i] = DUPLICATE
            continue
        if not begins and not _within_reach(points, last, i, rules.max_speed):
            near = jumps > 0 and _within_reach(points, far, i, rules.max_speed)
            jumps = jumps + 1 if near else 1
            far = i
            if jumps < _JUMPS_THAT_ARE_REAL:
                state[i] = JUMP
                continue
            begins = True
        if begins:
            state[i], trip_of[i] = KEPT, trips
            trips += 1
            last, anchor, jumps = i, i, 0
            continue
        jumps = 0
        if metres(lon[anchor], lat[anchor], lon[i], lat[i]) > rules.pause_radius_m:
            if state[last] == PARKED:  # off again: the new trip begins where it stood
                state[last], trip_of[last] = KEPT, trips
                trips += 1
            anchor = i
        if time_s[i] - time_s[anchor] > rules.pause_s:
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
