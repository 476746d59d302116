"""Length and spread of trips, compiled by numba, in parallel over the trips."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from runtime.jit import kernel

FloatArray = NDArray[np.float64]

RADIUS_KM = 6371.009
_RADIANS = math.pi / 180.0


@kernel()
def _distance_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    lat1, lon1, lat2, lon2 = lat1 * _RADIANS, lon1 * _RADIANS, lat2 * _RADIANS, lon2 * _RADIANS
    sin_lat = math.sin((lat2 - lat1) / 2.0)
    sin_lon = math.sin((lon2 - lon1) / 2.0)
    chord = sin_lat * sin_lat + math.cos(lat1) * math.cos(lat2) * (sin_lon * sin_lon)
    return 2.0 * RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


@kernel(parallel=True)
def measure_trips(
    road_ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    road_lat: FloatArray,
    road_lon: FloatArray,
    distance_km: FloatArray,
    radius_km: FloatArray,
) -> None:
    """Distance along the road centres, and mean distance to their mean, of each trip."""
    for trip in numba.prange(len(offsets) - 1):
        start, end = offsets[trip], offsets[trip + 1]
        mean_lat, mean_lon, distance = 0.0, 0.0, 0.0
        for step in range(start, end):
            road = road_ids[step]
            mean_lat += road_lat[road]
            mean_lon += road_lon[road]
            if step > start:
                before = road_ids[step - 1]
                distance += _distance_km(
                    road_lat[before], road_lon[before], road_lat[road], road_lon[road]
                )
        mean_lat /= end - start
        mean_lon /= end - start
        spread = 0.0
        for step in range(start, end):
            road = road_ids[step]
            spread += _distance_km(mean_lat, mean_lon, road_lat[road], road_lon[road])
        distance_km[trip] = distance
        radius_km[trip] = spread / (end - start)
