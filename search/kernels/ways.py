"""How far it still is to the destination: Dijkstra's algorithm against the direction of travel."""

from __future__ import annotations

import numpy as np

from runtime.jit import kernel
from search.kernels.shortest_path import insert, place_last_at_root


@kernel()
def measure_ways(begin, end, slots, origin, destination, offsets, sources, length_m, way_m):  # type: ignore[no-untyped-def]
    """Fills rows of `way_m` [S, R]: the shortest way to the destination, from middle to middle.

    Roads from which it is further than from the origin have the origin's: still less than the
    truth by as much as a step may change it. Where no way leads there, all are 0.
    """
    num_roads = len(length_m)
    is_settled = np.empty(num_roads, dtype=np.bool_)
    heap_m = np.empty(len(sources) + 1)
    heap_road = np.empty(len(sources) + 1, dtype=np.int64)
    for i in range(begin, end):
        if i > begin and origin[i] == origin[i - 1] and destination[i] == destination[i - 1]:
            way_m[slots[i], :] = way_m[slots[i - 1], :]
            continue
        way = way_m[slots[i]]
        way[:] = np.inf
        is_settled[:] = False
        way[destination[i]] = 0.0
        heap_m[0], heap_road[0], size = 0.0, destination[i], 1
        furthest = 0.0
        while size > 0:
            metres, road = heap_m[0], heap_road[0]
            size -= 1
            place_last_at_root(heap_m, heap_road, size)
            if is_settled[road]:
                continue
            is_settled[road] = True
            if road == origin[i]:
                furthest = metres
                break
            for edge in range(offsets[road], offsets[road + 1]):
                source = sources[edge]
                total = metres + 0.5 * (length_m[source] + length_m[road])
                if total < way[source]:
                    way[source] = total
                    insert(heap_m, heap_road, size, total, source)
                    size += 1
        for road in range(num_roads):
            way[road] = min(way[road], furthest)
