"""What is measured of a trip by itself: the values whose distributions are compared.

A trip of one road has neither distance nor duration, as published.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork
from metrics.distributions import Values
from metrics.trips import Trips

SECONDS_PER_MINUTE = 60.0
MINUTES_PER_HOUR = 60.0


def trip_distance(trips: Trips, network: RoadNetwork) -> Values:
    """The distance along the road centres, km."""
    from metrics.trip_kernels import measure_distance

    distance = np.empty(len(trips))
    measure_distance(
        trips.road_ids, trips.offsets, network.center_lat, network.center_lon, distance
    )
    moving = np.flatnonzero(trips.lengths > 1)
    return Values(distance[moving], moving)


def segment_duration(trips: Trips, _: RoadNetwork) -> Values:
    """Minutes from each road to the next: one value per segment, not per trip."""
    inside = np.ones(len(trips.times), dtype=bool)
    inside[trips.offsets[:-1]] = False
    minutes = np.diff(trips.times, prepend=0)[inside] / SECONDS_PER_MINUTE
    return Values(minutes, np.repeat(np.arange(len(trips)), trips.lengths - 1))


def trip_duration(trips: Trips, _: RoadNetwork) -> Values:
    """Minutes from the first road to the last."""
    moving = np.flatnonzero(trips.lengths > 1)
    return Values(_whole_minutes(trips)[moving], moving)


def trip_speed(trips: Trips, network: RoadNetwork) -> Values:
    """km/h along the road centres; a trip that takes no time has none."""
    distance, minutes = trip_distance(trips, network), _whole_minutes(trips)
    timed = minutes[distance.unit] > 0
    unit = distance.unit[timed]
    return Values(distance.values[timed] / minutes[unit] * MINUTES_PER_HOUR, unit)


def _whole_minutes(trips: Trips) -> NDArray[np.float64]:
    first, last = trips.offsets[:-1], trips.offsets[1:] - 1
    return (trips.times[last] - trips.times[first]) / SECONDS_PER_MINUTE


def radius_of_gyration(trips: Trips, network: RoadNetwork) -> Values:
    """The mean distance of a trip's road centres to their mean, km."""
    from metrics.trip_kernels import measure_radius

    radius = np.empty(len(trips))
    measure_radius(trips.road_ids, trips.offsets, network.center_lat, network.center_lon, radius)
    return Values(radius, np.arange(len(trips)))
