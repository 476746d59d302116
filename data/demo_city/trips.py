"""Single trips of a demo city: where from and to, along which roads, at which times.

Trips of the same destination, kind of driver and time of day share one search tree. A trip follows
it with noise at every crossing, so equally good ways are all driven. A trip depends on the seed
and its number alone, not on chunks or threads.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from data.demo_city.demand import (
    FIRST_DAY,
    NUM_BUCKETS,
    NUM_HABIT_GROUPS,
    PROFILES,
    Drivers,
    Places,
    Traffic,
    make_drivers,
    make_places,
    make_traffic,
    start_shares,
)
from data.demo_city.routing import route_trips
from data.demo_city.search import first_above, mix, uniform
from data.demo_city.settings import DemoCitySettings
from data.demo_city.streets import Streets

IntArray = NDArray[np.int64]

CHUNK_TRIPS = 65_536
_MAX_DRAWS = 400
_DAY_S = 86_400


@dataclass(frozen=True)
class TripChunk:
    """Finished trips, in the order of their numbers, which start at `first`."""

    first: int
    driver: IntArray  # [n]
    start_s: IntArray  # [n] seconds since the epoch
    offsets: IntArray  # [n + 1]
    roads: NDArray[np.int32]  # [S]
    elapsed_s: NDArray[np.int32]  # [S] since the start, when a road is entered

    def __len__(self) -> int:
        return len(self.driver)


class TripMaker:
    """Makes the trips of a city in chunks."""

    def __init__(self, streets: Streets, settings: DemoCitySettings) -> None:
        tables = np.random.default_rng([settings.seed, 7])
        self.streets = streets
        self.settings = settings
        self.places: Places = make_places(streets, tables)
        self.traffic: Traffic = make_traffic(streets, tables)
        self.drivers: Drivers = make_drivers(self.places, settings.num_trips, tables)
        self.key = int(np.random.default_rng([settings.seed, 8]).integers(2**62))
        num_roads = streets.num_roads
        source = np.repeat(np.arange(num_roads), np.diff(streets.reach_offsets))
        by_target = np.argsort(streets.reach_targets, kind="stable")
        counts = np.bincount(streets.reach_targets, minlength=num_roads)
        self._back_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._back_sources = source[by_target]
        self._back_turns = self.traffic.turn_cost[by_target]

    def start_times(self) -> IntArray:
        """When each trip starts, in seconds since the epoch. [num_trips]"""
        first = int(FIRST_DAY.astype(np.int64))
        settings = self.settings
        seconds = _start_seconds(self.key, settings.num_trips, settings.weeks, start_shares())
        return first + seconds

    def chunks(self, threads: int | None = None) -> Iterator[TripChunk]:
        """All trips, `CHUNK_TRIPS` at a time."""
        threads = threads or usable_cpus()
        start_s = self.start_times()
        with ThreadPoolExecutor(threads) as pool:
            for first in range(0, self.settings.num_trips, CHUNK_TRIPS):
                count = min(CHUNK_TRIPS, self.settings.num_trips - first)
                yield self._chunk(first, start_s[first : first + count], threads, pool)

    def _chunk(
        self, first: int, start_s: IntArray, threads: int, pool: ThreadPoolExecutor
    ) -> TripChunk:
        count, width = len(start_s), self.settings.max_trip_roads
        driver = np.empty(count, dtype=np.int64)
        roads = np.empty((count, width), dtype=np.int32)
        elapsed_s = np.empty((count, width), dtype=np.int32)
        length = np.zeros(count, dtype=np.int64)
        clock_s = start_s - int(FIRST_DAY.astype(np.int64))
        missing = np.arange(count)
        for draw in range(_MAX_DRAWS):
            wanted = self._draw(first, missing, clock_s, draw)
            parts = _split_by_tree(wanted, threads)
            list(
                pool.map(lambda p: self._route(p, first, clock_s, roads, elapsed_s, length), parts)
            )
            driver[wanted.trip] = wanted.driver
            missing = np.flatnonzero(length == 0)
            if len(missing) == 0:
                break
        else:
            raise RuntimeError("the city is too small for trips of five roads")
        inside = np.arange(width) < length[:, None]
        offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        return TripChunk(first, driver, start_s, offsets, roads[inside], elapsed_s[inside])

    def _draw(self, first: int, trips: IntArray, clock_s: IntArray, draw: int) -> _Wanted:
        drivers, places = self.drivers, self.places
        driver, origin, destination = _draw_trips(
            self.key, draw, first, trips, clock_s, drivers.home, drivers.work,
            places.road_offsets, places.roads_by_zone, places.zone_of_road,
            places.road_cumulative, places.zone_cumulative,
        )  # fmt: skip
        bucket = _bucket_of(clock_s[trips])
        kind = drivers.profile[driver] * NUM_HABIT_GROUPS + drivers.habit_group[driver]
        tree = (destination * (len(PROFILES) * NUM_HABIT_GROUPS) + kind) * NUM_BUCKETS + bucket
        order = np.argsort(tree, kind="stable")
        return _Wanted(trips[order], driver[order], origin[order], destination[order], tree[order])

    def _route(
        self, wanted: _Wanted, first: int, clock_s: IntArray, roads: NDArray[np.int32],
        elapsed_s: NDArray[np.int32], length: IntArray,
    ) -> None:  # fmt: skip
        traffic, streets = self.traffic, self.streets
        bounds = np.concatenate(
            [[0], np.flatnonzero(np.diff(wanted.tree)) + 1, [len(wanted.tree)]]
        ).astype(np.int64)
        route_trips(
            self.key, first, bounds, wanted.trip, wanted.driver, wanted.origin,
            wanted.destination, wanted.tree, clock_s, self.drivers.speed_factor,
            streets.reach_offsets, streets.reach_targets, traffic.turn_cost,
            self._back_offsets, self._back_sources, self._back_turns,
            streets.chain, traffic.route_cost.reshape(-1, streets.num_roads), traffic.habit,
            traffic.travel_s, traffic.signal_s, roads, elapsed_s, length,
        )  # fmt: skip


@dataclass(frozen=True)
class _Wanted:
    """Trips to route, sorted by the search tree they need."""

    trip: IntArray  # number within the chunk
    driver: IntArray
    origin: IntArray
    destination: IntArray
    tree: IntArray

    def part(self, low: int, high: int) -> _Wanted:
        return _Wanted(
            self.trip[low:high], self.driver[low:high], self.origin[low:high],
            self.destination[low:high], self.tree[low:high],
        )  # fmt: skip


def usable_cpus() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _split_by_tree(wanted: _Wanted, threads: int) -> list[_Wanted]:
    """Parts for the threads; no tree is in two parts."""
    count = len(wanted.trip)
    cuts = np.linspace(0, count, 4 * threads + 1).astype(np.int64)[1:-1]
    cuts = np.searchsorted(wanted.tree, wanted.tree[cuts], side="left") if count else cuts
    edges = np.unique(np.concatenate([[0], cuts, [count]]))
    return [wanted.part(int(low), int(high)) for low, high in itertools.pairwise(edges)]


def _bucket_of(clock_s: IntArray) -> IntArray:
    day, hour = clock_s // _DAY_S % 7, clock_s % _DAY_S // 3600
    choices = [day >= 5, (hour < 6) | (hour >= 21), hour < 10, hour < 16]
    return np.select(choices, [4, 0, 1, 2], 3).astype(np.int64)


@numba.njit(nogil=True, cache=True)
def _start_seconds(key, count, weeks, shares):  # type: ignore[no-untyped-def]
    out = np.empty(count, dtype=np.int64)
    week_s = 7 * _DAY_S
    for trip in range(count):
        trip_key = mix(mix(key, 1), trip)
        half_hour = first_above(shares, uniform(trip_key, 0))
        week = int(uniform(trip_key, 1) * weeks)
        out[trip] = week * week_s + half_hour * 1800 + int(uniform(trip_key, 2) * 1800)
    return out


@numba.njit(nogil=True, cache=True)
def _road_in_zone(cumulative, offsets, roads, zone, share):  # type: ignore[no-untyped-def]
    low, high = offsets[zone], offsets[zone + 1]
    before = cumulative[low - 1] if low > 0 else 0.0
    wanted = before + share * (cumulative[high - 1] - before)
    return roads[low + first_above(cumulative[low:high], wanted)]


@numba.njit(nogil=True, cache=True)
def _draw_trips(  # type: ignore[no-untyped-def]
    key, draw, first, trips, clock_s, home, work, road_offsets, roads_by_zone, zone_of_road,
    road_cumulative, zone_cumulative,
):  # fmt: skip
    """Driver, origin and destination: commutes in the rush hours, else from and to anywhere."""
    count = len(trips)
    driver = np.empty(count, dtype=np.int64)
    origin = np.empty(count, dtype=np.int64)
    destination = np.empty(count, dtype=np.int64)
    for i in range(count):
        trip_key = mix(mix(key, 1000 + draw), first + trips[i])
        driver[i] = int(uniform(trip_key, 0) * len(home))
        hour = clock_s[trips[i]] % _DAY_S / 3600.0
        weekend = clock_s[trips[i]] // _DAY_S % 7 >= 5
        choice = uniform(trip_key, 1)
        to_work, to_home = 0.10, 0.18
        if weekend:
            to_work, to_home = 0.04, 0.08
        elif 6.0 <= hour < 10.0:
            to_work, to_home = 0.45, 0.48
        elif 16.0 <= hour < 20.5:
            to_work, to_home = 0.04, 0.45
        if choice < to_work:
            origin[i], destination[i] = home[driver[i]], work[driver[i]]
            continue
        if choice < to_home:
            origin[i], destination[i] = work[driver[i]], home[driver[i]]
            continue
        leaves_home = uniform(trip_key, 2) < 0.35
        if leaves_home:
            origin[i] = home[driver[i]]
        else:
            total = road_cumulative[2, -1]
            slot = first_above(road_cumulative[2], uniform(trip_key, 3) * total)
            origin[i] = roads_by_zone[slot]
        late = hour >= 18.0 or hour < 4.0
        purpose = 0 if uniform(trip_key, 4) < (0.6 if late else 0.3) and not leaves_home else 2
        row = zone_cumulative[purpose, zone_of_road[origin[i]]]
        zone = first_above(row, uniform(trip_key, 5) * row[-1])
        destination[i] = _road_in_zone(
            road_cumulative[purpose], road_offsets, roads_by_zone, zone,
            uniform(trip_key, 6),
        )  # fmt: skip
    return driver, origin, destination
