"""What it still costs to a destination: Dijkstra's algorithm against the direction of travel.

A way costs what its steps from road to road do. `step_cost` [E] has them as `offsets` and `sources`
say whom each road follows.
"""

from __future__ import annotations

import numpy as np

from data.demo_city.search import heap_pop, heap_push
from runtime.jit import kernel


@kernel()
def workspace(num_roads, num_edges):  # type: ignore[no-untyped-def]
    """What `settle_ways` works with, for one search after the other."""
    is_open = np.zeros(num_roads, dtype=np.bool_)
    return is_open, np.empty(num_edges + 1), np.empty(num_edges + 1, dtype=np.int64)


@kernel()
def settle_ways(destination, wanted, offsets, sources, step_cost, space, way):  # type: ignore[no-untyped-def]
    """Fills `way` [R] with the cheapest ways to a destination, infinite where there is none.

    It ends as soon as those of the roads `wanted` are known, and the others are then too dear or
    infinite; wanting none means all.
    """
    is_open, heap_cost, heap_road = space
    num_open = 0
    for road in wanted:
        if not is_open[road]:
            is_open[road] = True
            num_open += 1
    way[:] = np.inf
    way[destination] = 0.0
    heap_cost[0], heap_road[0], size = 0.0, destination, 1
    while size > 0:
        cost, road = heap_cost[0], heap_road[0]
        size = heap_pop(heap_cost, heap_road, size)
        if cost > way[road]:  # found cheaper since
            continue
        if is_open[road]:
            is_open[road] = False
            num_open -= 1
            if num_open == 0:
                break
        for edge in range(offsets[road], offsets[road + 1]):
            source = sources[edge]
            total = cost + step_cost[edge]
            if total < way[source]:
                way[source] = total
                size = heap_push(heap_cost, heap_road, size, total, source)
    for road in wanted:  # those that no way leaves from
        is_open[road] = False


@kernel()
def fill_ways(begin, end, destination, offsets, sources, step_cost, left):  # type: ignore[no-untyped-def]
    """Rows of `left` [N, R] for `destination` [N]: all cheapest ways."""
    everything = np.empty(0, dtype=np.int64)
    num_roads = len(offsets) - 1
    space = workspace(num_roads, len(sources))
    way = np.empty(num_roads)
    for i in range(begin, end):
        settle_ways(destination[i], everything, offsets, sources, step_cost, space, way)
        left[i, :] = way


@kernel()
def ways_along(begin, end, trips, reach, offsets, sources, step_cost, here, ahead):  # type: ignore[no-untyped-def]
    """Of some trips, the way left from every position [P] and from every road that can follow [M].

    `trips`: their roads end to end, where each begins, and where in `ahead` each position does.
    `reach`: who follows whom, offsets and roads.
    """
    road_ids, trip_offsets, ahead_begin = trips
    reach_offsets, reach_targets = reach
    num_roads = len(offsets) - 1
    space = workspace(num_roads, len(sources))
    way = np.empty(num_roads)
    for i in range(begin, end):
        first, last = trip_offsets[i], trip_offsets[i + 1] - 1  # the last road is not left
        position = first - i  # each trip before has one position less than roads
        num_ahead = 0
        for place in range(first, last):
            num_ahead += reach_offsets[road_ids[place] + 1] - reach_offsets[road_ids[place]]
        wanted = np.empty(num_ahead + last - first, dtype=np.int64)
        n = 0
        for place in range(first, last):
            road = road_ids[place]
            wanted[n] = road
            n += 1
            for edge in range(reach_offsets[road], reach_offsets[road + 1]):
                wanted[n] = reach_targets[edge]
                n += 1
        if n == 0:
            continue
        settle_ways(road_ids[last], wanted, offsets, sources, step_cost, space, way)
        for place in range(first, last):
            road = road_ids[place]
            here[position] = way[road]
            into = ahead_begin[position]
            for edge in range(reach_offsets[road], reach_offsets[road + 1]):
                ahead[into] = way[reach_targets[edge]]
                into += 1
            position += 1
