"""The compiled part of trip simulation: search trees, the drive along them, and its times."""

from __future__ import annotations

import math

import numba
import numpy as np

from data.demo_city.demand import NUM_BUCKETS, NUM_HABIT_GROUPS
from data.demo_city.search import gaussian, heap_pop, heap_push, mix, uniform

MIN_TRIP_ROADS = 5
_DECISION_NOISE_S = 4.0
_SHARED_NOISE = 0.10
_DAY_S = 86_400


@numba.njit(nogil=True, cache=True, inline="always")
def _cost(cost, habit, chain, key, road):  # type: ignore[no-untyped-def]
    """What a road costs on one search tree: usual cost, habit, and a mood of the moment."""
    mood = 1.0 + _SHARED_NOISE * (2.0 * uniform(key, chain[road]) - 1.0)
    return cost[road] * habit[chain[road]] * mood


@numba.njit(nogil=True, cache=True)
def _grow_tree(  # type: ignore[no-untyped-def]
    destination, origins, cost, habit, chain, key, back_offsets, back_sources, back_turns,
    to_go, touched, cost_heap, road_heap,
):  # fmt: skip
    """Fills `to_go` (cost from a road's start to the destination) until all origins have slack.

    Returns how many roads were touched; the caller sets them back to infinity.
    """
    num_touched = 1
    touched[0] = destination
    to_go[destination] = 0.0
    size = heap_push(cost_heap, road_heap, 0, 0.0, destination)
    limit = np.inf
    settled = 0
    while size > 0 and cost_heap[0] <= limit:
        now, road = cost_heap[0], road_heap[0]
        size = heap_pop(cost_heap, road_heap, size)
        if now > to_go[road]:
            continue
        for origin in origins:
            if origin == road:
                settled += 1
        if settled == len(origins) and limit == np.inf:
            limit = _slack(now)
        for slot in range(back_offsets[road], back_offsets[road + 1]):
            before = back_sources[slot]
            new = now + back_turns[slot] + _cost(cost, habit, chain, key, before)
            if new < to_go[before]:
                if to_go[before] == np.inf:
                    touched[num_touched] = before
                    num_touched += 1
                to_go[before] = new
                size = heap_push(cost_heap, road_heap, size, new, before)
    return num_touched


@numba.njit(nogil=True, cache=True, inline="always")
def _slack(to_go):  # type: ignore[no-untyped-def]
    """How far from the destination a trip may stray that starts `to_go` away."""
    return 1.05 * to_go + 20.0


@numba.njit(nogil=True, cache=True)
def _follow(  # type: ignore[no-untyped-def]
    origin, destination, noise_s, key, to_go, reach_offsets, reach_targets, turn_cost, seen, stamp,
    out,
):  # fmt: skip
    """Drives along the tree with noise at each crossing; returns the roads, 0 if it got stuck."""
    limit = _slack(to_go[origin])
    road, count = origin, 1
    out[0] = road
    seen[road] = stamp
    while road != destination and count < len(out):
        best, chosen = np.inf, -1
        for slot in range(reach_offsets[road], reach_offsets[road + 1]):
            target = reach_targets[slot]
            if seen[target] == stamp or to_go[target] > limit:
                continue
            score = turn_cost[slot] + to_go[target]
            if noise_s > 0.0:
                score += noise_s * math.log(-math.log(uniform(key, count * 16 + slot % 16)))
            if score < best:
                best, chosen = score, target
        if chosen < 0:
            return 0
        road = chosen
        seen[road] = stamp
        out[count] = road
        count += 1
    return count


@numba.njit(nogil=True, cache=True)
def _drive(  # type: ignore[no-untyped-def]
    roads, count, start_s, key, speed_factor, travel_s, signal_s, elapsed_s
):
    """Whole seconds at which the roads are entered, counted from the start of the trip."""
    elapsed = 0
    for i in range(count):
        elapsed_s[i] = elapsed
        now = start_s + elapsed
        weekend = 1 if now // _DAY_S % 7 >= 5 else 0
        road = roads[i]
        seconds = travel_s[weekend, now % _DAY_S // 3600, road] * speed_factor
        seconds *= math.exp(0.18 * gaussian(key, 2 * i))
        if uniform(key, 4 * i + 100_000) < 0.4:
            seconds -= signal_s[road] * math.log(uniform(key, 4 * i + 100_001))
        elapsed += max(1, round(seconds))


@numba.njit(nogil=True, cache=True)
def route_trips(  # type: ignore[no-untyped-def]
    key, first, bounds, trips, driver, origin, destination, tree, clock_s, speed_factor,
    reach_offsets, reach_targets, turn_cost, back_offsets, back_sources, back_turns, chain,
    route_cost, habit, travel_s, signal_s, roads, elapsed_s, length,
):  # fmt: skip
    """Routes and times of trips grouped by tree; too short ones keep the length 0."""
    num_roads = len(chain)
    to_go = np.full(num_roads, np.inf)
    touched = np.empty(num_roads, dtype=np.int64)
    cost_heap = np.empty(len(reach_targets) + 1)
    road_heap = np.empty(len(reach_targets) + 1, dtype=np.int64)
    seen = np.full(num_roads, -1, dtype=np.int64)
    stamp = 0
    for group in range(len(bounds) - 1):
        low, high = bounds[group], bounds[group + 1]
        kind, bucket = tree[low] // NUM_BUCKETS % len(habit), tree[low] % NUM_BUCKETS
        cost = route_cost[kind // NUM_HABIT_GROUPS * NUM_BUCKETS + bucket]
        num_touched = _grow_tree(
            destination[low], origin[low:high], cost, habit[kind], chain,
            mix(mix(key, 2), tree[low]), back_offsets, back_sources, back_turns,
            to_go, touched, cost_heap, road_heap,
        )  # fmt: skip
        for i in range(low, high):
            trip = trips[i]
            trip_key = mix(mix(key, 3), first + trip)
            count = _follow(
                origin[i], destination[i], _DECISION_NOISE_S, trip_key, to_go,
                reach_offsets, reach_targets, turn_cost, seen, stamp, roads[trip],
            )  # fmt: skip
            if count == 0:
                stamp += 1
                count = _follow(
                    origin[i], destination[i], 0.0, trip_key, to_go,
                    reach_offsets, reach_targets, turn_cost, seen, stamp, roads[trip],
                )  # fmt: skip
            stamp += 1
            if count >= MIN_TRIP_ROADS:
                _drive(
                    roads[trip], count, clock_s[trip], mix(trip_key, 4),
                    speed_factor[driver[i]], travel_s, signal_s, elapsed_s[trip],
                )  # fmt: skip
                length[trip] = count
        for i in range(num_touched):
            to_go[touched[i]] = np.inf
