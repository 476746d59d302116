"""The loops of stochastic beam search over all slots; the arrays are explained in `layout`.

Random numbers are hashes of the path: those of a trip are the same whatever shares its batch.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.jit import kernel
from search.kernels.beam_rows import begin_beam, end_search, list_row
from search.kernels.common import distance_m

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SMALLEST_UNIFORM = 2.0**-54


@kernel()
def _mix(bits):  # type: ignore[no-untyped-def]
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@kernel()
def _gumbel(key):  # type: ignore[no-untyped-def]
    uniform = np.float64(_mix(key) >> np.uint64(11)) * 2.0**-53 + _SMALLEST_UNIFORM
    return -math.log(-math.log(uniform))


@kernel()
def begin_draws(slots, origin, start, number, seed, state, beams, draws):  # type: ignore[no-untyped-def]
    """Clears the slots and puts each trip's first road into its beam."""
    for i in range(len(slots)):
        s = slots[i]
        begin_beam(s, origin[i], start[i], state, beams)
        draws.perturbed[s, 0] = 0.0
        draws.tempered[s, 0] = 0.0
        draws.key[s, 0] = _mix(_mix(seed) + (np.uint64(number[i]) + np.uint64(1)) * _GOLDEN)
        draws.arrival_perturbed[s] = -np.inf


@kernel()
def select_draws(state, beams, draws, roads, max_steps, out, out_beam, ended, reached):  # type: ignore[no-untyped-def]
    """Looks at every beam: ends searches, and lists in `out` the partial trips to continue.

    A search ends when no beam is ahead of the best arrival. `out_beam` says which place of its
    slot's beam each row of `out` has. Returns the numbers of rows in `out` and in `ended`.
    """
    num_out, num_ended = 0, 0
    for s in range(len(state.active)):
        if not state.active[s]:
            continue
        first_out = num_out
        if beams.filled[s] > 0 and state.steps[s] < max_steps:
            _look(s, state.destination[s], beams, draws, roads)
            for b in range(beams.filled[s]):
                road = beams.at[1, s, b]
                if not draws.perturbed[s, b] > draws.arrival_perturbed[s]:
                    break
                if roads.offsets[road + 1] == roads.offsets[road]:
                    continue
                list_row(s, b, beams, out, num_out)
                out_beam[num_out] = b
                num_out += 1
        if num_out > first_out:
            state.steps[s] += num_out - first_out
            continue
        state.active[s] = False
        arrived = draws.arrival_perturbed[s] > -np.inf
        end_search(s, arrived, beams, ended, reached, num_ended)
        num_ended += 1
    return num_out, num_ended


@kernel()
def _look(s, destination, beams, draws, roads):  # type: ignore[no-untyped-def]
    """Remembers the best arrival and the nearest beam."""
    for b in range(beams.filled[s]):
        road = beams.at[1, s, b]
        if road == destination:
            if draws.perturbed[s, b] > draws.arrival_perturbed[s]:
                draws.arrival_perturbed[s] = draws.perturbed[s, b]
                beams.arrival_at[:, s] = beams.at[:, s, b]
                beams.arrival_log_prob[s] = beams.log_prob[s, b]
            continue
        metres = distance_m(roads.lon, roads.lat, road, destination)
        if metres < beams.nearest_m[s]:
            beams.nearest_m[s] = metres
            beams.nearest_at[:, s] = beams.at[:, s, b]
            beams.nearest_log_prob[s] = beams.log_prob[s, b]


@kernel()
def update_draws(continued, parent, temperature, roads, state, beams, draws):  # type: ignore[no-untyped-def]
    """Replaces the beams of the slots in `continued` by those continuations that are ahead.

    parent: what each row of `continued` had in `draws` and `beams` (perturbed, tempered, log_prob,
    key), copied, since its place is written to. A child's perturbed log-probability is that of a
    Gumbel variable whose maximum over all children is the parent's.
    """
    width = beams.log_prob.shape[1]
    most = continued.log_prob.shape[1]
    tempered, noisy = np.empty(most), np.empty(most)
    previous = -1
    for n in range(len(continued.slot)):
        s = continued.slot[n]
        if s != previous:
            beams.filled[s] = 0
            previous = s
        first = roads.offsets[continued.road[n]]
        count = roads.offsets[continued.road[n] + 1] - first
        key = parent.key[n]
        top = -np.inf
        for c in range(count):
            tempered[c] = (continued.log_prob[n, c] - parent.log_prob[n]) / temperature
            top = max(top, tempered[c])
        total = 0.0
        for c in range(count):
            total += math.exp(tempered[c] - top)
        shift = parent.tempered[n] - top - math.log(total)
        greatest = -np.inf
        for c in range(count):
            tempered[c] += shift
            noisy[c] = tempered[c] + _gumbel(key + np.uint64(c + 1) * _GOLDEN)
            greatest = max(greatest, noisy[c])
        for c in range(count):
            target = roads.targets[first + c]
            ahead = parent.perturbed[n]
            if noisy[c] < greatest:
                value = ahead - noisy[c] + math.log1p(-math.exp(noisy[c] - greatest))
                ahead -= max(0.0, value) + math.log1p(math.exp(-abs(value)))
            if not ahead > state.best[s, target]:
                continue
            used = beams.filled[s]
            if used == width and not ahead > draws.perturbed[s, used - 1]:
                continue
            state.best[s, target] = ahead
            place = min(used, width - 1)
            while place > 0 and ahead > draws.perturbed[s, place - 1]:
                beams.at[:, s, place] = beams.at[:, s, place - 1]
                beams.log_prob[s, place] = beams.log_prob[s, place - 1]
                draws.perturbed[s, place] = draws.perturbed[s, place - 1]
                draws.tempered[s, place] = draws.tempered[s, place - 1]
                draws.key[s, place] = draws.key[s, place - 1]
                place -= 1
            beams.at[0, s, place] = continued.node[n]
            beams.at[1, s, place] = target
            beams.at[2, s, place] = continued.seconds[n, c]
            beams.log_prob[s, place] = continued.log_prob[n, c]
            draws.perturbed[s, place] = ahead
            draws.tempered[s, place] = tempered[c]
            draws.key[s, place] = _mix(key + np.uint64(c + 1) * _GOLDEN)
            beams.filled[s] = min(used + 1, width)
