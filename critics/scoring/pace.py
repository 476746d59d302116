"""How long roads usually take, and how fast a trip is against that.

Roads that a trip did not really drive get times at the trip's own pace, so that nothing but the
route gives them away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.laid_out import passages
from data.road_network import RoadNetwork
from metrics.trips import Trips

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MIN_TRIPS = 3
_FALLBACK_KMH = 30.0


@dataclass(frozen=True)
class UsualTimes:
    """The usual seconds of every road, from training trips."""

    seconds: FloatArray  # [R], from entering the road to entering the next

    @classmethod
    def of(cls, train: Trips, network: RoadNetwork) -> UsualTimes:
        """Means of each road; where few drove, its type's usual speed and its length."""
        place, waited = passages(train.times, train.offsets)
        road = train.road_ids[place].astype(np.int64)
        size = network.num_roads
        count, total = np.bincount(road, minlength=size), np.bincount(road, waited, size)
        speed = cls._speed_of_types(road, waited, network)[network.road_attr_type]
        by_length = network.length_m / speed
        few = count < _MIN_TRIPS
        return cls(np.maximum(np.where(few, by_length, total / np.maximum(count, 1)), 0.5))

    @staticmethod
    def _speed_of_types(road: IntArray, waited: FloatArray, network: RoadNetwork) -> FloatArray:
        """Metres a second of each type of road."""
        kind, kinds = network.road_attr_type[road], len(network.type_names)
        metres = np.bincount(kind, network.length_m[road], kinds)
        seconds = np.bincount(kind, waited, kinds)
        known = (metres > 0) & (seconds > 0)
        return np.where(known, metres / np.maximum(seconds, 1e-9), _FALLBACK_KMH / 3.6)

    def trip_seconds(self, trips: Trips) -> FloatArray:
        """How long each trip would usually take, its last road not counted. [n]"""
        seconds = self.seconds[trips.road_ids]
        seconds[trips.offsets[1:] - 1] = 0.0
        running = np.concatenate([[0.0], np.cumsum(seconds)])
        return running[trips.offsets[1:]] - running[trips.offsets[:-1]]

    def pace(self, trips: Trips) -> FloatArray:
        """How slow each trip is: its duration over the usual one. [n]"""
        duration = (trips.times[trips.offsets[1:] - 1] - trips.start_time).astype(np.float64)
        return np.maximum(duration, 1.0) / np.maximum(self.trip_seconds(trips), 1.0)
