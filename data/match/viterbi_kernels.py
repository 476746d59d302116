"""The most likely way of a trip's points along the roads. Compiled by numba.

A hidden Markov model whose states are roads near a point. A point that nothing leads to is left
out; where several in a row are, the trip is split, and matching begins anew behind the break.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import Grid, Model, Points, Roads, Search, States
from data.match.transition_kernels import NONE, TURNED, K, find_states, relax, step_between
from runtime.jit import kernel


@kernel(inner=True)
def _lowest(states: States, q: int) -> float:
    lowest = np.inf
    for j in range(states.counts[q]):
        lowest = min(lowest, states.cost[q, j])
    return lowest


@kernel(inner=True)
def _reach(
    roads: Roads,
    model: Model,
    search: Search,
    points: Points,
    begin: int,
    states: States,
    reached: int,
    q: int,
    entering: NDArray[np.float64],
) -> bool:
    """Finds the best ways to point q's states from the reached points; whether there is one.

    Where the way from the point before is dear, ways that leave that point out are tried as well.
    """
    entering[: states.counts[q]] = np.inf
    lowest = _lowest(states, states.reached[reached - 1])
    least = np.inf
    for skipped in range(min(reached, model.max_skipped + 1)):
        if least <= skipped * model.skip_cost:
            break
        p = states.reached[reached - 1 - skipped]
        step = step_between(model, points, begin + p, begin + q)
        if skipped > 1 and step.straight_m > model.max_skip_m:
            break
        relax(roads, model, search, states, p, q, step, skipped * model.skip_cost, entering)
        for number in range(states.counts[q]):
            least = min(least, entering[number] + states.unlikely[q, number] - lowest)
    if least == np.inf:
        return False
    for number in range(states.counts[q]):
        states.cost[q, number] = entering[number] + states.unlikely[q, number]
    return True


@kernel(inner=True)
def _choose(states: States, last: int, leg: int) -> int:
    """Follows the best way back from point `last`; the number of legs so far."""
    best = last * K
    for j in range(states.counts[last]):
        if states.cost[last, j] < states.cost[last, best % K]:
            best = last * K + j
    state = best
    while state != NONE:
        before = states.back[state // K, state % K]
        leg += before <= TURNED
        state = TURNED - before if before <= TURNED else before
    legs = leg + 1
    state = best
    while state != NONE:
        states.chosen[state // K] = state % K
        states.leg[state // K] = leg
        before = states.back[state // K, state % K]
        leg -= before <= TURNED
        state = TURNED - before if before <= TURNED else before
    return legs


@kernel(inner=True)
def match_trip(
    roads: Roads,
    grid: Grid,
    model: Model,
    search: Search,
    points: Points,
    begin: int,
    size: int,
    states: States,
    entering: NDArray[np.float64],
) -> None:
    """Chooses a state (or none) and a leg for each of the `size` points from `begin` on."""
    for q in range(size):
        states.chosen[q] = -1
        states.leg[q] = -1
        find_states(roads, grid, model, points, begin + q, q, states)
    legs, start = 0, 0
    while True:
        while start < size and states.counts[start] == 0:
            start += 1
        if start == size:
            return
        for j in range(states.counts[start]):
            states.cost[start, j] = states.unlikely[start, j]
            states.back[start, j] = NONE
        states.reached[0] = start
        reached, orphan = 1, -1
        for q in range(start + 1, size):
            if states.counts[q] == 0:
                continue
            if _reach(roads, model, search, points, begin, states, reached, q, entering):
                states.reached[reached] = q
                reached, orphan = reached + 1, -1
            elif orphan < 0:
                orphan = q
            elif q - orphan >= model.max_skipped:
                break
        legs = _choose(states, states.reached[reached - 1], legs)
        if orphan < 0:
            return
        start = orphan
