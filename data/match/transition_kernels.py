"""What it costs a vehicle to be at a place and to get from place to place. Compiled by numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import Aim, Grid, Model, Points, Roads, Search, States, Step
from data.match.grid_kernels import candidates
from data.match.search_kernels import NO_ROAD, begin, next_road, offer_following
from runtime.jit import kernel

EARTH_M = 6371008.8
K = 32  # arrays.MAX_CANDIDATES, as a constant of the compiled code
MAX_SETTLED = 20_000
"""The most roads that one search looks at."""

NONE = -1
"""What is before the first point of a leg."""
TURNED = -2
"""Less a state: before this one the vehicle turned where the network knows no turn."""


@kernel(inner=True)
def step_between(model: Model, points: Points, i: int, j: int) -> Step:
    """What there is to say of the way between two points before any road is looked at."""
    stretch = math.cos(points.y[j] / EARTH_M)
    straight = math.hypot((points.x[j] - points.x[i]) * stretch, points.y[j] - points.y[i])
    seconds = points.time_s[j] - points.time_s[i]
    bound = straight + model.slack_m + model.slack_per_m * straight
    bound = min(bound, max(model.max_speed * seconds, straight) + model.slack_m)
    beta = model.beta_m + model.beta_per_m * straight
    margin = min(model.margin_cost * beta, model.max_margin_m)
    return Step(points.x[j], points.y[j], stretch, straight, bound, margin, beta)


@kernel(inner=True)
def aim_at(model: Model, step: Step, near: float) -> Aim:
    """The goal of a search along a step: all places within `near` of the point there."""
    turn_weight = 1.0 if step.straight_m <= model.turns_within_m else 0.0
    return Aim(step.x, step.y, step.stretch, near + 1.0, turn_weight)


@kernel(inner=True)
def _direction(roads: Roads, road: int, along: float) -> float:
    """The direction of a road at a place, in radians from east, anticlockwise."""
    v = roads.vertex_offsets[road]
    while v < roads.vertex_offsets[road + 1] - 2 and roads.along_m[v + 1] < along:
        v += 1
    stretch = math.cos(roads.y[v] / EARTH_M)
    return math.atan2(roads.y[v + 1] - roads.y[v], (roads.x[v + 1] - roads.x[v]) * stretch)


@kernel(inner=True)
def find_states(
    roads: Roads, grid: Grid, model: Model, points: Points, i: int, q: int, states: States
) -> None:
    """The roads that point `i` (the trip's `q`-th) may be on, and how unlikely each is."""
    stretch = math.cos(points.y[i] / EARTH_M)
    states.counts[q] = candidates(
        roads,
        grid,
        model,
        points.x[i],
        points.y[i],
        stretch,
        states.road[q],
        states.along_m[q],
        states.distance_m[q],
    )
    for j in range(states.counts[q]):
        scaled = states.distance_m[q, j] / model.sigma_m
        # Beyond the cap a point hardly tells anything: it is an outlier wherever it is.
        cost = min(0.5 * scaled * scaled, model.emission_cap + 0.1 * scaled)
        if not math.isnan(points.heading[i]):
            along = float(states.along_m[q, j])
            turn = points.heading[i] - _direction(roads, states.road[q, j], along)
            cost += model.heading_cost * (1.0 - math.cos(turn))
        states.unlikely[q, j] = cost


@kernel(inner=True)
def is_direct(model: Model, states: States, before: int, now: int) -> bool:
    """Whether the vehicle went on along the road that it was on.

    Backwards by the receiver's error is standing still; further is a way round the block.
    """
    if states.road[before // K, before % K] != states.road[now // K, now % K]:
        return False
    return (
        states.along_m[now // K, now % K] - states.along_m[before // K, before % K] >= -model.back_m
    )


@kernel(inner=True)
def _relax_at_once(
    roads: Roads,
    model: Model,
    search: Search,
    states: States,
    before: int,
    q: int,
    step: Step,
    so_far: float,
    entering: NDArray[np.float64],
) -> None:
    """Improves `entering` by going on along the road of one state, or by turning round on it."""
    origin = states.road[before // K, before % K]
    along = states.along_m[before // K, before % K]
    own = search.slot[origin]
    if own >= 0 and is_direct(model, states, before, q * K + own):
        total = so_far + abs(states.along_m[q, own] - along - step.straight_m) / step.beta_m
        if total < entering[own]:
            entering[own], states.back[q, own] = total, before
    twin = roads.twin[origin]
    turned = search.slot[twin] if twin >= 0 else -1
    if turned >= 0:
        ahead = abs(roads.length_m[twin] - states.along_m[q, turned] - along)
        total = so_far + model.uturn_cost + abs(ahead - step.straight_m) / step.beta_m
        if total < entering[turned]:
            entering[turned], states.back[q, turned] = total, TURNED - before


@kernel(inner=True)
def _dearest(entering: NDArray[np.float64], number: int) -> float:
    dearest = -np.inf
    for j in range(number):
        dearest = max(dearest, entering[j])
    return dearest


@kernel(inner=True)
def _relax_by_ways(
    roads: Roads,
    model: Model,
    search: Search,
    states: States,
    p: int,
    q: int,
    step: Step,
    best: float,
    extra: float,
    entering: NDArray[np.float64],
) -> None:
    """Improves `entering` by ways along the roads from the states of p.

    The search goes on a margin beyond the nearest state of q, and no further: what is beyond costs
    so much more that it is never on the best way.
    """
    number = states.counts[q]
    near = np.float32(0.0)
    for j in range(number):
        near = max(near, states.distance_m[q, j])
    aim = aim_at(model, step, float(near))
    limit = step.bound_m
    begin(search)
    for i in range(states.counts[p]):
        if states.cost[p, i] <= best + model.beam:
            origin = np.int64(states.road[p, i])
            rest = roads.length_m[origin] - states.along_m[p, i]
            label = rest + (states.cost[p, i] - best) * step.beta_m
            offer_following(roads, search, aim, origin, label, rest, NO_ROAD, i, limit)
    dearest = _dearest(entering, number)
    missing = (1 << number) - 1
    for _ in range(MAX_SETTLED):
        road = next_road(search)
        if road == NO_ROAD:
            return
        node = search.nodes[road]
        if best + extra + (node.priority * 0.125 - 1.0 - step.straight_m) / step.beta_m > dearest:
            return
        j = search.slot[road]
        if j >= 0:
            before = p * K + node.source
            way = node.way_m + states.along_m[q, j]
            limit = min(limit, way + step.margin_m)
            missing &= ~(1 << j)
            if way <= step.bound_m and not is_direct(model, states, before, q * K + j):
                total = states.cost[p, node.source] + extra
                total += abs(way - step.straight_m) / step.beta_m
                if total < entering[j]:
                    entering[j], states.back[q, j] = total, before
                    dearest = _dearest(entering, number)
            if missing == 0:
                return
        label = node.label + roads.length_m[road]
        way = node.way_m + roads.length_m[road]
        offer_following(roads, search, aim, road, label, way, road, np.int64(node.source), limit)


@kernel(inner=True)
def relax(
    roads: Roads,
    model: Model,
    search: Search,
    states: States,
    p: int,
    q: int,
    step: Step,
    extra: float,
    entering: NDArray[np.float64],
) -> None:
    """Improves `entering`, the costs of getting to point q's states, by ways from point p's."""
    number = states.counts[q]
    for j in range(number):
        search.slot[states.road[q, j]] = j
    best = np.inf
    for i in range(states.counts[p]):
        best = min(best, states.cost[p, i])
    for i in range(states.counts[p]):
        so_far = states.cost[p, i]
        if so_far <= best + model.beam:
            before = p * K + i
            _relax_at_once(roads, model, search, states, before, q, step, so_far + extra, entering)
    _relax_by_ways(roads, model, search, states, p, q, step, best, extra, entering)
    for j in range(number):
        search.slot[states.road[q, j]] = -1
