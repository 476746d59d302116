"""What it still costs to the destination: Dijkstra's algorithm against the direction of travel."""

from __future__ import annotations

import numpy as np

from data.demo_city.search import heap_pop, heap_push
from runtime.jit import kernel


@kernel()
def measure_ways(begin, end, slots, origin, destination, offsets, sources, road_cost, left):  # type: ignore[no-untyped-def]
    """Fills rows of `left` [S, R]: the cheapest way to the destination, from middle to middle.

    Roads from which it costs more than from the origin have the origin's, so that no step is worth
    more than it costs. Where no way leads there, all are 0.
    """
    num_roads = len(road_cost)
    heap_cost = np.empty(len(sources) + 1)
    heap_road = np.empty(len(sources) + 1, dtype=np.int64)
    for i in range(begin, end):
        if i > begin and origin[i] == origin[i - 1] and destination[i] == destination[i - 1]:
            left[slots[i], :] = left[slots[i - 1], :]
            continue
        way = left[slots[i]]
        way[:] = np.inf
        way[destination[i]] = 0.0
        heap_cost[0], heap_road[0], size = 0.0, destination[i], 1
        most = 0.0
        while size > 0:
            cost, road = heap_cost[0], heap_road[0]
            size = heap_pop(heap_cost, heap_road, size)
            if cost > way[road]:  # found cheaper since
                continue
            if road == origin[i]:
                most = cost
                break
            for edge in range(offsets[road], offsets[road + 1]):
                source = sources[edge]
                total = cost + 0.5 * (road_cost[source] + road_cost[road])
                if total < way[source]:
                    way[source] = total
                    size = heap_push(heap_cost, heap_road, size, total, source)
        for road in range(num_roads):
            way[road] = min(way[road], most)
