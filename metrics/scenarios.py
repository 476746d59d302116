"""The situations that trips are told apart by: when they start, and where they go.

Times are read as they are written. The centre is a disc that follows from the real trips alone,
so that every model is judged by the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.geometry import haversine
from data.road_network import RoadNetwork
from metrics.trips import Trips

BoolArray = NDArray[np.bool_]

SECONDS_PER_DAY = 86_400
PEAK_HOURS = (7, 8, 17, 18)
RADIUS_KM = 6371.009

DESCRIPTIONS = {
    "weekday": "starts on Monday to Friday",
    "weekend": "starts on Saturday or Sunday",
    "peak": "starts on a weekday from 7 to 9 or from 17 to 19 o'clock",
    "off_peak": "starts at any other time",
    "centre": "at least half of its roads lie in the centre",
    "suburb": "less than half of its roads lie in the centre",
    "to_centre": "starts outside the centre and ends in it",
    "from_centre": "starts in the centre and ends outside",
    "within_centre": "starts and ends in the centre",
    "outside_centre": "starts and ends outside the centre",
}


@dataclass(frozen=True)
class Centre:
    """The disc around the median end point that holds half of all real trips' ends."""

    lat: float
    lon: float
    radius_km: float
    holds_road: BoolArray  # [R]

    @classmethod
    def of(cls, real: Trips, network: RoadNetwork) -> Centre:
        """The centre that the real trips suggest."""
        ends = np.concatenate([real.origin, real.destination])
        lat = float(np.median(network.center_lat[ends]))
        lon = float(np.median(network.center_lon[ends]))
        distance = haversine(
            network.center_lon, network.center_lat, np.array(lon), np.array(lat), RADIUS_KM
        )
        radius = float(np.median(distance[ends]))
        return cls(lat, lon, radius, distance <= radius)


def label_trips(trips: Trips, centre: Centre) -> dict[str, BoolArray]:
    """For every scenario, which trips belong to it. [n] each"""
    day, second = np.divmod(trips.start_time, SECONDS_PER_DAY)
    weekend = (day + 3) % 7 >= 5  # 1970 began on a Thursday
    peak = ~weekend & np.isin(second // 3600, PEAK_HOURS)
    inside = centre.holds_road[trips.road_ids].astype(np.int64)
    share = np.add.reduceat(inside, trips.offsets[:-1]) / trips.lengths
    origin, destination = centre.holds_road[trips.origin], centre.holds_road[trips.destination]
    return {
        "weekday": ~weekend,
        "weekend": weekend,
        "peak": peak,
        "off_peak": ~peak,
        "centre": share >= 0.5,
        "suburb": share < 0.5,
        "to_centre": ~origin & destination,
        "from_centre": origin & ~destination,
        "within_centre": origin & destination,
        "outside_centre": ~origin & ~destination,
    }
