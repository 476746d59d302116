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

import numpy as np
from numpy.typing import NDArray

from data.clock import SECONDS_PER_DAY
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
from data.demo_city.drawing import DemandTables, draw_starts, draw_trips
from data.demo_city.routing import RouteTables, TripTable, WantedTrips, route_trips
from data.demo_city.settings import DemoCitySettings
from data.demo_city.streets import Streets

IntArray = NDArray[np.int64]

CHUNK_TRIPS = 65_536
NUM_KINDS = len(PROFILES) * NUM_HABIT_GROUPS  # of drivers
_MAX_DRAWS = 400
FIRST_DAY_S = int(FIRST_DAY.astype(np.int64))


@dataclass(frozen=True)
class TripChunk:
    """Finished trips, in the order of their numbers, which start at `first`."""

    first: int
    driver: IntArray  # [n]
    clock_s: IntArray  # [n] start, in seconds since the first day's midnight
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
        self._demand_tables = _demand_tables(self.places, self.drivers)
        self.route_tables = _route_tables(streets, self.traffic, self.drivers)

    def start_times(self) -> IntArray:
        """When each trip starts, in seconds since the epoch. [num_trips]"""
        settings = self.settings
        shares = start_shares()
        return FIRST_DAY_S + draw_starts(self.key, settings.num_trips, settings.weeks, shares)

    def chunks(
        self, threads: int | None = None, chunk_trips: int = CHUNK_TRIPS
    ) -> Iterator[TripChunk]:
        """All trips, `chunk_trips` at a time."""
        threads = threads or usable_cpus()
        start_s = self.start_times()
        with ThreadPoolExecutor(threads) as pool:
            for first in range(0, self.settings.num_trips, chunk_trips):
                count = min(chunk_trips, self.settings.num_trips - first)
                yield self._chunk(first, start_s[first : first + count], threads, pool)

    def _chunk(
        self, first: int, start_s: IntArray, threads: int, pool: ThreadPoolExecutor
    ) -> TripChunk:
        count, width = len(start_s), self.settings.max_trip_roads
        driver = np.empty(count, dtype=np.int64)
        table = TripTable(
            first=first,
            clock_s=start_s - FIRST_DAY_S,
            roads=np.empty((count, width), dtype=np.int32),
            elapsed_s=np.empty((count, width), dtype=np.int32),
            length=np.zeros(count, dtype=np.int64),
        )
        missing = np.arange(count)
        for draw in range(_MAX_DRAWS):
            wanted = self._draw(table, missing, draw)
            parts = _split_by_tree(wanted, threads)
            list(pool.map(lambda part: self._route(part, table), parts))
            driver[wanted.trip] = wanted.driver
            missing = np.flatnonzero(table.length == 0)
            if len(missing) == 0:
                break
        else:
            raise RuntimeError("the city is too small for trips of five roads")
        inside = np.arange(width) < table.length[:, None]
        offsets = np.concatenate([[0], np.cumsum(table.length)]).astype(np.int64)
        return TripChunk(
            first, driver, table.clock_s, offsets, table.roads[inside], table.elapsed_s[inside]
        )

    def _draw(self, table: TripTable, trips: IntArray, draw: int) -> WantedTrips:
        driver, origin, destination = draw_trips(
            self.key, draw, table.first, trips, table.clock_s, self._demand_tables
        )
        return self._wanted(trips, driver, origin, destination, table)

    def _wanted(
        self,
        trips: IntArray,
        driver: IntArray,
        origin: IntArray,
        destination: IntArray,
        table: TripTable,
    ) -> WantedTrips:
        kind = self.drivers.profile[driver] * NUM_HABIT_GROUPS + self.drivers.habit_group[driver]
        tree = tree_number(destination, kind, bucket_of(table.clock_s[trips]))
        wanted = WantedTrips(trips, driver, origin, destination, tree)
        order = np.argsort(tree, kind="stable")
        return WantedTrips(*(column[order] for column in wanted))

    def route(
        self, driver: IntArray, origin: IntArray, destination: IntArray, table: TripTable
    ) -> None:
        """Fills `table` with trips whose drivers and ends are given; too short ones stay empty."""
        trips = np.arange(len(driver))
        self._route(self._wanted(trips, driver, origin, destination, table), table)

    def _route(self, wanted: WantedTrips, table: TripTable) -> None:
        changes = np.flatnonzero(np.diff(wanted.tree)) + 1
        bounds = np.concatenate([[0], changes, [len(wanted.tree)]]).astype(np.int64)
        route_trips(self.key, bounds, wanted, self.route_tables, table)


def _demand_tables(places: Places, drivers: Drivers) -> DemandTables:
    return DemandTables(
        home=drivers.home,
        work=drivers.work,
        road_offsets=places.road_offsets,
        roads_by_zone=places.roads_by_zone,
        zone_of_road=places.zone_of_road,
        road_cumulative=places.road_cumulative,
        zone_cumulative=places.zone_cumulative,
    )


def _route_tables(streets: Streets, traffic: Traffic, drivers: Drivers) -> RouteTables:
    num_roads = streets.num_roads
    source = np.repeat(np.arange(num_roads), np.diff(streets.reach_offsets))
    by_target = np.argsort(streets.reach_targets, kind="stable")
    counts = np.bincount(streets.reach_targets, minlength=num_roads)
    return RouteTables(
        reach_offsets=streets.reach_offsets,
        reach_targets=streets.reach_targets,
        turn_cost=traffic.turn_cost,
        back_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        back_sources=source[by_target],
        back_turns=traffic.turn_cost[by_target],
        chain=streets.chain,
        route_cost=traffic.route_cost,
        habit=traffic.habit,
        travel_s=traffic.travel_s,
        signal_s=traffic.signal_s,
        speed_factor=drivers.speed_factor,
    )


def usable_cpus() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _split_by_tree(wanted: WantedTrips, threads: int) -> list[WantedTrips]:
    """Parts for the threads; no tree is in two parts."""
    count = len(wanted.trip)
    cuts = np.linspace(0, count, 4 * threads + 1).astype(np.int64)[1:-1]
    cuts = np.searchsorted(wanted.tree, wanted.tree[cuts], side="left") if count else cuts
    edges = np.unique(np.concatenate([[0], cuts, [count]]))
    return [
        WantedTrips(*(column[low:high] for column in wanted))
        for low, high in itertools.pairwise(edges.tolist())
    ]


def tree_number(destination: IntArray, kind: IntArray, bucket: IntArray) -> IntArray:
    """The search tree of a destination, a kind of driver and a time of day."""
    return (destination * NUM_KINDS + kind) * NUM_BUCKETS + bucket


def bucket_of(clock_s: IntArray) -> IntArray:
    """The time of day (see `demand.BUCKET_HOURS`) of seconds since the first day's midnight."""
    day, hour = clock_s // SECONDS_PER_DAY % 7, clock_s % SECONDS_PER_DAY // 3600
    choices = [day >= 5, (hour < 6) | (hour >= 21), hour < 10, hour < 16]
    return np.select(choices, [4, 0, 1, 2], 3).astype(np.int64)
