"""Shortest ways from the end of a road onto other roads, bounded and kept. Compiled by numba."""

from __future__ import annotations

import numpy as np

from data.match.arrays import MAX_SETTLED, Roads, Searches
from runtime.jit import kernel


@kernel()
def _push(searches: Searches, size: int, cost: float, road: int) -> int:
    heap_cost, heap_road = searches.heap_cost, searches.heap_road
    if size == len(heap_cost):
        return size
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if heap_cost[above] <= cost:
            break
        heap_cost[place], heap_road[place] = heap_cost[above], heap_road[above]
        place = above
    heap_cost[place], heap_road[place] = cost, road
    return size + 1


@kernel()
def _pop(searches: Searches, size: int) -> int:
    """Takes the first one off the heap; the caller has read it."""
    heap_cost, heap_road = searches.heap_cost, searches.heap_road
    size -= 1
    cost, road = heap_cost[size], heap_road[size]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and heap_cost[below + 1] < heap_cost[below]:
            below += 1
        if heap_cost[below] >= cost:
            break
        heap_cost[place], heap_road[place] = heap_cost[below], heap_road[below]
        place = below
    heap_cost[place], heap_road[place] = cost, road
    return size


@kernel()
def search_from(roads: Roads, searches: Searches, origin: int, bound_m: float) -> None:
    """Makes sure that the ways from `origin` up to `bound_m` are there.

    A bound is rounded up to a step of a scale, so that a road is searched a few times at most.
    """
    if searches.bound_m[origin] >= bound_m:
        return
    # After the space was used up a road is searched as far as before, at once.
    wanted = max(bound_m, -searches.bound_m[origin])
    step = np.float32(200.0)
    while step < wanted:
        step *= np.float32(1.35)
    if searches.used[0] + MAX_SETTLED > len(searches.target):
        searches.bound_m[:] = -np.abs(searches.bound_m)
        searches.used[0] = 0
        searches.used[1] += 1
    first = searches.used[0]
    searches.stamp_now[0] += 1
    stamp = searches.stamp_now[0]
    size, settled = 0, 0
    for edge in range(roads.reach_offsets[origin], roads.reach_offsets[origin + 1]):
        road = roads.reach_targets[edge]
        cost = roads.turn_m[edge]
        if searches.stamp[road] != stamp or cost < searches.label[road]:
            searches.stamp[road] = stamp
            searches.label[road] = cost
            searches.label_parent[road] = -1
            size = _push(searches, size, cost, road)
    while size > 0 and settled < MAX_SETTLED:
        cost, road = searches.heap_cost[0], searches.heap_road[0]
        if cost > step:
            break
        size = _pop(searches, size)
        if searches.label[road] < cost or searches.label_parent[road] < -1:
            continue
        entry = first + settled
        searches.target[entry] = road
        searches.cost_m[entry] = cost
        searches.parent[entry] = searches.label_parent[road]
        searches.label_parent[road] = -2  # settled
        behind = cost + np.float32(roads.length_m[road])
        for edge in range(roads.reach_offsets[road], roads.reach_offsets[road + 1]):
            following = roads.reach_targets[edge]
            total = behind + roads.turn_m[edge]
            if searches.stamp[following] != stamp or (
                searches.label_parent[following] >= -1 and total < searches.label[following]
            ):
                searches.stamp[following] = stamp
                searches.label[following] = total
                searches.label_parent[following] = settled
                size = _push(searches, size, total, following)
        settled += 1
    searches.first[origin] = first
    searches.size[origin] = settled
    searches.bound_m[origin] = step
    searches.used[0] = first + settled


@kernel()
def find_entry(roads: Roads, searches: Searches, origin: int, target: int, bound_m: float) -> int:
    """The entry of the way from `origin` to `target`, searched no further than need be; or −1."""
    while True:
        first = searches.first[origin]
        if searches.bound_m[origin] > 0.0:
            for entry in range(first, first + searches.size[origin]):
                if searches.target[entry] == target:
                    return entry
        if searches.bound_m[origin] >= bound_m:
            return -1
        search_from(
            roads, searches, origin, min(bound_m, 1.01 * max(searches.bound_m[origin], 100))
        )
