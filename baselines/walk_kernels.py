"""Walks over the road network that draw each next road, compiled by numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from baselines.contexts import DIRECTIONS, NEAR_M
from data.demo_city.search import mix, uniform
from runtime.jit import kernel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNIFORM, FIRST, SECOND, DESTINATION = 0, 1, 2, 3
_BACK_OFF = 1.0  # sightings that the coarser estimate counts as
_METRES_PER_DEGREE = 111_195.0


@kernel()
def _context(road: int, destination: int, lon: FloatArray, lat: FloatArray) -> int:
    """Where the destination lies seen from a road: one of eight directions, near or far."""
    east = (lon[destination] - lon[road]) * math.cos(lat[road] * math.pi / 180.0)
    north = lat[destination] - lat[road]
    angle = math.atan2(north, east) + math.pi
    direction = int(angle / (2.0 * math.pi) * DIRECTIONS) % DIRECTIONS
    is_far = _METRES_PER_DEGREE * math.sqrt(east * east + north * north) > NEAR_M
    return direction + DIRECTIONS * int(is_far)


@kernel()
def contexts_of(
    road: IntArray, destination: IntArray, lon: FloatArray, lat: FloatArray, context: IntArray
) -> None:
    """The context of each pair of a road and a destination."""
    for i in range(len(road)):
        context[i] = _context(road[i], destination[i], lon, lat)


@kernel()
def _count_of(keys: IntArray, counts: FloatArray, key: int) -> float:
    """The count of a key; 0 for one that was never seen."""
    place = np.searchsorted(keys, key)
    return counts[place] if place < len(keys) and keys[place] == key else 0.0


@kernel()
def _back_off(weight: FloatArray, seen: FloatArray, degree: int) -> None:
    """Puts sightings on top of an estimate: many of them replace it, none leave it as it is."""
    total = _BACK_OFF
    for c in range(degree):
        total += seen[c]
    for c in range(degree):
        weight[c] = (seen[c] + _BACK_OFF * weight[c]) / total


@kernel()
def walk(
    begin: int,
    end: int,
    mode: int,
    seed: int,
    first_number: int,
    origin: IntArray,
    destination: IntArray,
    limit: IntArray,
    offsets: IntArray,
    targets: IntArray,
    lon: FloatArray,
    lat: FloatArray,
    first_order: FloatArray,
    pair_keys: IntArray,
    pair_counts: FloatArray,
    by_direction: FloatArray,
    max_degree: int,
    route: NDArray[np.int32],
    route_len: IntArray,
    log_prob: FloatArray,
) -> None:
    """Draws walks begin:end, each until its destination, a dead end or its `limit` of roads.

    `pair_keys` are pairs of edges (SECOND) or of edge and destination (DESTINATION).
    """
    num_roads, num_edges = len(offsets) - 1, len(targets)
    weight, seen = np.empty(max_degree), np.empty(max_degree)
    for i in range(begin, end):
        key = mix(mix(np.uint64(seed), np.uint64(first_number + i)), np.uint64(mode))
        road, before, count = origin[i], -1, 1
        route[i, 0] = road
        total = 0.0
        while road != destination[i] and count < limit[i]:
            start = offsets[road]
            degree = offsets[road + 1] - start
            if degree == 0:
                break
            context = _context(road, destination[i], lon, lat)
            for c in range(degree):
                weight[c] = 1.0 / degree if mode == UNIFORM else first_order[start + c]
                seen[c] = by_direction[start + c, context] if mode == DESTINATION else 0.0
            if mode == DESTINATION:
                _back_off(weight, seen, degree)
                for c in range(degree):
                    wanted = (start + c) * num_roads + destination[i]
                    seen[c] = _count_of(pair_keys, pair_counts, wanted)
                _back_off(weight, seen, degree)
            elif mode == SECOND and before >= 0:
                for c in range(degree):
                    wanted = before * num_edges + start + c
                    seen[c] = _count_of(pair_keys, pair_counts, wanted)
                _back_off(weight, seen, degree)
            wanted_share = uniform(key, count)
            chosen, passed = degree - 1, 0.0
            for c in range(degree):
                passed += weight[c]
                if wanted_share < passed:
                    chosen = c
                    break
            total += math.log(weight[chosen])
            before = start + chosen
            road = targets[before]
            route[i, count] = road
            count += 1
        route_len[i] = count
        log_prob[i] = total
