"""The compiled part of demand: when each trip starts, who drives it, where from and where to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.clock import SECONDS_PER_DAY
from data.demo_city.search import Number, first_above, mix, uniform
from runtime.jit import kernel

_HALF_HOUR_S = 1800
_HOME, _LEISURE = 0, 2

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class DemandTables(NamedTuple):
    """Drivers' homes and works and the gravity model (see `demand.Places`)."""

    home: IntArray  # [D]
    work: IntArray  # [D]
    road_offsets: IntArray  # [Z + 1]
    roads_by_zone: IntArray  # [R]
    zone_of_road: IntArray  # [R]
    road_cumulative: FloatArray  # [3, R]
    zone_cumulative: FloatArray  # [3, Z, Z]


@kernel()
def draw_starts(key: Number, count: Number, weeks: Number, shares: FloatArray) -> IntArray:
    """Start times in seconds since the first day's midnight. [count]"""
    out = np.empty(count, dtype=np.int64)
    for trip in range(count):
        trip_key = mix(mix(key, 1), trip)
        half_hour = first_above(shares, uniform(trip_key, 0))
        week = int(uniform(trip_key, 1) * weeks)
        within = int(uniform(trip_key, 2) * _HALF_HOUR_S)
        out[trip] = week * 7 * SECONDS_PER_DAY + half_hour * _HALF_HOUR_S + within
    return out


@kernel()
def _commute_shares(clock_s: Number) -> tuple[float, float]:
    """The shares of trips to work and of trips back home, by time of day."""
    hour = clock_s % SECONDS_PER_DAY / 3600.0
    if clock_s // SECONDS_PER_DAY % 7 >= 5:
        return 0.04, 0.04
    if 6.0 <= hour < 10.0:
        return 0.45, 0.03
    if 16.0 <= hour < 20.5:
        return 0.04, 0.41
    return 0.10, 0.08


@kernel()
def _draw_destination(
    tables: DemandTables, origin: Number, purpose: Number, zone_share: Number, road_share: Number
) -> Number:
    row = tables.zone_cumulative[purpose, tables.zone_of_road[origin]]
    zone = first_above(row, zone_share * row[-1])
    low, high = tables.road_offsets[zone], tables.road_offsets[zone + 1]
    cumulative = tables.road_cumulative[purpose]
    before = cumulative[low - 1] if low > 0 else 0.0
    wanted = before + road_share * (cumulative[high - 1] - before)
    return tables.roads_by_zone[low + first_above(cumulative[low:high], wanted)]


@kernel()
def draw_trips(
    key: Number,
    draw: Number,
    first: Number,
    trips: IntArray,
    clock_s: IntArray,
    tables: DemandTables,
) -> tuple[IntArray, IntArray, IntArray]:
    """Driver, origin, destination: commutes in the rush hours, else from and to anywhere."""
    count = len(trips)
    driver = np.empty(count, dtype=np.int64)
    origin = np.empty(count, dtype=np.int64)
    destination = np.empty(count, dtype=np.int64)
    for i in range(count):
        trip_key = mix(mix(key, 1000 + draw), first + trips[i])
        driver[i] = int(uniform(trip_key, 0) * len(tables.home))
        home, work = tables.home[driver[i]], tables.work[driver[i]]
        to_work, to_home = _commute_shares(clock_s[trips[i]])
        choice = uniform(trip_key, 1)
        if choice < to_work:
            origin[i], destination[i] = home, work
            continue
        if choice < to_work + to_home:
            origin[i], destination[i] = work, home
            continue
        leaves_home = uniform(trip_key, 2) < 0.35
        origin[i] = home
        if not leaves_home:
            leisure = tables.road_cumulative[_LEISURE]
            slot = first_above(leisure, uniform(trip_key, 3) * leisure[-1])
            origin[i] = tables.roads_by_zone[slot]
        hour = clock_s[trips[i]] % SECONDS_PER_DAY / 3600.0
        homewards = 0.6 if hour >= 18.0 or hour < 4.0 else 0.3
        purpose = _LEISURE
        if not leaves_home and uniform(trip_key, 4) < homewards:
            purpose = _HOME
        destination[i] = _draw_destination(
            tables, origin[i], purpose, uniform(trip_key, 5), uniform(trip_key, 6)
        )
    return driver, origin, destination
