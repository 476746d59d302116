"""The loops of beam search over all slots.

A place in a beam is a column of `beam_at` (parent node, road, seconds) and a log-probability.
"""

from __future__ import annotations

import numpy as np

from runtime.jit import kernel
from search.kernels.common import distance_m


@kernel()
def begin_beams(  # type: ignore[no-untyped-def]
    slots, origin, start, best, visited, beam_at, beam_log_prob, count
):  # fmt: skip
    """Clears the slots and puts each trip's first road into its beam."""
    for i in range(len(slots)):
        s = slots[i]
        best[s, :] = -np.inf
        visited[s, :] = False
        best[s, origin[i]] = 0.0
        beam_at[0, s, 0] = -1
        beam_at[1, s, 0] = origin[i]
        beam_at[2, s, 0] = start[i]
        beam_log_prob[s, 0] = 0.0
        count[s] = 1


@kernel()
def select_beams(  # type: ignore[no-untyped-def]
    active, destination, steps, max_steps, count, beam_at, beam_log_prob,
    nearest_at, nearest_log_prob, nearest_m, visited, offsets, lon, lat,
    out, out_log_prob, ended, ended_log_prob, ended_reached,
):  # fmt: skip
    """Looks at every beam: ends searches, and lists in `out` the partial trips to continue.

    out and ended: rows (slot, parent, road, seconds). Returns the numbers of both.
    """
    num_out, num_ended = 0, 0
    for s in range(len(active)):
        if not active[s]:
            continue
        first_out, goal = num_out, -1
        if count[s] > 0 and steps[s] < max_steps:
            goal = _look(
                s, destination[s], count[s], beam_at, beam_log_prob,
                nearest_at, nearest_log_prob, nearest_m, lon, lat,
            )  # fmt: skip
            for b in range(count[s] if goal < 0 else 0):
                road = beam_at[1, s, b]
                if visited[s, road]:
                    continue
                visited[s, road] = True
                if offsets[road + 1] == offsets[road]:
                    continue
                out[0, num_out] = s
                out[1:, num_out] = beam_at[:, s, b]
                out_log_prob[num_out] = beam_log_prob[s, b]
                num_out += 1
        if num_out > first_out:
            steps[s] += num_out - first_out
            continue
        active[s] = False
        ended[0, num_ended] = s
        ended_reached[num_ended] = goal >= 0
        if goal >= 0:
            ended[1:, num_ended] = beam_at[:, s, goal]
            ended_log_prob[num_ended] = beam_log_prob[s, goal]
        else:
            ended[1:, num_ended] = nearest_at[:, s]
            ended_log_prob[num_ended] = nearest_log_prob[s]
        num_ended += 1
    return num_out, num_ended


@kernel()
def _look(  # type: ignore[no-untyped-def]
    s, destination, count, beam_at, beam_log_prob, nearest_at, nearest_log_prob, nearest_m, lon, lat
):  # fmt: skip
    """The first place that is at the destination, or -1; remembers the nearest one before it."""
    for b in range(count):
        road = beam_at[1, s, b]
        if road == destination:
            return b
        metres = distance_m(lon, lat, road, destination)
        if metres < nearest_m[s]:
            nearest_m[s] = metres
            nearest_at[:, s] = beam_at[:, s, b]
            nearest_log_prob[s] = beam_log_prob[s, b]
    return -1


@kernel()
def update_beams(  # type: ignore[no-untyped-def]
    slot, road, node, next_log_prob, next_seconds, offsets, targets,
    best, count, beam_at, beam_log_prob,
):  # fmt: skip
    """Replaces the beams of the slots in `slot` (grouped) by their best continuations.

    A candidate counts where its road was not reached before or by a worse path; of equally good
    ones the earlier comes first.
    """
    width = beam_log_prob.shape[1]
    previous = -1
    for n in range(len(slot)):
        s = slot[n]
        if s != previous:
            count[s] = 0
            previous = s
        first = offsets[road[n]]
        for c in range(offsets[road[n] + 1] - first):
            target, log_prob = targets[first + c], next_log_prob[n, c]
            if not log_prob > best[s, target]:
                continue
            best[s, target] = log_prob
            used = count[s]
            if used == width and not log_prob > beam_log_prob[s, used - 1]:
                continue
            place = min(used, width - 1)
            while place > 0 and log_prob > beam_log_prob[s, place - 1]:
                beam_at[:, s, place] = beam_at[:, s, place - 1]
                beam_log_prob[s, place] = beam_log_prob[s, place - 1]
                place -= 1
            beam_at[0, s, place] = node[n]
            beam_at[1, s, place] = target
            beam_at[2, s, place] = next_seconds[n, c]
            beam_log_prob[s, place] = log_prob
            count[s] = min(used + 1, width)
