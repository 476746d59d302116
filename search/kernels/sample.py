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
def _key_of_trip(seed, number):  # type: ignore[no-untyped-def]
    return _mix(_mix(seed) + (np.uint64(number) + np.uint64(1)) * _GOLDEN)


@kernel()
def _key_of_child(key, place):  # type: ignore[no-untyped-def]
    return _mix(key + np.uint64(place + 1) * _GOLDEN)


@kernel()
def _below(ahead, noisy, greatest):  # type: ignore[no-untyped-def]
    """A noisy value among siblings, moved so that the greatest of them is `ahead`."""
    if not noisy < greatest:
        return ahead
    short = ahead - noisy + math.log1p(-math.exp(noisy - greatest))
    return ahead - max(0.0, short) - math.log1p(math.exp(-abs(short)))


@kernel()
def begin_draws(slots, origin, start, number, seed, state, beams, draws):  # type: ignore[no-untyped-def]
    """Clears the slots and puts each trip's first road into its beam."""
    for i in range(len(slots)):
        s = slots[i]
        begin_beam(s, origin[i], start[i], state, beams)
        draws.value[s, 0] = 0.0
        draws.tempered[s, 0] = 0.0
        draws.key[s, 0] = _key_of_trip(seed, number[i])
        draws.perturbed[s, 0] = _gumbel(draws.key[s, 0])
        draws.arrival_value[s] = -np.inf


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
        first_out, room = num_out, max_steps - state.steps[s]
        _look(s, state.destination[s], beams, draws, roads)
        for b in range(beams.filled[s]):
            road = beams.at[1, s, b]
            if num_out - first_out >= room or not draws.value[s, b] > draws.arrival_value[s]:
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
        arrived = draws.arrival_value[s] > -np.inf
        end_search(s, arrived, beams, ended, reached, num_ended)
        num_ended += 1
    return num_out, num_ended


@kernel()
def _look(s, destination, beams, draws, roads):  # type: ignore[no-untyped-def]
    """Remembers the best arrival and the nearest beam."""
    for b in range(beams.filled[s]):
        road = beams.at[1, s, b]
        if road == destination:
            if draws.value[s, b] > draws.arrival_value[s]:
                draws.arrival_value[s] = draws.value[s, b]
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
    Gumbel variable whose maximum over all children is the parent's. Below a temperature of one the
    noise alone shrinks; above it the choices at each crossing become more alike.
    """
    width = beams.log_prob.shape[1]
    noise, flattening = min(temperature, 1.0), max(temperature, 1.0)
    tempered = np.empty(continued.log_prob.shape[1])
    noisy = np.empty(continued.log_prob.shape[1])
    previous = -1
    for n in range(len(continued.slot)):
        s = continued.slot[n]
        if s != previous:
            beams.filled[s] = 0
            previous = s
        first = roads.offsets[continued.road[n]]
        count = roads.offsets[continued.road[n] + 1] - first
        greatest = _perturb(continued.log_prob[n, :count], parent, n, flattening, tempered, noisy)
        for c in range(count):
            target = roads.targets[first + c]
            perturbed = _below(parent.perturbed[n], noisy[c], greatest)
            value = noise * perturbed + (1.0 - noise) * continued.log_prob[n, c]
            if not value > state.best[s, target]:
                continue
            used = beams.filled[s]
            if used == width and not value > draws.value[s, used - 1]:
                continue
            state.best[s, target] = value
            place = _make_room(s, value, beams, draws)
            beams.at[0, s, place] = continued.node[n]
            beams.at[1, s, place] = target
            beams.at[2, s, place] = continued.seconds[n, c]
            beams.log_prob[s, place] = continued.log_prob[n, c]
            draws.value[s, place] = value
            draws.perturbed[s, place] = perturbed
            draws.tempered[s, place] = tempered[c]
            draws.key[s, place] = _key_of_child(parent.key[n], c)


@kernel()
def _perturb(log_prob, parent, n, flattening, tempered, noisy):  # type: ignore[no-untyped-def]
    """Log-probabilities of row n's children, and the same with noise; the greatest of those."""
    top, total, greatest = -np.inf, 0.0, -np.inf
    for c in range(len(log_prob)):
        tempered[c] = (log_prob[c] - parent.log_prob[n]) / flattening
        top = max(top, tempered[c])
    for c in range(len(log_prob)):
        total += math.exp(tempered[c] - top)
    shift = parent.tempered[n] - top - math.log(total)
    for c in range(len(log_prob)):
        tempered[c] += shift
        noisy[c] = tempered[c] + _gumbel(parent.key[n] + np.uint64(c + 1) * _GOLDEN)
        greatest = max(greatest, noisy[c])
    return greatest


@kernel()
def _make_room(s, value, beams, draws):  # type: ignore[no-untyped-def]
    """The place in the slot's beam for a partial trip of this value; worse ones move down."""
    width = beams.log_prob.shape[1]
    place = min(beams.filled[s], width - 1)
    beams.filled[s] = place + 1
    while place > 0 and value > draws.value[s, place - 1]:
        beams.at[:, s, place] = beams.at[:, s, place - 1]
        beams.log_prob[s, place] = beams.log_prob[s, place - 1]
        draws.value[s, place] = draws.value[s, place - 1]
        draws.perturbed[s, place] = draws.perturbed[s, place - 1]
        draws.tempered[s, place] = draws.tempered[s, place - 1]
        draws.key[s, place] = draws.key[s, place - 1]
        place -= 1
    return place


@kernel()
def begin_noise(slots, number, seed, queues, noise):  # type: ignore[no-untyped-def]
    """The noise of each trip's first road: a free one, the greatest of all routes."""
    for i in range(len(slots)):
        key = _key_of_trip(seed, number[i])
        entry = queues.heap[slots[i], 0]
        noise.tempered[entry] = 0.0
        noise.key[entry] = key
        noise.perturbed[entry] = _gumbel(key)


@kernel()
def order_candidates(continued, entry, parent, temperature, roads, queues, noise):  # type: ignore[no-untyped-def]
    """Gives the candidates of the listed entries their priorities; see `update_draws`."""
    share, flattening = min(temperature, 1.0), max(temperature, 1.0)
    tempered = np.empty(continued.log_prob.shape[1])
    noisy = np.empty(continued.log_prob.shape[1])
    for n in range(len(entry)):
        road = continued.road[n]
        count = roads.offsets[road + 1] - roads.offsets[road]
        first = queues.candidates[entry[n]]
        greatest = _perturb(continued.log_prob[n, :count], parent, n, flattening, tempered, noisy)
        for c in range(count):
            perturbed = _below(parent.perturbed[n], noisy[c], greatest)
            mean = (1.0 - share) * continued.log_prob[n, c]
            queues.priority[first + c] = share * perturbed + mean
            noise.perturbed[first + c] = perturbed
            noise.tempered[first + c] = tempered[c]
            noise.key[first + c] = _key_of_child(parent.key[n], c)
