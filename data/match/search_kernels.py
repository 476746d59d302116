"""Shortest ways along the roads towards a point, from several roads at once. Compiled by numba.

A* with the straight line as its estimate. One search serves all roads that a vehicle may come
from: where their ways meet, only the cheapest goes on. Nothing is kept from search to search, so
memory does not grow with the points, and threads share the road network only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import Aim, Roads, Search
from runtime.jit import kernel

NO_ROAD = -1
Road = int | np.int64  # one width in every call, or numba compiles each function anew
_ROAD_BITS = 32
_PER_METRE = 8.0  # priorities are whole numbers: eighths of a metre, then the road's number


@kernel(inner=True)
def _push(heap: NDArray[np.int64], size: int, key: int) -> int:
    if size == len(heap):
        return size
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if heap[above] <= key:
            break
        heap[place] = heap[above]
        place = above
    heap[place] = key
    return size + 1


@kernel(inner=True)
def _pop(heap: NDArray[np.int64], size: int) -> int:
    """Takes the first one off the heap; the caller has read it."""
    size -= 1
    key = heap[size]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= key:
            break
        heap[place] = heap[below]
        place = below
    heap[place] = key
    return size


@kernel(inner=True)
def begin(search: Search) -> None:
    """Forgets the search before."""
    search.now[0] += 1
    search.now[1] = 0


@kernel(inner=True)
def offer_following(
    roads: Roads,
    search: Search,
    aim: Aim,
    road: Road,
    label: float,
    way: float,
    parent: Road,
    source: Road,
    limit: float,
) -> None:
    """Offers ways onto the roads that follow `road`, whose end is reached with `label`.

    `label` is `way`, the metres so far, and what it was worth to start from `source`. Ways that
    must become longer than `limit` are left out.
    """
    now, size = search.now[0], search.now[1]
    for edge in range(roads.reach_offsets[road], roads.reach_offsets[road + 1]):
        following = roads.reach_targets[edge]
        turn = aim.turn_weight * roads.turn_m[edge]
        total, metres = label + turn, way + turn
        node = search.nodes[following]
        if node.stamp == now and node.label <= total:
            continue
        dx = (roads.start_x[following] - aim.x) * aim.stretch
        dy = roads.start_y[following] - aim.y
        ahead = max(math.sqrt(dx * dx + dy * dy) - aim.near_m, 0.0)
        if metres + ahead > limit:
            continue
        priority = np.int64((total + ahead) * _PER_METRE)
        node.stamp, node.parent, node.source = now, parent, source
        node.label, node.way_m, node.priority = total, metres, priority
        size = _push(search.heap, size, (priority << _ROAD_BITS) | following)
    search.now[1] = size


@kernel(inner=True)
def next_road(search: Search) -> int:
    """The road whose way is the cheapest of those not looked at; `NO_ROAD` where none is left."""
    while search.now[1] > 0:
        key = search.heap[0]
        search.now[1] = _pop(search.heap, search.now[1])
        road = key & ((1 << _ROAD_BITS) - 1)
        if search.nodes[road].priority == key >> _ROAD_BITS:
            return road
    return NO_ROAD


@kernel(inner=True)
def trace(
    roads: Roads,
    search: Search,
    aim: Aim,
    origin: Road,
    rest: float,
    target: Road,
    limit: float,
    out: NDArray[np.int32],
    size: int,
) -> int:
    """Appends the roads of the shortest way from `origin` up to `target`; the new size.

    −1 where there is no space for them.
    """
    begin(search)
    offer_following(roads, search, aim, origin, rest, rest, NO_ROAD, 0, limit)
    road = next_road(search)
    while road != target and road != NO_ROAD:
        behind = search.nodes[road].way_m + roads.length_m[road]
        offer_following(roads, search, aim, road, behind, behind, road, 0, limit)
        road = next_road(search)
    steps, at = 0, road
    while at != NO_ROAD:
        steps += 1
        at = search.nodes[at].parent
    if size + steps > len(out):
        return -1
    at, place = road, size + steps
    while at != NO_ROAD:
        place -= 1
        out[place] = at
        at = search.nodes[at].parent
    return size + steps
