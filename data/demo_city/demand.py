"""Who drives where and when in a demo city: drivers, places, rush hours, congestion.

Everything here is a table; drawing single trips from them is `data.demo_city.trips`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.demo_city.plan import MOTORWAY, RESIDENTIAL
from data.demo_city.streets import Streets

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# A Monday, 00:00 UTC; clock times of the city are written as UTC.
FIRST_DAY = np.datetime64("2015-11-02", "s")

PROFILES = ("motorway lover", "shortest way", "avoids congestion", "creature of habit")
PROFILE_SHARES = (0.35, 0.25, 0.2, 0.2)
NUM_HABIT_GROUPS = 4

# Hours stand for the times of day that route choice tells apart: night, morning rush, midday,
# evening rush, weekend.
BUCKET_HOURS = ((2, 0), (8, 0), (13, 0), (18, 0), (13, 1))
NUM_BUCKETS = len(BUCKET_HOURS)

FREE_SPEED_KMH = np.array([80.0, 42.0, 50.0, 42.0, 35.0, 25.0])
CONGESTION_BY_LEVEL = np.array([0.9, 0.6, 1.3, 1.1, 0.8, 0.25])

# How far (log) unmapped taste makes whole streets and single roads liked or avoided.
CHAIN_TASTE, ROAD_TASTE = 0.55, 0.35

# By half hour: how many trips start, on weekdays and at the weekend.
_WEEKDAY_STARTS = np.interp(
    np.arange(48) / 2,
    [0, 2, 4, 6, 7.5, 8.5, 10, 12, 14, 16, 17.5, 18.5, 20, 22, 24],
    [1.2, 0.5, 0.4, 2.0, 8.0, 8.5, 4.5, 5.0, 4.5, 6.0, 9.0, 8.5, 5.5, 3.5, 1.2],
)
_WEEKEND_STARTS = np.interp(
    np.arange(48) / 2,
    [0, 2, 5, 8, 11, 14, 17, 20, 22, 24],
    [3.0, 1.8, 0.5, 2.0, 6.0, 7.0, 6.5, 6.0, 4.5, 3.0],
)
_DAY_SHARES = np.array([1.0, 1.0, 1.02, 1.02, 1.1, 0.8, 0.65])


@dataclass(frozen=True)
class Places:
    """A zone-based gravity model. Purposes: 0 home, 1 work, 2 leisure."""

    road_offsets: IntArray  # [Z + 1] into roads_by_zone
    roads_by_zone: IntArray  # [R]
    zone_of_road: IntArray  # [R]
    road_cumulative: FloatArray  # [3, R] cumulative weights in the order of roads_by_zone
    zone_cumulative: FloatArray  # [3, Z, Z] cumulative pull of zones on trips from a zone


@dataclass(frozen=True)
class Drivers:
    """D drivers: home and work (roads), profile, habit group, speed factor."""

    home: IntArray
    work: IntArray
    profile: IntArray
    habit_group: IntArray
    speed_factor: FloatArray


@dataclass(frozen=True)
class Traffic:
    """What driving costs. Only lengths and types are in the files; the rest shows in trips."""

    travel_s: NDArray[np.float32]  # [2, 24, R] seconds by weekend and hour, without noise
    route_cost: NDArray[np.float32]  # [P, NUM_BUCKETS, R]
    turn_cost: NDArray[np.float32]  # [E] seconds for driving from a road onto the next
    signal_s: FloatArray  # [R] mean wait at the end of a road
    habit: NDArray[np.float32]  # [P * NUM_HABIT_GROUPS, C] cost factor by chain of streets


def start_shares() -> FloatArray:
    """Cumulative shares of the 7 × 48 half hours of a week in which trips start."""
    week = np.stack([_WEEKDAY_STARTS] * 5 + [_WEEKEND_STARTS] * 2)
    week = week / week.sum(axis=1, keepdims=True) * _DAY_SHARES[:, None]
    return np.cumsum(week.ravel()) / week.sum()


def make_places(streets: Streets, rng: np.random.Generator) -> Places:
    """Puts homes, jobs and leisure on the roads: jobs crowd the centre, homes surround it."""
    span = float(np.hypot(streets.x, streets.y).max())
    size = max(350.0, span / 9)
    cell = np.floor(streets.x / size) * 4096 + np.floor(streets.y / size)
    _, zone = np.unique(cell, return_inverse=True)
    zone = zone.reshape(-1).astype(np.int64)
    num_zones = int(zone.max()) + 1
    zone_x, zone_y = (np.bincount(zone, v) / np.bincount(zone) for v in (streets.x, streets.y))
    centrality = np.hypot(zone_x, zone_y) / span
    subcentres = rng.choice(num_zones, min(3, num_zones), replace=False)
    near = np.zeros(num_zones)
    for subcentre in subcentres:
        gap = np.hypot(zone_x - zone_x[subcentre], zone_y - zone_y[subcentre])
        near += np.exp(-((gap / (0.18 * span)) ** 2))
    pull = np.stack(
        [
            0.35 + np.exp(-(((centrality - 0.45) / 0.3) ** 2)),
            0.12 + 2.5 * np.exp(-((centrality / 0.28) ** 2)) + 0.8 * near,
            0.2 + 1.5 * np.exp(-((centrality / 0.4) ** 2)) + 1.2 * near,
        ]
    ) * rng.lognormal(0, 0.35, (3, num_zones))

    reachable_by_door = np.where(streets.level <= MOTORWAY + 1, 0.0, streets.length_m)
    reachable_by_door = reachable_by_door * np.where(streets.level == RESIDENTIAL, 1.0, 0.45)
    # A few addresses are far more popular than most.
    weight = reachable_by_door * rng.lognormal(0, np.array([[0.6], [1.1], [1.2]]), (3, len(zone)))
    order = np.argsort(zone, kind="stable")
    zone_weight = np.stack([np.bincount(zone, w, minlength=num_zones) for w in weight])
    gap = np.hypot(zone_x[:, None] - zone_x, zone_y[:, None] - zone_y)
    decay = np.exp(-gap / 3600.0) * np.minimum(1.0, 0.03 + (gap / 900.0) ** 2)
    zone_pull = (pull * (zone_weight > 0))[:, None, :] * decay[None] + 1e-12
    return Places(
        road_offsets=np.searchsorted(zone[order], np.arange(num_zones + 1)).astype(np.int64),
        roads_by_zone=order.astype(np.int64),
        zone_of_road=zone,
        road_cumulative=np.cumsum(weight[:, order], axis=1),
        zone_cumulative=np.cumsum(zone_pull, axis=2),
    )


def make_drivers(places: Places, num_trips: int, rng: np.random.Generator) -> Drivers:
    """Drivers with about a dozen trips each."""
    count = max(20, num_trips // 12)
    total = places.road_cumulative[0, -1]
    homes = np.searchsorted(places.road_cumulative[0], rng.random(count) * total, side="right")
    home = places.roads_by_zone[np.minimum(homes, len(places.roads_by_zone) - 1)]
    work = np.empty(count, dtype=np.int64)
    # Grouped by the home's zone: one cumulative row of the gravity model each.
    for zone in np.unique(places.zone_of_road[home]):
        members = np.flatnonzero(places.zone_of_road[home] == zone)
        row = places.zone_cumulative[1, zone]
        zones = np.searchsorted(row, rng.random(len(members)) * row[-1], side="right")
        for member, target in zip(members, np.minimum(zones, len(row) - 1)):
            work[member] = _road_in_zone(places, 1, int(target), rng.random())
    return Drivers(
        home=home,
        work=work,
        profile=rng.choice(len(PROFILES), count, p=PROFILE_SHARES).astype(np.int64),
        habit_group=rng.integers(0, NUM_HABIT_GROUPS, count),
        speed_factor=rng.lognormal(0, 0.1, count),
    )


def _road_in_zone(places: Places, purpose: int, zone: int, share: float) -> int:
    low, high = int(places.road_offsets[zone]), int(places.road_offsets[zone + 1])
    cumulative = places.road_cumulative[purpose]
    before = cumulative[low - 1] if low > 0 else 0.0
    wanted = before + share * (cumulative[high - 1] - before)
    slot = low + int(np.searchsorted(cumulative[low:high], wanted, side="right"))
    return int(places.roads_by_zone[min(slot, high - 1)])


def make_traffic(streets: Streets, rng: np.random.Generator) -> Traffic:
    """Speeds, congestion, liked and avoided streets, and what each kind of driver makes of them."""
    num_chains = int(streets.chain.max()) + 1
    speed = FREE_SPEED_KMH[streets.level] * rng.lognormal(0, 0.12, num_chains)[streets.chain]
    free_s = streets.length_m / (speed / 3.6)
    slowdown = _slowdown(streets, rng)  # [2, 24, R]
    travel_s = free_s * (1.0 + slowdown)
    # Taste: narrow, steep, scenic, badly paved, watched by cameras ... nothing of it is mapped.
    taste = rng.lognormal(0, CHAIN_TASTE, num_chains)[streets.chain]
    taste = taste * rng.lognormal(0, ROAD_TASTE, streets.num_roads)
    taste = np.where(streets.level <= MOTORWAY + 1, 1.0, taste)
    route_cost = np.empty((len(PROFILES), NUM_BUCKETS, streets.num_roads))
    is_motorway = streets.level <= MOTORWAY + 1
    for bucket, (hour, weekend) in enumerate(BUCKET_HOURS):
        usual_s = travel_s[weekend, hour]
        jam = 1.0 + slowdown[weekend, hour]
        route_cost[0, bucket] = usual_s * np.where(is_motorway, 0.7, 1.0) * taste
        route_cost[1, bucket] = (0.65 * streets.length_m / 9.0 + 0.35 * usual_s) * taste
        route_cost[2, bucket] = usual_s * jam**0.8 * taste
        route_cost[3, bucket] = usual_s * taste**1.2
    signal_s = np.array([0.0, 6.0, 9.0, 7.0, 5.0, 2.5])[streets.level]
    spread = np.array([0.08, 0.08, 0.08, 0.25]).repeat(NUM_HABIT_GROUPS)[:, None]
    return Traffic(
        travel_s=travel_s.astype(np.float32),
        route_cost=np.maximum(route_cost, 0.5).astype(np.float32),
        turn_cost=_turn_costs(streets).astype(np.float32),
        signal_s=signal_s,
        habit=np.exp(spread * rng.standard_normal((len(spread), num_chains))).astype(np.float32),
    )


def _slowdown(streets: Streets, rng: np.random.Generator) -> FloatArray:
    """Share of travel time that congestion adds: rush hours, inbound early and outbound late."""
    hours = np.arange(24)
    morning = np.exp(-(((hours - 8) / 1.4) ** 2))
    evening = np.exp(-(((hours - 18) / 1.7) ** 2))
    midday = 0.45 * np.exp(-(((hours - 13) / 4.0) ** 2))
    weekend = 0.6 * np.exp(-(((hours - 15) / 4.0) ** 2))
    distance = np.hypot(streets.x, streets.y)
    centrality = 0.35 + np.exp(-((distance / (0.55 * distance.max())) ** 2))
    to_centre = np.arctan2(-streets.y, -streets.x)
    inbound = 0.5 + 0.5 * np.cos(streets.heading.mean(axis=1) - to_centre)
    chain_load = rng.lognormal(0, 0.35, int(streets.chain.max()) + 1)[streets.chain]
    load = CONGESTION_BY_LEVEL[streets.level] * centrality * chain_load  # [R]
    weekday = (
        morning[:, None] * (0.5 + inbound) + evening[:, None] * (1.5 - inbound) + midday[:, None]
    )
    everyday = np.broadcast_to(weekend[:, None], weekday.shape)
    return np.stack([weekday, everyday]) * load


def _turn_costs(streets: Streets) -> FloatArray:
    """Seconds lost in turning, more to the left and at crossings of wide streets."""
    source = np.repeat(np.arange(streets.num_roads), np.diff(streets.reach_offsets))
    target = streets.reach_targets
    turn = streets.heading[target, 0] - streets.heading[source, 1]
    turn = np.angle(np.exp(1j * turn))  # positive is left
    cost = np.where(turn > np.radians(35), 8.0, np.where(turn < -np.radians(35), 4.0, 1.0))
    cost = np.where(np.abs(turn) > np.radians(150), 25.0, cost)
    onto_wider = streets.level[target] < streets.level[source]
    return cost + np.where(onto_wider & (streets.level[target] > MOTORWAY + 1), 3.0, 0.0)
