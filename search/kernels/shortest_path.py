"""Dijkstra's algorithm on roads, and walking along the routes it finds."""

from __future__ import annotations

import numpy as np

from data.demo_city.search import heap_pop, heap_push
from runtime.jit import kernel
from search.kernels.common import distance_m


@kernel()
def find_routes(  # type: ignore[no-untyped-def]
    begin, end, origin, destination, offsets, targets, length_m, lon, lat, route, route_len
):  # fmt: skip
    """Routes of trips begin:end by the summed length of the roads entered.

    Where the destination cannot be reached, the route to the reachable road nearest to it.
    A route longer than `route` is wide has only its length returned.
    """
    num_roads = len(length_m)
    cost = np.empty(num_roads)
    previous = np.empty(num_roads, dtype=np.int64)
    is_settled = np.empty(num_roads, dtype=np.bool_)
    heap_cost = np.empty(len(targets) + 1)
    heap_road = np.empty(len(targets) + 1, dtype=np.int64)
    for i in range(begin, end):
        cost[:] = np.inf
        is_settled[:] = False
        last = _settle(
            origin[i], destination[i], offsets, targets, length_m, lon, lat,
            cost, previous, is_settled, heap_cost, heap_road,
        )  # fmt: skip
        count, road = 1, last
        while road != origin[i]:
            road = previous[road]
            count += 1
        route_len[i] = count
        road = last
        for place in range(count - 1, -1, -1):
            if place < route.shape[1]:
                route[i, place] = road
            road = previous[road] if place > 0 else road


@kernel()
def _settle(  # type: ignore[no-untyped-def]
    origin, destination, offsets, targets, length_m, lon, lat,
    cost, previous, is_settled, heap_cost, heap_road,
):  # fmt: skip
    """Settles roads in order of cost up to the destination; returns where the route ends."""
    cost[origin] = 0.0
    heap_cost[0], heap_road[0], size = 0.0, origin, 1
    nearest, nearest_m = origin, np.inf
    while size > 0:
        road = heap_road[0]
        size = heap_pop(heap_cost, heap_road, size)
        if is_settled[road]:
            continue
        is_settled[road] = True
        if road == destination:
            return road
        metres = distance_m(lon, lat, road, destination)
        if metres < nearest_m:
            nearest, nearest_m = road, metres
        for edge in range(offsets[road], offsets[road + 1]):
            target = targets[edge]
            total = cost[road] + length_m[target]
            if total < cost[target]:
                cost[target], previous[target] = total, road
                size = heap_push(heap_cost, heap_road, size, total, target)
    return nearest


@kernel()
def take_next(  # type: ignore[no-untyped-def]
    slot, road, node, next_log_prob, next_seconds, offsets, targets, route, position, at, log_prob
):  # fmt: skip
    """Moves every slot in `slot` to the next road of its route, with its time and score."""
    for n in range(len(slot)):
        s = slot[n]
        position[s] += 1
        target = route[s, position[s]]
        first = offsets[road[n]]
        for c in range(offsets[road[n] + 1] - first):
            if targets[first + c] == target:
                at[0, s], at[1, s], at[2, s] = node[n], target, next_seconds[n, c]
                log_prob[s] = next_log_prob[n, c]
                break
