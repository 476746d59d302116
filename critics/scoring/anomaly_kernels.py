"""Loops that send a trip another way through the network: round about, or along another route."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.demo_city.search import Number, heap_pop, heap_push, mix, uniform
from runtime.jit import kernel

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_TRIES = 24
_SHARED_PENALTY = 3.0
_TASTE = 0.9  # how far costs are drawn from the lengths when another route is looked for


class Graph(NamedTuple):
    """The roads in both directions, without turning round on the spot."""

    offsets: IntArray  # [R + 1]
    targets: IntArray  # [E]
    back_offsets: IntArray  # [R + 1]
    back_sources: IntArray  # [E]
    length_m: FloatArray  # [R]
    twin: IntArray  # [R], the same street the other way, or -1


class Workspace(NamedTuple):
    ahead: FloatArray  # [R], metres from the start to a road's end
    behind: FloatArray  # [R], metres from a road's end to the goal's end
    before: IntArray  # [R], the road before on the way from the start
    after: IntArray  # [R], the road after on the way to the goal
    touched: IntArray  # [2 R]
    cost_heap: FloatArray  # [E + 1]
    road_heap: IntArray  # [E + 1]
    mark: IntArray  # [R], stamps of roads on the trip


@kernel()
def make_workspace(num_roads: Number, num_edges: Number) -> Workspace:
    """Room for one trip at a time."""
    return Workspace(
        np.full(num_roads, np.inf),
        np.full(num_roads, np.inf),
        np.full(num_roads, -1, dtype=np.int64),
        np.full(num_roads, -1, dtype=np.int64),
        np.empty(2 * num_roads, dtype=np.int64),
        np.empty(num_edges + 1),
        np.empty(num_edges + 1, dtype=np.int64),
        np.zeros(num_roads, dtype=np.int64),
    )


@kernel()
def _search(
    offsets: IntArray,
    neighbours: IntArray,
    graph: Graph,
    start: Number,
    limit_m: Number,
    forward: bool,
    best: FloatArray,
    link: IntArray,
    work: Workspace,
    num_touched: Number,
) -> Number:
    """Dijkstra from `start` up to `limit_m`; the start itself is only left, not entered.

    Entering a road costs its length. Backwards, a road's value is what is left after its end.
    """
    size = 0
    for slot in range(offsets[start], offsets[start + 1]):
        road = neighbours[slot]
        if road == graph.twin[start]:
            continue
        cost = graph.length_m[road] if forward else graph.length_m[start]
        if cost <= limit_m and cost < best[road]:
            if best[road] == np.inf:
                work.touched[num_touched] = road
                num_touched += 1
            best[road], link[road] = cost, start
            size = heap_push(work.cost_heap, work.road_heap, size, cost, road)
    while size > 0:
        cost, road = work.cost_heap[0], work.road_heap[0]
        size = heap_pop(work.cost_heap, work.road_heap, size)
        if cost > best[road] or road == start:
            continue
        for slot in range(offsets[road], offsets[road + 1]):
            following = neighbours[slot]
            if following == graph.twin[road]:
                continue
            step = graph.length_m[following] if forward else graph.length_m[road]
            if cost + step <= limit_m and cost + step < best[following]:
                if best[following] == np.inf:
                    work.touched[num_touched] = following
                    num_touched += 1
                best[following], link[following] = cost + step, road
                size = heap_push(work.cost_heap, work.road_heap, size, cost + step, following)
    return num_touched


@kernel()
def detour(
    roads: IntArray,  # the whole trip
    first: Number,  # the place from which another way is taken ...
    last: Number,  # ... and where it comes back; the same place for a loop
    low_m: Number,
    high_m: Number,
    seed: Number,
    graph: Graph,
    work: Workspace,
    path: IntArray,  # out: the roads between the two places
) -> Number:
    """A way by some road off the trip that is longer by `low_m` to `high_m`; its length, or 0."""
    usual = 0.0
    for place in range(first + 1, last + 1):
        usual += graph.length_m[roads[place]]
    stamp = 1
    for place in range(len(roads)):
        work.mark[roads[place]] = stamp
    limit = usual + high_m
    touched = _search(
        graph.offsets, graph.targets, graph, roads[first], limit, True,
        work.ahead, work.before, work, 0,
    )  # fmt: skip
    num_ahead = touched
    touched = _search(
        graph.back_offsets, graph.back_sources, graph, roads[last], limit, False,
        work.behind, work.after, work, touched,
    )  # fmt: skip
    count = 0
    for i in range(num_ahead):
        via = work.touched[i]
        extra = work.ahead[via] + work.behind[via] - usual
        if work.mark[via] != stamp and low_m <= extra <= high_m:
            work.road_heap[count] = via
            count += 1
    length = 0
    for attempt in range(min(_TRIES, count)):
        pick = int(uniform(mix(seed, 11), attempt) * count)
        length = _assemble(
            roads, first, last, work.road_heap[min(pick, count - 1)], graph, work, path
        )
        if length > 0:
            break
    for place in range(len(roads)):
        work.mark[roads[place]] = 0
    for i in range(touched):
        road = work.touched[i]
        work.ahead[road] = work.behind[road] = np.inf
        work.before[road] = work.after[road] = -1
    return length


@kernel()
def _assemble(
    roads: IntArray, first: Number, last: Number, via: Number, graph: Graph, work: Workspace,
    path: IntArray,
) -> Number:  # fmt: skip
    """Writes the way by `via`; 0 where it uses a street twice or one of the rest of the trip."""
    count, road = 0, via
    while road != roads[first] and count < len(path):
        path[count] = road
        count += 1
        road = work.before[road]
    for i in range(count // 2):
        path[i], path[count - 1 - i] = path[count - 1 - i], path[i]
    road = work.after[via]
    while road != roads[last] and count < len(path):
        path[count] = road
        count += 1
        road = work.after[road]
    if count >= len(path) or count == 0:
        return 0
    for i in range(count):
        for place in range(len(roads)):
            inside = first < place < last
            if not inside and (roads[place] == path[i] or roads[place] == graph.twin[path[i]]):
                return 0
        for j in range(i):
            if path[j] == path[i] or path[j] == graph.twin[path[i]]:
                return 0
    return count


@kernel()
def other_route(
    roads: IntArray,
    first: Number,
    seed: Number,
    most_extra: Number,  # how much longer the rest may become, as a share
    most_shared: Number,  # how much of the rest may stay the same, as a share
    graph: Graph,
    work: Workspace,
    path: IntArray,  # out: the roads after `first`, the destination included
) -> Number:
    """Another plausible way from a place of the trip to its end; its length, or 0."""
    goal = roads[len(roads) - 1]
    rest = 0.0
    for place in range(first + 1, len(roads)):
        rest += graph.length_m[roads[place]]
    found = 0
    for attempt in range(_TRIES):
        key = mix(mix(seed, 12), attempt)
        for place in range(len(roads)):
            work.mark[roads[place]] = 1 if place > first else 2
        touched = _cheapest(roads[first], goal, rest * (1.0 + most_extra), key, graph, work)
        count, road = 0, goal
        if work.ahead[goal] < np.inf:
            while road != roads[first] and count < len(path):
                path[count] = road
                count += 1
                road = work.before[road]
        for i in range(count // 2):
            path[i], path[count - 1 - i] = path[count - 1 - i], path[i]
        length, shared = 0.0, 0.0
        for i in range(count):
            length += graph.length_m[path[i]]
            if work.mark[path[i]] == 1:
                shared += graph.length_m[path[i]]
        for place in range(len(roads)):
            work.mark[roads[place]] = 0
        for i in range(touched):
            work.ahead[work.touched[i]] = np.inf
            work.before[work.touched[i]] = -1
        fits = 0 < count < len(path) and length <= rest * (1.0 + most_extra)
        if fits and shared - graph.length_m[goal] <= most_shared * rest:
            found = count
            break
    return found


@kernel()
def _cheapest(
    start: Number, goal: Number, limit_m: Number, key: Number, graph: Graph, work: Workspace
) -> Number:
    """Dijkstra with drawn costs in which roads of the trip are dear and its past is barred."""
    size, touched = 0, 0
    work.ahead[start], work.before[start] = 0.0, start
    work.touched[touched] = start
    touched += 1
    size = heap_push(work.cost_heap, work.road_heap, size, 0.0, start)
    while size > 0:
        cost, road = work.cost_heap[0], work.road_heap[0]
        size = heap_pop(work.cost_heap, work.road_heap, size)
        if cost > work.ahead[road]:
            continue
        if road == goal or cost > limit_m * _SHARED_PENALTY * (1.0 + _TASTE):
            break
        for slot in range(graph.offsets[road], graph.offsets[road + 1]):
            following = graph.targets[slot]
            if following == graph.twin[road] or work.mark[following] == 2:
                continue
            factor = 1.0 + _TASTE * uniform(key, following)
            if work.mark[following] == 1 and following != goal:
                factor *= _SHARED_PENALTY
            total = cost + graph.length_m[following] * factor
            if total < work.ahead[following]:
                if work.ahead[following] == np.inf:
                    work.touched[touched] = following
                    touched += 1
                work.ahead[following], work.before[following] = total, road
                size = heap_push(work.cost_heap, work.road_heap, size, total, following)
    return touched
