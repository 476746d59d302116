"""The loops of beam search over all slots; the arrays are explained in `layout`."""

from __future__ import annotations

import numpy as np

from runtime.jit import kernel
from search.kernels.beam_rows import begin_beam, end_search, list_row
from search.kernels.common import distance_m

_WIDER = 4  # times the scouts' width is that of what follows them


@kernel()
def begin_beams(slots, origin, start, state, beams):  # type: ignore[no-untyped-def]
    """Clears the slots and puts each trip's first road into its beam."""
    for i in range(len(slots)):
        s = slots[i]
        begin_beam(s, origin[i], start[i], state, beams)
        state.visited[s, :] = False


@kernel()
def select_beams(  # type: ignore[no-untyped-def]
    state, beams, scouts, roads, max_steps, first_arrival, out, ended, reached
):
    """Looks at every beam: ends searches, and lists in `out` the partial trips to continue.

    A search ends when no beam is more probable than the best arrival (with `first_arrival`: when
    there is one); scouts that are done so send a wider beam after them. Returns the numbers of
    partial trips in `out` and in `ended`.
    """
    num_out, num_ended = 0, 0
    for s in range(len(state.active)):
        if not state.active[s]:
            continue
        listed = _list_rows(s, state, beams, roads, max_steps, first_arrival, out, num_out)
        while listed == 0 and scouts.width[s] < beams.log_prob.shape[1]:
            _send_more(s, state, beams, scouts)
            listed = _list_rows(s, state, beams, roads, max_steps, first_arrival, out, num_out)
        if listed > 0:
            state.steps[s] += listed
            num_out += listed
            continue
        state.active[s] = False
        arrived = beams.arrival_log_prob[s] > -np.inf
        end_search(s, arrived, beams, ended, reached, num_ended)
        num_ended += 1
    return num_out, num_ended


@kernel()
def _send_more(s, state, beams, scouts):  # type: ignore[no-untyped-def]
    """Begins a slot's beam again, wider, with the best arrival so far as what it has to beat."""
    known = beams.arrival_log_prob[s]
    begin_beam(s, scouts.origin[s], scouts.start[s], state, beams)
    beams.arrival_log_prob[s] = known
    scouts.width[s] = min(_WIDER * scouts.width[s], beams.log_prob.shape[1])
    state.steps[s] = 0


@kernel()
def _list_rows(s, state, beams, roads, max_steps, first_arrival, out, num_out):  # type: ignore[no-untyped-def]
    """Lists a slot's partial trips to continue from `num_out` on; returns how many."""
    room = max_steps - state.steps[s]
    if first_arrival and room <= 0:  # what has come out last is not looked at, as in the documents
        return 0
    has_arrived = _look(s, state.destination[s], beams, roads, first_arrival)
    if has_arrived and first_arrival:
        return 0
    listed = 0
    for b in range(beams.filled[s]):
        road = beams.at[1, s, b]
        if not beams.log_prob[s, b] > beams.arrival_log_prob[s]:
            break
        if first_arrival:
            if state.visited[s, road]:
                continue
            state.visited[s, road] = True
        elif listed >= room:
            break
        elif beams.log_prob[s, b] < state.best[s, road]:
            continue
        if roads.offsets[road + 1] == roads.offsets[road]:
            continue
        list_row(s, b, beams, out, num_out + listed)
        listed += 1
    return listed


@kernel()
def _look(s, destination, beams, roads, first_arrival):  # type: ignore[no-untyped-def]
    """Whether a beam stands on the destination; remembers the best arrival and the nearest beam."""
    arrived = False
    for b in range(beams.filled[s]):
        road = beams.at[1, s, b]
        if road == destination:
            if beams.log_prob[s, b] > beams.arrival_log_prob[s]:
                beams.arrival_at[:, s] = beams.at[:, s, b]
                beams.arrival_log_prob[s] = beams.log_prob[s, b]
            arrived = True
            if first_arrival:
                break
            continue
        metres = distance_m(roads.lon, roads.lat, road, destination)
        if metres < beams.nearest_m[s]:
            beams.nearest_m[s] = metres
            beams.nearest_at[:, s] = beams.at[:, s, b]
            beams.nearest_log_prob[s] = beams.log_prob[s, b]
    return arrived


@kernel()
def update_beams(continued, roads, state, beams, scouts, first_arrival):  # type: ignore[no-untyped-def]
    """Replaces the beams of the slots in `continued` by their best continuations.

    A candidate counts where its road was not reached before or by a worse path; of equally good
    ones the earlier comes first. What finds no room in the beam has not reached its road, except
    with `first_arrival`.
    """
    previous, width = -1, 0
    for n in range(len(continued.slot)):
        s = continued.slot[n]
        if s != previous:
            beams.filled[s] = 0
            width = scouts.width[s]
            previous = s
        first = roads.offsets[continued.road[n]]
        for c in range(roads.offsets[continued.road[n] + 1] - first):
            target, log_prob = roads.targets[first + c], continued.log_prob[n, c]
            former = state.best[s, target]
            if not log_prob > former:
                continue
            if first_arrival:
                state.best[s, target] = log_prob
            used = beams.filled[s]
            if used == width:
                if not log_prob > beams.log_prob[s, used - 1]:
                    continue
                if not first_arrival:
                    _let_last_go(s, used - 1, state, beams)
            state.best[s, target] = log_prob
            place = _make_room(s, min(used, width - 1), log_prob, beams)
            beams.at[0, s, place] = continued.node[n]
            beams.at[1, s, place] = target
            beams.at[2, s, place] = continued.seconds[n, c]
            beams.log_prob[s, place] = log_prob
            beams.former[s, place] = former
            beams.filled[s] = min(used + 1, width)


@kernel()
def _let_last_go(s, last, state, beams):  # type: ignore[no-untyped-def]
    """A partial trip leaves the beam: its road is open to what it was open to before."""
    road = beams.at[1, s, last]
    if state.best[s, road] == beams.log_prob[s, last]:
        state.best[s, road] = beams.former[s, last]


@kernel()
def _make_room(s, place, log_prob, beams):  # type: ignore[no-untyped-def]
    """Moves what is less probable down, that in `place` out of the beam; returns the free place."""
    while place > 0 and log_prob > beams.log_prob[s, place - 1]:
        beams.at[:, s, place] = beams.at[:, s, place - 1]
        beams.log_prob[s, place] = beams.log_prob[s, place - 1]
        beams.former[s, place] = beams.former[s, place - 1]
        place -= 1
    return place
