"""What can be said of a trip without any model: its detour, and its duration against the usual."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from critics.scoring.pace import UsualTimes
from critics.scoring.trips import OdSupport
from data.road_network import RoadNetwork
from metrics.trips import Trips
from search.graph import SearchGraph

FloatArray = NDArray[np.float64]

_TRIPS_AT_ONCE = 1024
_ROUTE_WIDTH = 2048
_HOURS = 24
_MIN_TRIPS = 5


def detour_ratio(trips: Trips, network: RoadNetwork) -> FloatArray:
    """Length driven over the length of the shortest way between the same roads. [n]"""
    from search.kernels.shortest_path import find_routes

    graph = SearchGraph.of(network)
    lengths = network.length_m
    shortest = np.zeros(len(trips))
    for first in range(0, len(trips), _TRIPS_AT_ONCE):
        last = min(first + _TRIPS_AT_ONCE, len(trips))
        count = last - first
        route = np.zeros((count, _ROUTE_WIDTH), dtype=np.int64)
        route_len = np.zeros(count, dtype=np.int64)
        find_routes(
            0, count,
            trips.origin[first:last].astype(np.int64),
            trips.destination[first:last].astype(np.int64),
            graph.offsets, graph.targets, graph.length_m, graph.lon, graph.lat, route, route_len,
        )  # fmt: skip
        width = np.minimum(route_len, _ROUTE_WIDTH)
        inside = np.arange(_ROUTE_WIDTH) < width[:, None]
        shortest[first:last] = (lengths[route] * inside).sum(axis=1)
    driven = np.add.reduceat(lengths[trips.road_ids], trips.offsets[:-1])
    return driven / np.maximum(shortest, 1.0)


class UsualDuration:
    """How long trips between the same cells take at that hour, relative to their roads' usual time.

    Cells and hours with too few trips fall back on the hour, and that on all trips.
    """

    def __init__(self, train: Trips, usual: UsualTimes, support: OdSupport) -> None:
        self.usual, self.support = usual, support
        log_pace = np.log(usual.pace(train))
        key, hour = support.grid.od_key(train), train.start_time // 3600 % _HOURS
        self.overall = float(log_pace.mean())
        self.of_hour = _means(hour, log_pace, _HOURS, self.overall)
        self._keys, number = np.unique(key, return_inverse=True)
        residual = log_pace - self.of_hour[hour]
        self._of_pair = _means(number.reshape(-1), residual, len(self._keys), 0.0)

    def unusualness(self, trips: Trips) -> FloatArray:
        """How far the log of the duration is from the usual one, in either direction. [n]"""
        hour = trips.start_time // 3600 % _HOURS
        key = self.support.grid.od_key(trips)
        place = np.searchsorted(self._keys, key).clip(max=len(self._keys) - 1)
        of_pair = np.where(self._keys[place] == key, self._of_pair[place], 0.0)
        return np.abs(np.log(self.usual.pace(trips)) - self.of_hour[hour] - of_pair)


def _means(group: NDArray[np.int64], values: FloatArray, count: int, prior: float) -> FloatArray:
    """The mean of each group, drawn to `prior` where the group is small."""
    number, total = np.bincount(group, minlength=count), np.bincount(group, values, count)
    return (total + _MIN_TRIPS * prior) / (number + _MIN_TRIPS)
