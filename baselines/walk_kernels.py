"""Walks over the road network that draw each next road, compiled by numba."""

from __future__ import annotations

import math

import numpy as np

from baselines.contexts import DIRECTIONS, NEAR_M
from baselines.layout import FloatArray, IntArray
from data.demo_city.search import mix, uniform
from runtime.jit import kernel

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


@kernel(inner=True)
def _weigh(  # type: ignore[no-untyped-def]
    road, before, destination, roads, seen, weight, count
):
    """The chances of a road's transitions, as the walk's mode knows them; `before` it came by."""
    start = roads.offsets[road]
    degree = roads.offsets[road + 1] - start
    context = _context(road, destination, roads.lon, roads.lat)
    for c in range(degree):
        weight[c] = 1.0 / degree if seen.mode == UNIFORM else seen.first_order[start + c]
        count[c] = seen.by_direction[start + c, context] if seen.mode == DESTINATION else 0.0
    if seen.mode == DESTINATION:
        _back_off(weight, count, degree)
        for c in range(degree):
            wanted = (start + c) * (len(roads.offsets) - 1) + destination
            count[c] = _count_of(seen.pair_keys, seen.pair_counts, wanted)
        _back_off(weight, count, degree)
    elif seen.mode == SECOND and before >= 0:
        for c in range(degree):
            wanted = before * len(roads.targets) + start + c
            count[c] = _count_of(seen.pair_keys, seen.pair_counts, wanted)
        _back_off(weight, count, degree)


@kernel(inner=True)
def _pick(weight, degree, share):  # type: ignore[no-untyped-def]
    """The transition at which the summed chances pass a share."""
    passed = 0.0
    for c in range(degree):
        passed += weight[c]
        if share < passed:
            return c
    return degree - 1


@kernel()
def walk(begin, end, seed, roads, seen, walks, max_degree):  # type: ignore[no-untyped-def]
    """Draws walks begin:end, each until its destination, a dead end or its `limit` of roads."""
    weight, counted = np.empty(max_degree), np.empty(max_degree)
    for i in range(begin, end):
        number = np.uint64(walks.first_number + i)
        key = mix(mix(np.uint64(seed), number), np.uint64(seen.mode))
        road, before, count = walks.origin[i], -1, 1
        walks.route[i, 0] = road
        total = 0.0
        while road != walks.destination[i] and count < walks.limit[i]:
            start = roads.offsets[road]
            degree = roads.offsets[road + 1] - start
            if degree == 0:
                break
            _weigh(road, before, walks.destination[i], roads, seen, weight, counted)
            chosen = _pick(weight, degree, uniform(key, count))
            total += math.log(weight[chosen])
            before = start + chosen
            road = roads.targets[before]
            walks.route[i, count] = road
            count += 1
        walks.length[i] = count
        walks.log_prob[i] = total
