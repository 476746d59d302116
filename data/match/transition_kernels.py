"""What it costs a vehicle to be at a place and to get from place to place. Compiled by numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import MAX_SETTLED, Grid, Model, Points, Roads, Searches, States
from data.match.grid_kernels import candidates
from data.match.search_kernels import search_from
from runtime.jit import kernel

EARTH_M = 6371008.8
K = 32  # arrays.MAX_CANDIDATES, as a constant of the compiled code

NONE = -1
"""What is before the first point of a leg."""
TURNED = -2
"""Less a state: before this one the vehicle turned where the network knows no turn."""


@kernel()
def straight_m(points: Points, i: int, j: int) -> float:
    """The distance of two points as the crow flies."""
    stretch = math.cos(points.y[j] / EARTH_M)
    return math.hypot((points.x[j] - points.x[i]) * stretch, points.y[j] - points.y[i])


@kernel()
def way_bound(model: Model, straight: float, seconds: float) -> float:
    """How long the way between two points may be, in metres."""
    bound = straight + model.slack_m + model.slack_per_m * straight
    return min(bound, max(model.max_speed * seconds, straight) + model.slack_m)


@kernel()
def _direction(roads: Roads, road: int, along: float) -> float:
    """The direction of a road at a place, in radians from east, anticlockwise."""
    v = roads.vertex_offsets[road]
    while v < roads.vertex_offsets[road + 1] - 2 and roads.along_m[v + 1] < along:
        v += 1
    stretch = math.cos(roads.y[v] / EARTH_M)
    return math.atan2(roads.y[v + 1] - roads.y[v], (roads.x[v + 1] - roads.x[v]) * stretch)


@kernel()
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
            turn = points.heading[i] - _direction(roads, states.road[q, j], states.along_m[q, j])
            cost += model.heading_cost * (1.0 - math.cos(turn))
        states.unlikely[q, j] = cost


@kernel()
def _relax_by_ways(
    roads: Roads,
    searches: Searches,
    states: States,
    before: int,
    own: int,
    missing: int,
    q: int,
    straight: float,
    bound: float,
    margin: float,
    beta: float,
    so_far: float,
    entering: NDArray[np.float64],
) -> None:
    """Improves `entering` by ways along the roads from one state, `before`.

    The search goes on a margin beyond the nearest state of q, and no further: what is beyond costs
    so much more that it is never on the best way.
    """
    origin = states.road[before // K, before % K]
    rest = roads.length_m[origin] - states.along_m[before // K, before % K]
    search_from(roads, searches, origin, max(min(bound, straight) - rest, 1.0))
    while True:
        limit, left, way = bound, missing, 0.0
        first = searches.first[origin]
        for entry in range(first, first + searches.size[origin]):
            way = rest + searches.cost_m[entry]
            if way > limit:
                return
            j = searches.slot[searches.target[entry]]
            if j < 0 or j == own:
                continue
            limit = min(limit, way + margin)
            way += states.along_m[q, j]
            if way <= bound:
                total = so_far + abs(way - straight) / beta
                if total < entering[j]:
                    entering[j], states.back[q, j] = total, before
            left -= 1
            if left == 0:
                return
        if searches.bound_m[origin] >= limit - rest or searches.size[origin] >= MAX_SETTLED:
            return
        search_from(roads, searches, origin, min(limit - rest, 1.01 * searches.bound_m[origin]))


@kernel()
def _relax_from(
    roads: Roads,
    model: Model,
    searches: Searches,
    states: States,
    before: int,
    q: int,
    straight: float,
    bound: float,
    margin: float,
    beta: float,
    so_far: float,
    entering: NDArray[np.float64],
) -> None:
    """Improves `entering` by what leads on from one state: along its road, back, or by others."""
    origin = states.road[before // K, before % K]
    along = states.along_m[before // K, before % K]
    missing = states.counts[q]
    own = searches.slot[origin]
    # Backwards by the receiver's error is standing still; further is a way round the block.
    if own >= 0 and states.along_m[q, own] - along >= -model.back_m:
        missing -= 1
        total = so_far + abs(states.along_m[q, own] - along - straight) / beta
        if total < entering[own]:
            entering[own], states.back[q, own] = total, before
    else:
        own = -1
    twin = roads.twin[origin]
    turned = searches.slot[twin] if twin >= 0 else -1
    if turned >= 0:
        ahead = abs(roads.length_m[twin] - states.along_m[q, turned] - along)
        total = so_far + model.uturn_cost + abs(ahead - straight) / beta
        if total < entering[turned]:
            entering[turned], states.back[q, turned] = total, TURNED - before
    if roads.length_m[origin] - along <= bound and missing > 0:
        _relax_by_ways(
            roads,
            searches,
            states,
            before,
            own,
            missing,
            q,
            straight,
            bound,
            margin,
            beta,
            so_far,
            entering,
        )


@kernel()
def relax(
    roads: Roads,
    model: Model,
    searches: Searches,
    states: States,
    p: int,
    q: int,
    straight: float,
    seconds: float,
    extra: float,
    entering: NDArray[np.float64],
) -> None:
    """Improves `entering`, the costs of getting to point q's states, by ways from point p's.

    Detours are looked for only where nothing leads there with less.
    """
    beta = model.beta_m + model.beta_per_m * straight
    bound = way_bound(model, straight, seconds)
    margin = min(model.margin_cost * beta, model.max_margin_m)
    number = states.counts[q]
    for j in range(number):
        searches.slot[states.road[q, j]] = j
    best = np.inf
    for i in range(states.counts[p]):
        best = min(best, states.cost[p, i])
    for reach in (min(straight + margin, bound), bound):
        for i in range(states.counts[p]):
            if states.cost[p, i] <= best + model.beam:
                _relax_from(
                    roads,
                    model,
                    searches,
                    states,
                    p * K + i,
                    q,
                    straight,
                    reach,
                    margin,
                    beta,
                    states.cost[p, i] + extra,
                    entering,
                )
        lowest = np.inf
        for j in range(number):
            lowest = min(lowest, entering[j])
        if lowest < np.inf:
            break
    for j in range(number):
        searches.slot[states.road[q, j]] = -1
