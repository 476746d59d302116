"""What is usual in a city, learned from its training trips alone.

How long a trip between two places takes at that time of day, how much longer than the shortest
way it is, and which roads carry how many trips. Places are coarsened until enough training trips
support them, and how many trips each level answers for is part of the result: a number that rests
on the mean of the whole city must not pass for one about an origin and a destination.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.clock import SECONDS_PER_DAY, is_weekend
from data.geometry import EARTH_RADIUS_M, haversine
from data.road_network import RoadNetwork
from data.routes import RouteFinder
from metrics.od import OdGrid
from metrics.trips import Trips

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_SUPPORT = 5
PERCENTILE = 95
DETOURS_SAMPLED = 4000
CELL_FACTORS = (1, 4, 16)  # times the grid size of the evaluation
MIN_STRAIGHT_M = 50.0
NIGHT_BEFORE, NIGHT_FROM = 6, 22
PEAK_HOURS = (7, 8, 17, 18)


def period_of(start_time: IntArray) -> IntArray:
    """The kind of hour a trip starts in: 0 night, 1 peak, 2 day, 3 weekend day. [n]"""
    day, second = np.divmod(start_time, SECONDS_PER_DAY)
    hour = second // 3600
    period = np.where(np.isin(hour, PEAK_HOURS), 1, 2)
    period = np.where(is_weekend(day), 3, period)
    return np.where((hour < NIGHT_BEFORE) | (hour >= NIGHT_FROM), 0, period)


@dataclass(frozen=True)
class TripFacts:
    """Plain numbers of each trip; NaN where there is no such number. [n] each"""

    seconds: FloatArray
    driven_m: FloatArray  # lengths of the roads entered after the first
    straight_m: FloatArray  # between the centres of the first and the last road

    @classmethod
    def of(cls, trips: Trips, network: RoadNetwork) -> TripFacts:
        """The facts of trips; a trip of one road or without duration has none."""
        first, last = trips.offsets[:-1], trips.offsets[1:] - 1
        seconds = (trips.times[last] - trips.times[first]).astype(np.float64)
        length = network.length_m[trips.road_ids]
        driven = np.add.reduceat(length, first) - length[first]
        lon, lat = network.center_lon, network.center_lat
        origin, destination = trips.origin, trips.destination
        straight = haversine(
            lon[origin], lat[origin], lon[destination], lat[destination], EARTH_RADIUS_M
        )
        moving = (trips.lengths > 1) & (seconds > 0) & (driven > 0)
        straight = np.maximum(straight, MIN_STRAIGHT_M)
        return cls(*(np.where(moving, values, np.nan) for values in (seconds, driven, straight)))

    @property
    def pace(self) -> FloatArray:
        """Seconds for each metre of straight line."""
        return self.seconds / self.straight_m

    @property
    def speed(self) -> FloatArray:
        """Metres driven in a second."""
        return self.driven_m / self.seconds


@dataclass(frozen=True)
class _Level:
    """Medians by key, of the keys with enough training trips."""

    name: str
    key_of: Callable[[Trips], IntArray]
    keys: IntArray  # [k], ascending
    pace: FloatArray  # [k]
    speed: FloatArray  # [k]


@dataclass(frozen=True)
class Expected:
    """What is usual for each trip, and which level says so (−1: none). [n] each"""

    seconds: FloatArray
    speed: FloatArray
    level: IntArray


@dataclass(frozen=True)
class Usual:
    """The training trips' habits."""

    network: RoadNetwork
    trips: Trips
    levels: list[_Level]
    traffic: IntArray  # [R], how many training trips enter each road
    grid: OdGrid  # the coarsest one

    @classmethod
    def of(cls, trips: Trips, network: RoadNetwork, grid_size: float) -> Usual:
        """Learns from training trips."""
        facts = TripFacts.of(trips, network)
        grids = [OdGrid.over(network, grid_size * factor) for factor in CELL_FACTORS]
        levels = [
            _level(name, key_of, trips, facts) for name, key_of in _keys(grids, network, grid_size)
        ]
        traffic = np.bincount(trips.road_ids, minlength=network.num_roads)
        return cls(network, trips, levels, traffic, grids[-1])

    @cached_property
    def finder(self) -> RouteFinder:
        """Shortest ways."""
        return RouteFinder.by_length(self.network)

    def expected(self, trips: Trips) -> Expected:
        """What is usual between these places at these times, from the finest level that knows."""
        straight = TripFacts.of(trips, self.network).straight_m
        seconds, speed = np.full(len(trips), np.nan), np.full(len(trips), np.nan)
        level = np.full(len(trips), -1, dtype=np.int64)
        for number, each in enumerate(self.levels):
            open_trips = np.flatnonzero(level < 0)
            key = each.key_of(trips)[open_trips]
            place = np.minimum(np.searchsorted(each.keys, key), max(len(each.keys) - 1, 0))
            known = (each.keys[place] == key) if len(each.keys) else np.zeros(len(key), dtype=bool)
            answered = open_trips[known]
            seconds[answered] = each.pace[place[known]] * straight[answered]
            speed[answered] = each.speed[place[known]]
            level[answered] = number
        return Expected(seconds, speed, level)

    def detour(self, trips: Trips) -> FloatArray:
        """Length driven over that of the shortest way between the same two roads. [n]"""
        driven = TripFacts.of(trips, self.network).driven_m
        shortest = self.finder.costs(
            trips.origin.astype(np.int64), trips.destination.astype(np.int64)
        )
        usable = np.isfinite(shortest) & (shortest > 0)
        return np.divide(driven, shortest, out=np.full(len(trips), np.nan), where=usable)

    @cached_property
    def limits(self) -> Limits:
        """The training trips' own 95th percentiles; detours from a sample of them."""
        rng = np.random.default_rng(0)
        sampled = self.trips
        if len(self.trips) > DETOURS_SAMPLED:
            chosen = np.sort(rng.choice(len(self.trips), DETOURS_SAMPLED, replace=False))
            sampled = self.trips.select(chosen)
        facts, expected = TripFacts.of(self.trips, self.network), self.expected(self.trips)
        return Limits(
            _percentile(self.detour(sampled)),
            _percentile(facts.seconds / expected.seconds),
            _percentile(facts.speed / expected.speed),
        )


@dataclass(frozen=True)
class Limits:
    """Ratios that 95 of 100 training trips stay below."""

    detour: float
    duration_ratio: float
    speed_ratio: float


def _keys(
    grids: list[OdGrid], network: RoadNetwork, grid_size: float
) -> list[tuple[str, Callable[[Trips], IntArray]]]:
    """The ways to group trips, from the finest to the whole city."""

    def with_hour(grid: OdGrid) -> Callable[[Trips], IntArray]:
        return lambda trips: grid.od_key(trips) * 4 + period_of(trips.start_time)

    def distance_class(trips: Trips) -> IntArray:
        straight = np.nan_to_num(TripFacts.of(trips, network).straight_m, nan=MIN_STRAIGHT_M)
        return np.floor(2 * np.log2(straight)).astype(np.int64) * 4 + period_of(trips.start_time)

    named: list[tuple[str, Callable[[Trips], IntArray]]] = []
    for factor, grid in zip(CELL_FACTORS, grids, strict=True):
        size = f"{grid_size * factor:g}°"
        named.append((f"cells of {size} and hour", with_hour(grid)))
        named.append((f"cells of {size}", grid.od_key))
    named.append(("distance and hour", distance_class))
    named.append(("whole city", lambda trips: np.zeros(len(trips), dtype=np.int64)))
    return named


def _level(
    name: str, key_of: Callable[[Trips], IntArray], trips: Trips, facts: TripFacts
) -> _Level:
    usable = np.flatnonzero(~np.isnan(facts.seconds))
    key = key_of(trips)[usable]
    keys, counts = np.unique(key, return_counts=True)
    kept = counts >= min(MIN_SUPPORT, max(len(key), 1))
    medians = [_medians(key, values[usable], counts)[kept] for values in (facts.pace, facts.speed)]
    return _Level(name, key_of, keys[kept], medians[0], medians[1])


def _medians(key: IntArray, values: FloatArray, counts: IntArray) -> FloatArray:
    """The median of the values of each key, keys ascending."""
    ordered = values[np.lexsort((values, key))]
    start = np.cumsum(counts) - counts
    return (ordered[start + (counts - 1) // 2] + ordered[start + counts // 2]) / 2.0


def _percentile(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(np.percentile(known, PERCENTILE)) if len(known) else float("nan")
