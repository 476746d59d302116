"""From chosen states to legs: the roads between points, ends trimmed. Compiled by numba."""

from __future__ import annotations

import numpy as np

from data.match.arrays import Grid, Model, Places, Points, Roads, Search, States, Ways
from data.match.search_kernels import trace
from data.match.transition_kernels import K, aim_at, is_direct, step_between
from data.match.viterbi_kernels import match_trip
from runtime.jit import kernel


@kernel(inner=True)
def _drop_far_ends(model: Model, size: int, states: States) -> None:
    """Leaves out the points at the ends of legs that are far from their roads."""
    for direction in (1, -1):
        leg, near = -1, True
        for step in range(size):
            q = step if direction > 0 else size - 1 - step
            if states.chosen[q] < 0:
                continue
            if states.leg[q] != leg:
                leg, near = states.leg[q], False
            near = near or states.distance_m[q, states.chosen[q]] <= model.end_m
            if not near:
                states.chosen[q] = -1
                states.leg[q] = -1


@kernel(inner=True)
def _write_way(
    roads: Roads,
    model: Model,
    search: Search,
    points: Points,
    states: States,
    first_point: int,
    before: int,
    now: int,
    ways: Ways,
    size: int,
) -> int:
    """Appends the roads that lead from one state to the next; the new size, −1 where it is full."""
    if is_direct(model, states, before, now):
        return size
    step = step_between(model, points, first_point + before // K, first_point + now // K)
    aim = aim_at(model, step, float(states.distance_m[now // K, now % K]))
    origin = np.int64(states.road[before // K, before % K])
    target = np.int64(states.road[now // K, now % K])
    rest = roads.length_m[origin] - states.along_m[before // K, before % K]
    return trace(roads, search, aim, origin, rest, target, step.bound_m + 1.0, ways.roads, size)


@kernel(inner=True)
def _trim(
    roads: Roads,
    model: Model,
    ways: Ways,
    leg: int,
    end: int,
    first_point: int,
    last_point: int,
    places: Places,
) -> int:
    """Takes the first and the last road off a leg where they are only just touched; the new end.

    Points on them move to the nearest end of what is left.
    """
    start = ways.offsets[leg]
    if end - start < 2:
        return end
    least, most = np.float32(np.inf), np.float32(0.0)
    for i in range(first_point, last_point + 1):
        if places.leg[i] == leg and places.number[i] == 0:
            least = min(least, places.along_m[i])
        if places.leg[i] == leg and places.number[i] == end - 1 - start:
            most = max(most, places.along_m[i])
    if most < min(model.touch_m, 0.5 * roads.length_m[ways.roads[end - 1]]):
        end -= 1
        for i in range(first_point, last_point + 1):
            if places.leg[i] == leg and places.number[i] == end - start:
                places.number[i] -= 1
                places.along_m[i] = roads.length_m[ways.roads[end - 1]]
    length = roads.length_m[ways.roads[start]]
    if end - start > 1 and length - least < min(model.touch_m, 0.5 * length):
        for k in range(start, end - 1):
            ways.roads[k] = ways.roads[k + 1]
        end -= 1
        for i in range(first_point, last_point + 1):
            if places.leg[i] == leg:
                if places.number[i] == 0:
                    places.along_m[i] = 0.0
                else:
                    places.number[i] -= 1
    return end


@kernel(inner=True)
def _write_legs(
    roads: Roads,
    model: Model,
    search: Search,
    points: Points,
    trip: int,
    states: States,
    places: Places,
    ways: Ways,
    legs: int,
) -> int:
    """Appends the legs of a matched trip; their number in all, or −1 where the space is used up."""
    begin, size = points.offsets[trip], points.offsets[trip + 1] - points.offsets[trip]
    at, previous = ways.offsets[legs], -1
    leg, leg_point = legs - 1, begin
    for q in range(size):
        i = begin + q
        places.leg[i] = -1
        if states.chosen[q] < 0:
            continue
        if previous < 0 or states.leg[previous] != states.leg[q]:
            if previous >= 0:
                at = _trim(roads, model, ways, leg, at, leg_point, i - 1, places)
                ways.offsets[leg + 1] = at
            if at == len(ways.roads):
                return -1
            leg, leg_point = leg + 1, i
            ways.trip[leg] = trip
            ways.roads[at] = states.road[q, states.chosen[q]]
            at += 1
        else:
            at = _write_way(
                roads,
                model,
                search,
                points,
                states,
                begin,
                previous * K + states.chosen[previous],
                q * K + states.chosen[q],
                ways,
                at,
            )
            if at < 0:
                return -1
        places.leg[i] = leg
        places.number[i] = at - 1 - ways.offsets[leg]
        places.along_m[i] = states.along_m[q, states.chosen[q]]
        places.distance_m[i] = states.distance_m[q, states.chosen[q]]
        previous = q
    if previous >= 0:
        ways.offsets[leg + 1] = _trim(
            roads, model, ways, leg, at, leg_point, begin + size - 1, places
        )
    return leg + 1


@kernel()
def match_trips(
    roads: Roads,
    grid: Grid,
    model: Model,
    search: Search,
    points: Points,
    first_trip: int,
    states: States,
    places: Places,
    ways: Ways,
) -> tuple[int, int]:
    """Matches trips from `first_trip` on until the space for ways is used up.

    Returns the next trip and the number of legs.
    """
    legs = 0
    ways.offsets[0] = 0
    entering = np.empty(K, dtype=np.float64)
    for trip in range(first_trip, len(points.offsets) - 1):
        begin, size = points.offsets[trip], points.offsets[trip + 1] - points.offsets[trip]
        match_trip(roads, grid, model, search, points, begin, size, states, entering)
        _drop_far_ends(model, size, states)
        found = _write_legs(roads, model, search, points, trip, states, places, ways, legs)
        if found < 0:
            return trip, legs
        legs = found
    return len(points.offsets) - 1, legs
