"""The compiled part of trip simulation: search trees, the drive along them, and its times."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.clock import SECONDS_PER_DAY
from data.demo_city.demand import NUM_BUCKETS, NUM_HABIT_GROUPS
from data.demo_city.search import Number, gaussian, heap_pop, heap_push, mix, uniform
from runtime.jit import kernel

MIN_TRIP_ROADS = 5
DECISION_NOISE_S = 4.0
_SHARED_NOISE = 0.10
_TIME_NOISE = 0.18
_STOP_SHARE = 0.4

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
Int32Array = NDArray[np.int32]


class RouteTables(NamedTuple):
    """The road graph in both directions and what driving on it costs (see `demand.Traffic`)."""

    reach_offsets: IntArray  # [R + 1]
    reach_targets: IntArray  # [E]
    turn_cost: Float32Array  # [E]
    back_offsets: IntArray  # [R + 1]
    back_sources: IntArray  # [E]
    back_turns: Float32Array  # [E]
    chain: IntArray  # [R]
    route_cost: Float32Array  # [P, NUM_BUCKETS, R]
    habit: Float32Array  # [P * NUM_HABIT_GROUPS, C]
    travel_s: Float32Array  # [2, 24, R]
    signal_s: FloatArray  # [R]
    speed_factor: FloatArray  # [D]


class WantedTrips(NamedTuple):
    """Trips to route, sorted by the search tree they need."""

    trip: IntArray  # number within the chunk
    driver: IntArray
    origin: IntArray
    destination: IntArray
    tree: IntArray


class TripTable(NamedTuple):
    """The trips of a chunk: when they start and, once routed, where they lead."""

    first: int  # number of the chunk's first trip
    clock_s: IntArray  # [n] seconds since the first day's midnight
    roads: Int32Array  # [n, W]
    elapsed_s: Int32Array  # [n, W]
    length: IntArray  # [n] roads of the trip, 0 as long as it has none


class TreeCost(NamedTuple):
    """What roads cost on one search tree: usual cost, habit, and a mood of the moment."""

    usual: Float32Array  # [R]
    habit: Float32Array  # [C]
    mood_key: Number


class Workspace(NamedTuple):
    to_go: FloatArray  # [R] cost from a road's start to the destination
    touched: IntArray  # [R] roads whose `to_go` is set
    cost_heap: FloatArray  # [E + 1]
    road_heap: IntArray  # [E + 1]
    seen: IntArray  # [R] stamp of the last trip that used a road


@kernel()
def make_workspace(num_roads: int, num_edges: int) -> Workspace:
    """Room for one tree at a time."""
    return Workspace(
        np.full(num_roads, np.inf),
        np.empty(num_roads, dtype=np.int64),
        np.empty(num_edges + 1),
        np.empty(num_edges + 1, dtype=np.int64),
        np.full(num_roads, -1, dtype=np.int64),
    )


@kernel()
def tree_cost(key: Number, tree: Number, tables: RouteTables) -> TreeCost:
    """The costs of a tree, whose number tells destination, kind of driver and time of day."""
    kind = tree // NUM_BUCKETS % len(tables.habit)
    usual = tables.route_cost[kind // NUM_HABIT_GROUPS, tree % NUM_BUCKETS]
    return TreeCost(usual, tables.habit[kind], mix(mix(key, 2), tree))


@kernel()
def _road_cost(cost: TreeCost, chain: Number, road: Number) -> Number:
    mood = 1.0 + _SHARED_NOISE * (2.0 * uniform(cost.mood_key, chain) - 1.0)
    return cost.usual[road] * cost.habit[chain] * mood


@kernel()
def farthest(to_go: Number) -> Number:
    """How far from the destination a trip may stray that starts `to_go` away."""
    return 1.05 * to_go + 20.0


@kernel()
def grow_tree(
    destination: Number, origins: IntArray, cost: TreeCost, tables: RouteTables, work: Workspace
) -> Number:
    """Fills `to_go` as far from the destination as any trip from the origins may stray.

    Returns how many roads were touched, for `forget_tree`.
    """
    num_touched = 1
    work.touched[0] = destination
    work.to_go[destination] = 0.0
    size = heap_push(work.cost_heap, work.road_heap, 0, 0.0, destination)
    limit = np.inf
    settled = 0
    while size > 0 and work.cost_heap[0] <= limit:
        now, road = work.cost_heap[0], work.road_heap[0]
        size = heap_pop(work.cost_heap, work.road_heap, size)
        if now > work.to_go[road]:
            continue
        if settled < len(origins):
            for origin in origins:
                if origin == road:
                    settled += 1
            if settled == len(origins):
                limit = farthest(now)
        for slot in range(tables.back_offsets[road], tables.back_offsets[road + 1]):
            before = tables.back_sources[slot]
            new = now + tables.back_turns[slot] + _road_cost(cost, tables.chain[before], before)
            if new < work.to_go[before]:
                if work.to_go[before] == np.inf:
                    work.touched[num_touched] = before
                    num_touched += 1
                work.to_go[before] = new
                size = heap_push(work.cost_heap, work.road_heap, size, new, before)
    return num_touched


@kernel()
def forget_tree(num_touched: Number, work: Workspace) -> None:
    """Makes room for the next tree."""
    for i in range(num_touched):
        work.to_go[work.touched[i]] = np.inf


@kernel()
def cost_of_turn(
    slot: Number, limit: Number, stamp: int, tables: RouteTables, work: Workspace
) -> Number:
    """What is still to pay if a driver turns here; infinite where no driver would.

    Roads that `stamp` has seen and those farther than `limit` from the destination are not taken.
    """
    target = tables.reach_targets[slot]
    if work.seen[target] == stamp or work.to_go[target] > limit:
        return np.inf
    return tables.turn_cost[slot] + work.to_go[target]


@kernel()
def _follow(
    origin: Number,
    destination: Number,
    noise_s: float,
    key: Number,
    tables: RouteTables,
    work: Workspace,
    stamp: int,
    out: Int32Array,
) -> Number:
    """Drives along the tree with noise at each crossing; returns the roads, 0 if it got stuck."""
    limit = farthest(work.to_go[origin])
    road, count = origin, 1
    out[0] = road
    work.seen[road] = stamp
    while road != destination and count < len(out):
        best, chosen = np.inf, -1
        for slot in range(tables.reach_offsets[road], tables.reach_offsets[road + 1]):
            score = cost_of_turn(slot, limit, stamp, tables, work)
            if score == np.inf:
                continue
            if noise_s > 0.0:
                score += noise_s * math.log(-math.log(uniform(key, count * 16 + slot % 16)))
            if score < best:
                best, chosen = score, tables.reach_targets[slot]
        if chosen < 0:
            return 0
        road = chosen
        work.seen[road] = stamp
        out[count] = road
        count += 1
    return count


@kernel()
def _drive(
    roads: Int32Array,
    count: Number,
    start_s: Number,
    speed_factor: Number,
    key: Number,
    tables: RouteTables,
    elapsed_s: Int32Array,
) -> None:
    """Whole seconds at which the roads are entered, counted from the start of the trip."""
    elapsed = 0
    for i in range(count):
        elapsed_s[i] = elapsed
        now = start_s + elapsed
        weekend = 1 if now // SECONDS_PER_DAY % 7 >= 5 else 0
        road = roads[i]
        seconds = tables.travel_s[weekend, now % SECONDS_PER_DAY // 3600, road] * speed_factor
        seconds *= math.exp(_TIME_NOISE * gaussian(key, 2 * i))
        if uniform(key, 4 * i + 100_000) < _STOP_SHARE:
            seconds -= tables.signal_s[road] * math.log(uniform(key, 4 * i + 100_001))
        elapsed += max(1, round(seconds))


@kernel()
def route_trips(
    key: Number, bounds: IntArray, wanted: WantedTrips, tables: RouteTables, table: TripTable
) -> None:
    """Routes and times of trips grouped by tree (`bounds`); too short ones keep the length 0."""
    work = make_workspace(len(tables.chain), len(tables.reach_targets))
    stamp = 0
    for group in range(len(bounds) - 1):
        low, high = bounds[group], bounds[group + 1]
        tree = wanted.tree[low]
        cost = tree_cost(key, tree, tables)
        num_touched = grow_tree(
            wanted.destination[low], wanted.origin[low:high], cost, tables, work
        )
        for i in range(low, high):
            trip = wanted.trip[i]
            trip_key = mix(mix(key, 3), table.first + trip)
            count = 0
            for noise_s in (DECISION_NOISE_S, 0.0):  # without noise nothing gets stuck
                if count == 0:
                    count = _follow(
                        wanted.origin[i],
                        wanted.destination[i],
                        noise_s,
                        trip_key,
                        tables,
                        work,
                        stamp,
                        table.roads[trip],
                    )
                    stamp += 1
            if count >= MIN_TRIP_ROADS:
                speed_factor = tables.speed_factor[wanted.driver[i]]
                clock_s, drive_key = table.clock_s[trip], mix(trip_key, 4)
                out = table.elapsed_s[trip]
                _drive(table.roads[trip], count, clock_s, speed_factor, drive_key, tables, out)
                table.length[trip] = count
        forget_tree(num_touched, work)
