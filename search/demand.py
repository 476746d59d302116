"""Origins, destinations and start times from a smoothed model of demand, not copied from people.

Trips are counted by zones and kinds of hour. A count below the threshold of anonymity `k` is not
used: all such counts together are shared out by a gravity model, which knows only how many trips
begin and end in each zone and how far trips go; within a zone, roads that fewer than `k` trips
begin or end on share theirs by length. Days and seconds are drawn evenly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.clock import HOURS, SECONDS_PER_DAY, hour_of_day_kind, is_weekend
from data.geometry import EARTH_RADIUS_M, haversine
from data.road_network import RoadNetwork
from dataset import TripDataset
from search.od import REQUESTS_A_BLOCK, draw
from search.trips import TripRequests

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DISTANCE_EDGES_M = np.array([0, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, np.inf])
_TRIES = 8  # for a destination that is not the origin
_FINE = 1 << 52


@dataclass(frozen=True)
class Demand:
    """Cumulative distributions, each row ending in 1."""

    hours: FloatArray  # [HOURS]
    origin_zone: FloatArray  # [HOURS, Z]
    destination_zone: FloatArray  # [Z, Z], given the origin's
    origin_road: FloatArray  # [R], running over the roads of a zone
    destination_road: FloatArray  # [R]
    roads: IntArray  # [R], by zone
    zone_offsets: IntArray  # [Z + 1]
    workdays: IntArray  # days since 1970
    weekend_days: IntArray

    @classmethod
    def of(cls, trips: TripDataset, network: RoadNetwork, k: int) -> Demand:
        """Counts the trips of a split."""
        zones = network.require_zones()
        zone, num_zones = zones.road2zone, zones.num_zones
        origin = np.asarray(trips.road_ids[trips.offsets[:-1]], dtype=np.int64)
        destination = np.asarray(trips.road_ids[trips.offsets[1:] - 1], dtype=np.int64)
        starts = np.asarray(trips.starts, dtype=np.int64)
        day, hour = starts // SECONDS_PER_DAY, hour_of_day_kind(starts)
        by_hour = _table(hour, zone[origin], HOURS, num_zones)
        pairs = _table(zone[origin], zone[destination], num_zones, num_zones)
        gravity = _gravity(network, zone, pairs)
        order = np.argsort(zone, kind="stable")
        sizes = np.bincount(zone, minlength=num_zones)
        return cls(
            hours=_cumulative(by_hour.sum(axis=1)),
            origin_zone=_cumulative(_smoothed(by_hour, np.tile(pairs.sum(axis=1), (HOURS, 1)), k)),
            destination_zone=_cumulative(_smoothed(pairs, gravity, k)),
            origin_road=_within_zones(origin, zone, network.length_m, k)[order],
            destination_road=_within_zones(destination, zone, network.length_m, k)[order],
            roads=order,
            zone_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            workdays=_days(day, weekend=False),
            weekend_days=_days(day, weekend=True),
        )


class ModelledOD:
    """`count` requests drawn from the demand; each depends on the seed and its number alone."""

    def __init__(self, trips: TripDataset, network: RoadNetwork, count: int, seed: int, k: int):
        self.trips, self.count, self.seed, self.k = trips, count, seed, k
        self.demand = Demand.of(trips, network, k)

    def __len__(self) -> int:
        return self.count

    def identity(self) -> dict[str, object]:
        """What the requests depend on."""
        return {
            "od_source": "model",
            "k": self.k,
            "trips": self.trips.content_hash,
            "seed": self.seed,
        }

    def requests(self, begin: int, end: int) -> Iterator[TripRequests]:
        """The requests begin:end, drawn as they are needed."""
        for first in range(begin, end, REQUESTS_A_BLOCK):
            numbers = np.arange(first, min(first + REQUESTS_A_BLOCK, end))
            yield self._block(first, numbers)

    def _block(self, first: int, numbers: IntArray) -> TripRequests:
        demand = self.demand
        hour = np.searchsorted(demand.hours, self._fraction(0, numbers), side="right")
        zone = _pick_row(demand.origin_zone, hour, self._fraction(1, numbers))
        origin = self._road(demand.origin_road, zone, self._fraction(2, numbers))
        destination = origin.copy()
        for attempt in range(_TRIES):
            same = np.flatnonzero(destination == origin)
            at = numbers[same]
            to = _pick_row(demand.destination_zone, zone[same], self._fraction(3 + 2 * attempt, at))
            share = self._fraction(4 + 2 * attempt, at)
            destination[same] = self._road(demand.destination_road, to, share)
        start = self._day(hour, numbers) * SECONDS_PER_DAY + (hour % 24) * 3600
        start += (self._fraction(101, numbers) * 3600).astype(np.int64)
        return TripRequests(first, origin, destination, start)

    def _fraction(self, salt: int, numbers: IntArray) -> FloatArray:
        """Even numbers in [0, 1)."""
        return draw(self.seed * 1009 + salt + 1, numbers, _FINE) / _FINE

    def _road(self, cumulative: FloatArray, zone: IntArray, share: FloatArray) -> IntArray:
        """A road of each zone."""
        found = np.searchsorted(cumulative, zone + share, side="right")
        last = self.demand.zone_offsets[zone + 1] - 1
        return self.demand.roads[np.minimum(found, last)]

    def _day(self, hour: IntArray, numbers: IntArray) -> IntArray:
        share = self._fraction(100, numbers)
        days = self.demand.workdays, self.demand.weekend_days
        picked = [each[(share * len(each)).astype(np.int64)] for each in days]
        return np.where(hour >= 24, picked[1], picked[0])


def _table(rows: IntArray, columns: IntArray, height: int, width: int) -> FloatArray:
    counts = np.bincount(rows * width + columns, minlength=height * width)
    return counts.reshape(height, width).astype(np.float64)


def _cumulative(weights: FloatArray) -> FloatArray:
    """Running sums along the last axis, ending in 1; a row without weight counts as even."""
    weights = np.where(weights.sum(axis=-1, keepdims=True) > 0, weights, 1.0)
    sums = np.cumsum(weights, axis=-1)
    return sums / sums[..., -1:]


def _pick_row(cumulative: FloatArray, row: IntArray, share: FloatArray) -> IntArray:
    """An entry of each row by its cumulative distribution."""
    flat = (cumulative + np.arange(len(cumulative))[:, None]).ravel()
    width = cumulative.shape[1]
    found = np.searchsorted(flat, row + share, side="right") - row * width
    return np.clip(found, 0, width - 1)


def _smoothed(counts: FloatArray, prior: FloatArray, k: int) -> FloatArray:
    """Counts of at least `k`; the sum of the others is shared among them by the prior.

    Row by row. [rows, columns]
    """
    kept = np.where(counts >= k, counts, 0.0)
    rest = (counts - kept).sum(axis=1, keepdims=True)
    # A row of which nothing is known follows the prior.
    rest = np.where(counts.sum(axis=1, keepdims=True) > 0, rest, 1.0)
    open_prior = np.where(counts >= k, 0.0, prior)
    total = open_prior.sum(axis=1, keepdims=True)
    even = (counts < k) / np.maximum((counts < k).sum(axis=1, keepdims=True), 1)
    return kept + rest * np.where(total > 0, open_prior / np.maximum(total, 1e-300), even)


def _gravity(network: RoadNetwork, zone: IntArray, pairs: FloatArray) -> FloatArray:
    """Trips from zone to zone as ends and distances alone would have them. [Z, Z]"""
    num_zones = len(pairs)
    size = np.maximum(np.bincount(zone, minlength=num_zones), 1)
    lon, lat = (
        np.bincount(zone, values, minlength=num_zones) / size
        for values in (network.center_lon, network.center_lat)
    )
    metres = haversine(lon[:, None], lat[:, None], lon[None], lat[None], EARTH_RADIUS_M)
    band = np.searchsorted(DISTANCE_EDGES_M[1:-1], metres, side="right")
    ends = pairs.sum(axis=1)[:, None] * pairs.sum(axis=0)[None] / max(pairs.sum(), 1.0)
    bands = len(DISTANCE_EDGES_M) - 1
    seen = np.bincount(band.ravel(), pairs.ravel(), minlength=bands)
    even = np.bincount(band.ravel(), ends.ravel(), minlength=bands)
    return ends * (seen / np.maximum(even, 1e-9))[band]


def _within_zones(
    used: IntArray, zone: IntArray, length_m: NDArray[np.floating], k: int
) -> FloatArray:
    """Zone plus the running share of each road among those of its zone, in order of zone. [R]"""
    count = np.bincount(used, minlength=len(zone)).astype(np.float64)
    kept = np.where(count >= k, count, 0.0)
    metres = np.where(count >= k, 0.0, np.asarray(length_m, dtype=np.float64))
    num_zones = int(zone.max(initial=0)) + 1
    rest, open_metres, total = (
        np.bincount(zone, values, minlength=num_zones)[zone]
        for values in (count - kept, metres, count)
    )
    rest = np.where(total > 0, rest, 1.0)
    weight = kept + rest * metres / np.maximum(open_metres, 1e-9)
    weight /= np.bincount(zone, weight, minlength=num_zones)[zone]
    order = np.argsort(zone, kind="stable")
    running = np.cumsum(weight[order])
    begins = np.concatenate([[0.0], np.cumsum(np.bincount(zone, weight, minlength=num_zones))])
    result = np.empty(len(zone))
    result[order] = zone[order] + running - begins[zone[order]]
    return result


def _days(day: IntArray, *, weekend: bool) -> IntArray:
    """The days of the kind between the first and the last; any day where there is none."""
    days = np.arange(day.min(), day.max() + 1)
    of_kind = days[is_weekend(days) == weekend]
    return of_kind if len(of_kind) else days
