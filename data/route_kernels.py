"""Cheapest routes on the roads by A*, compiled by numba; `data.routes` feeds it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.demo_city.search import heap_pop, heap_push
from runtime.jit import kernel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@kernel()
def _bound(x: FloatArray, y: FloatArray, z: FloatArray, road: int, target: int) -> float:
    """The straight line between two roads' ends: never more than the way along the ground."""
    dx, dy, dz = x[road] - x[target], y[road] - y[target], z[road] - z[target]
    return math.sqrt(dx * dx + dy * dy + dz * dz)


@kernel()
def search_routes(
    begin: int,
    end: int,
    origin: IntArray,
    destination: IntArray,
    offsets: IntArray,
    targets: IntArray,
    edge_cost: FloatArray,
    ends: FloatArray,
    cost_per_metre: float,
    cost: FloatArray,
    route_len: IntArray,
    route: NDArray[np.int32],
) -> None:
    """Cost, number of roads and roads of the cheapest routes of pairs begin:end.

    Where the destination cannot be reached the cost is infinite and the route empty. Of a route
    longer than `route` is wide only the beginning is written; `route_len` says so. `ends` [3, R]
    are the roads' ends in metres; no edge costs less than `cost_per_metre` times their distance.
    """
    num_roads = len(offsets) - 1
    x, y, z = ends[0], ends[1], ends[2]
    best = np.empty(num_roads)
    previous = np.empty(num_roads, dtype=np.int64)
    seen = np.full(num_roads, -1, dtype=np.int64)
    settled = np.full(num_roads, -1, dtype=np.int64)
    heap_cost = np.empty(len(targets) + 2)
    heap_road = np.empty(len(targets) + 2, dtype=np.int64)
    for i in range(begin, end):
        goal, size = destination[i], 0
        best[origin[i]], seen[origin[i]] = 0.0, i
        size = heap_push(heap_cost, heap_road, size, 0.0, origin[i])
        cost[i], route_len[i] = np.inf, 0
        while size > 0:
            road = heap_road[0]
            size = heap_pop(heap_cost, heap_road, size)
            if settled[road] == i:
                continue
            settled[road] = i
            if road == goal:
                break
            for edge in range(offsets[road], offsets[road + 1]):
                target = targets[edge]
                total = best[road] + edge_cost[edge]
                if seen[target] != i or total < best[target]:
                    best[target], previous[target], seen[target] = total, road, i
                    ahead = cost_per_metre * _bound(x, y, z, target, goal)
                    size = heap_push(heap_cost, heap_road, size, total + ahead, target)
        if settled[goal] != i:
            continue
        cost[i] = best[goal]
        road, length = goal, 1
        while road != origin[i]:
            road = previous[road]
            length += 1
        route_len[i] = length
        road = goal
        for place in range(length - 1, -1, -1):
            if place < route.shape[1]:
                route[i, place] = road
            if place > 0:
                road = previous[road]
