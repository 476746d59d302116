"""Length and spread of trips, compiled by numba, in parallel over the trips."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from metrics.geometry_kernels import haversine
from runtime.jit import kernel

FloatArray = NDArray[np.float64]

RADIUS_KM = 6371.009


@kernel(parallel=True)
def measure_distance(
    road_ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    road_lat: FloatArray,
    road_lon: FloatArray,
    distance_km: FloatArray,
) -> None:
    """The distance along the road centres of each trip."""
    for trip in numba.prange(len(offsets) - 1):
        distance = 0.0
        for step in range(offsets[trip] + 1, offsets[trip + 1]):
            before, road = road_ids[step - 1], road_ids[step]
            distance += haversine(
                road_lat[before], road_lon[before], road_lat[road], road_lon[road], RADIUS_KM
            )
        distance_km[trip] = distance


@kernel(parallel=True)
def measure_radius(
    road_ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    road_lat: FloatArray,
    road_lon: FloatArray,
    radius_km: FloatArray,
) -> None:
    """The mean distance of each trip's road centres to their mean."""
    for trip in numba.prange(len(offsets) - 1):
        start, end = offsets[trip], offsets[trip + 1]
        mean_lat, mean_lon = 0.0, 0.0
        for step in range(start, end):
            mean_lat += road_lat[road_ids[step]]
            mean_lon += road_lon[road_ids[step]]
        mean_lat /= end - start
        mean_lon /= end - start
        spread = 0.0
        for step in range(start, end):
            road = road_ids[step]
            spread += haversine(mean_lat, mean_lon, road_lat[road], road_lon[road], RADIUS_KM)
        radius_km[trip] = spread / (end - start)
