"""Compiled kernels shared by street planning and trip simulation: random numbers and routes.

Random numbers come from counters, not from a stream, so a trip is the same whatever thread or
chunk it is made in. All kernels release the GIL and are run in plain threads.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.jit import kernel

# A number inside a kernel: an integer or a float of any width, signed or not.
Number: TypeAlias = Any

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S12 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(12)
_TO_UNIT = 1.0 / 4503599627370496.0  # 2^-52: half a step more is still below 1


@kernel()
def mix(key: Number, value: Number) -> Number:
    """A 64-bit hash of a key and a number (SplitMix64's finaliser)."""
    z = np.uint64(key) + _GOLDEN * (np.uint64(value) + np.uint64(1))
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@kernel()
def uniform(key: Number, value: Number) -> Number:
    """A number in (0, 1) that depends on key and counter only."""
    return (np.float64(mix(key, value) >> _S12) + 0.5) * _TO_UNIT


@kernel()
def gaussian(key: Number, value: Number) -> Number:
    """A standard normal number that depends on key and counter only (Box-Muller)."""
    radius = math.sqrt(-2.0 * math.log(uniform(key, 2 * value)))
    return radius * math.cos(2.0 * math.pi * uniform(key, 2 * value + 1))


@kernel()
def first_above(cumulative: FloatArray, wanted: Number) -> Number:
    """The first index whose cumulative share exceeds `wanted`; the last one if none does."""
    low, high = 0, len(cumulative) - 1
    while low < high:
        middle = (low + high) >> 1
        if cumulative[middle] > wanted:
            high = middle
        else:
            low = middle + 1
    return low


@kernel()
def heap_push(
    cost_heap: FloatArray, road_heap: IntArray, size: Number, cost: Number, road: Number
) -> Number:
    """Adds an entry to a binary heap held in two arrays; returns the new size."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if cost_heap[parent] <= cost:
            break
        cost_heap[child] = cost_heap[parent]
        road_heap[child] = road_heap[parent]
        child = parent
    cost_heap[child] = cost
    road_heap[child] = road
    return size + 1


@kernel()
def heap_pop(cost_heap: FloatArray, road_heap: IntArray, size: Number) -> Number:
    """Removes the first entry (read it before); returns the new size."""
    size -= 1
    cost = cost_heap[size]
    road = road_heap[size]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        if child + 1 < size and cost_heap[child + 1] < cost_heap[child]:
            child += 1
        if cost_heap[child] >= cost:
            break
        cost_heap[parent] = cost_heap[child]
        road_heap[parent] = road_heap[child]
        parent = child
    cost_heap[parent] = cost
    road_heap[parent] = road
    return size


@kernel()
def cheapest_edges(
    offsets: IntArray,
    neighbour: IntArray,
    edge_cost: FloatArray,
    x: FloatArray,
    y: FloatArray,
    source: Number,
    target: Number,
    turn_weight: float,
) -> IntArray:
    """The edges of the cheapest path between two nodes of an undirected street graph.

    A slot is a directed use of a street: `neighbour[slot]` is where it leads. Turning costs
    `turn_weight` for a right angle, so that long streets come out straight. Slots are returned
    from target back to source; none when there is no path.
    """
    num_slots = len(neighbour)
    best = np.full(num_slots, np.inf)
    before = np.full(num_slots, -1, dtype=np.int64)
    start_of = np.empty(num_slots, dtype=np.int64)
    capacity = 16
    for node in range(len(offsets) - 1):
        start_of[offsets[node] : offsets[node + 1]] = node
        capacity += (offsets[node + 1] - offsets[node]) ** 2
    cost_heap = np.empty(capacity)
    slot_heap = np.empty(capacity, dtype=np.int64)
    size = 0
    for slot in range(offsets[source], offsets[source + 1]):
        best[slot] = edge_cost[slot]
        size = heap_push(cost_heap, slot_heap, size, best[slot], slot)
    last = -1
    while size > 0:
        cost, slot = cost_heap[0], slot_heap[0]
        size = heap_pop(cost_heap, slot_heap, size)
        if cost > best[slot]:
            continue
        node = neighbour[slot]
        if node == target:
            last = slot
            break
        from_x, from_y = x[node] - x[start_of[slot]], y[node] - y[start_of[slot]]
        from_len = math.hypot(from_x, from_y)
        for following in range(offsets[node], offsets[node + 1]):
            if neighbour[following] == start_of[slot]:
                continue
            to_x, to_y = x[neighbour[following]] - x[node], y[neighbour[following]] - y[node]
            cosine = (from_x * to_x + from_y * to_y) / (from_len * math.hypot(to_x, to_y))
            new = cost + edge_cost[following] + turn_weight * (1.0 - cosine)
            if new < best[following]:
                best[following] = new
                before[following] = slot
                size = heap_push(cost_heap, slot_heap, size, new, following)
    path = np.empty(num_slots, dtype=np.int64)
    count = 0
    while last >= 0:
        path[count] = last
        count += 1
        last = before[last]
    return path[:count]
