"""What it still costs trips that set out to their destinations."""

from __future__ import annotations

import numpy as np

from data.way_kernels import settle_ways, workspace
from runtime.jit import kernel


@kernel()
def measure_ways(begin, end, slots, origin, destination, offsets, sources, step_cost, left):  # type: ignore[no-untyped-def]
    """Fills rows of `left` [S, R]: the cheapest way to the destination.

    Roads from which it costs more than from the origin have the origin's, so that no step is worth
    more than it costs. Where no way leads there, all are 0.
    """
    num_roads = len(offsets) - 1
    space = workspace(num_roads, len(sources))
    for i in range(begin, end):
        if i > begin and origin[i] == origin[i - 1] and destination[i] == destination[i - 1]:
            left[slots[i], :] = left[slots[i - 1], :]
            continue
        way = left[slots[i]]
        settle_ways(destination[i], origin[i : i + 1], offsets, sources, step_cost, space, way)
        most = way[origin[i]] if np.isfinite(way[origin[i]]) else 0.0
        for road in range(num_roads):
            way[road] = min(way[road], most)
