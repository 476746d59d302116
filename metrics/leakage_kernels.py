"""How alike trips are as sets of roads, compiled by numba; `metrics.leakage` feeds it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.jit import kernel

IntArray = NDArray[np.int64]


@kernel()
def closest(
    begin: int,
    end: int,
    roads: NDArray[np.int32],
    offsets: IntArray,
    set_sizes: IntArray,
    visitors: NDArray[np.int32],
    visitor_offsets: IntArray,
    others_sizes: IntArray,
    leave_out: IntArray,
    similarity: NDArray[np.float64],
) -> None:
    """The largest Jaccard similarity of the roads of trips begin:end with those of any other.

    `roads` hold each trip's different roads, `visitors` the other trips that use each road, each
    once. Trip `leave_out[i]` of the others is not looked at (−1: none).
    """
    num_others = len(others_sizes)
    shared = np.zeros(num_others, dtype=np.int32)
    touched = np.empty(num_others, dtype=np.int64)
    for i in range(begin, end):
        num_touched = 0
        for step in range(offsets[i], offsets[i + 1]):
            road = roads[step]
            for place in range(visitor_offsets[road], visitor_offsets[road + 1]):
                other = visitors[place]
                if shared[other] == 0:
                    touched[num_touched] = other
                    num_touched += 1
                shared[other] += 1
        best = 0.0
        for t in range(num_touched):
            other = touched[t]
            common = shared[other]
            shared[other] = 0
            if other == leave_out[i]:
                continue
            alike = common / (set_sizes[i] + others_sizes[other] - common)
            best = max(best, alike)
        similarity[i] = best
