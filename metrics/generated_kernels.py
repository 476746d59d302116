"""The inner loop of reading generated trips; `metrics.generated` feeds it and words its findings.

The grammar of a list of roads or times is that of `data.trip_kernels`. A generated trip may be as
short as one road, and its roads need not be joined: that is counted, not refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.trip_kernels import _joined, _parse_roads, _parse_times
from runtime.jit import kernel

OK = 0
BAD_ROADS = 1
BAD_TIMES = 2
COUNTS_DIFFER = 3
UNKNOWN_ROAD = 4
TIME_BACKWARDS = 5
EMPTY = 6


@kernel()
def parse_generated(
    road_text: NDArray[np.uint8],
    road_offsets: NDArray[np.int64],
    time_text: NDArray[np.uint8],
    time_offsets: NDArray[np.int64],
    num_roads: int,
    reach_offsets: NDArray[np.int64],
    reach_targets: NDArray[np.int64],
    roads: NDArray[np.int32],
    times: NDArray[np.int64],
    lengths: NDArray[np.int64],
    unjoined: NDArray[np.int64],
    status: NDArray[np.int8],
    detail: NDArray[np.int64],
) -> int:
    """Packs the good rows; a bad one gets its status, a detail and the length 0.

    Returns the number of steps used.
    """
    used = 0
    for row in range(len(lengths)):
        lengths[row], unjoined[row], detail[row] = 0, 0, 0
        count = _parse_roads(road_text, road_offsets[row], road_offsets[row + 1], roads[used:])
        if count < 0:
            status[row], detail[row] = BAD_ROADS, -1 - count - road_offsets[row]
            continue
        found = _parse_times(time_text, time_offsets[row], time_offsets[row + 1], times[used:])
        if found < 0:
            status[row], detail[row] = BAD_TIMES, -1 - found - time_offsets[row]
            continue
        if found != count:
            status[row], detail[row] = COUNTS_DIFFER, found * (1 << 32) + count
            continue
        if count == 0:
            status[row] = EMPTY
            continue
        status[row] = OK
        for step in range(used, used + count):
            if roads[step] >= num_roads:
                status[row], detail[row] = UNKNOWN_ROAD, roads[step]
                break
            if step > used:
                if times[step] < times[step - 1]:
                    status[row], detail[row] = TIME_BACKWARDS, step - used
                    break
                if not _joined(roads[step - 1], roads[step], reach_offsets, reach_targets):
                    unjoined[row] += 1
        if status[row] == OK:
            lengths[row] = count
            used += count
    return used
