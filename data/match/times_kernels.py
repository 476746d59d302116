"""When each road of a leg is entered, from the times of its points. Compiled by numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import Places, Roads
from runtime.jit import kernel


@kernel()
def entry_times(
    roads: Roads,
    leg_offsets: NDArray[np.int64],
    ways: NDArray[np.int32],
    places: Places,
    arrive: NDArray[np.float64],
    leave: NDArray[np.float64],
    entry: NDArray[np.float64],
) -> None:
    """Interpolates between points in proportion to the time that the way takes without traffic.

    The first road is entered with the first point. Times never decrease.
    """
    for i in range(len(entry)):
        entry[i] = np.nan
    leg, at, driven, before, left = -1, 0, 0.0, 0.0, 0.0
    for i in range(len(places.leg)):
        if places.leg[i] < 0:
            continue
        target = leg_offsets[places.leg[i]] + places.number[i]
        road = ways[target]
        share = 1.0
        if roads.length_m[road] > 0.0:
            share = min(places.along_m[i] / roads.length_m[road], 1.0)
        if places.leg[i] != leg:
            leg, at = places.leg[i], leg_offsets[places.leg[i]]
            entry[at] = arrive[i]
            # `driven` and `before`: free seconds from the leg's start to road `at`, to the point.
            driven, before, left = 0.0, share * roads.free_s[road], leave[i]
            continue
        until = driven
        for k in range(at, target):
            until += roads.free_s[ways[k]]
        now = max(until + share * roads.free_s[road], before)
        seconds = max(arrive[i] - left, 0.0)
        while at < target:
            driven += roads.free_s[ways[at]]
            at += 1
            part = (driven - before) / (now - before) if now > before else 1.0
            entry[at] = left + min(max(part, 0.0), 1.0) * seconds
        before, left = now, max(leave[i], left)
    for i in range(1, len(entry)):
        if np.isnan(entry[i]):
            entry[i] = entry[i - 1]
