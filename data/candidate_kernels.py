"""Candidates one after the other instead of padded, compiled by numba; see `data.features`."""

from __future__ import annotations

import math

import numpy as np

from runtime.jit import kernel


@kernel()
def list_candidates(  # type: ignore[no-untyped-def]
    road, destination, offsets, targets, center, end_x, end_y, reach_angle, diameter_m,
    owner, target, metric_dis, metric_angle,
):  # fmt: skip
    """The candidates of N roads one after the other, with the features of `FeatureTables`.

    Returns their number. center: points on the unit sphere; end_x, end_y: the bearing plane.
    """
    count = 0
    for n in range(len(road)):
        goal, first = destination[n], count
        dx, dy = end_x[goal] - end_x[road[n]], end_y[goal] - end_y[road[n]]
        ahead = math.atan2(dy, math.cos(end_y[road[n]]) * dx) % (2 * math.pi)
        nearest = np.float32(np.inf)
        for edge in range(offsets[road[n]], offsets[road[n] + 1]):
            other = targets[edge]
            squared = 0.0
            for axis in range(3):
                squared += (center[other, axis] - center[goal, axis]) ** 2
            metres = np.float32(diameter_m * math.asin(min(math.sqrt(squared) / 2, 1.0)))
            nearest = min(nearest, metres)
            turn = abs(reach_angle[edge] - ahead)
            owner[count], target[count] = n, other
            metric_dis[count] = metres
            metric_angle[count] = min(turn, 2 * math.pi - turn) / math.pi
            count += 1
        for c in range(first, count):
            metric_dis[c] = np.log1p((metric_dis[c] - nearest) / np.float32(100.0))
    return count
