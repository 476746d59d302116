"""The inner loop of reading generated trips; `metrics.generated` feeds it and words its findings.

The grammar of a list of roads or times is that of `data.trip_kernels`. A generated trip may be as
short as one road, and its roads need not be joined: that is counted, not refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.trip_kernels import OK, TIME_BACKWARDS, TOO_SHORT, UNKNOWN_ROAD, joined, parse_fields
from data.trip_layout import Packed, Reach, Text
from runtime.jit import kernel


@kernel()
def parse_generated(
    road_text: Text, time_text: Text, reach: Reach, out: Packed, unjoined: NDArray[np.int64]
) -> int:
    """Packs the good rows, a bad one gets its status and a detail; returns the steps used."""
    used = 0
    for row in range(len(out.lengths)):
        count = parse_fields(row, road_text, time_text, used, out)
        if count < 0:
            continue
        if count == 0:
            out.status[row] = TOO_SHORT
            continue
        for step in range(used, used + count):
            if out.road_ids[step] >= reach.num_roads:
                out.status[row], out.detail[row] = UNKNOWN_ROAD, out.road_ids[step]
                break
            if step > used:
                if out.times[step] < out.times[step - 1]:
                    out.status[row], out.detail[row] = TIME_BACKWARDS, step - used
                    break
                if not joined(out.road_ids[step - 1], out.road_ids[step], reach):
                    unjoined[row] += 1
        if out.status[row] == OK:
            out.lengths[row] = count
            used += count
    return used
