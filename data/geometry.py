"""Geometry on the sphere, as the published systems compute it (degrees in, float64 NumPy).

Three Earth radii occur because the originals used three libraries; each caller names its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_M = 6371008.8

FloatArray = NDArray[np.float64]


def haversine(
    lon1: FloatArray, lat1: FloatArray, lon2: FloatArray, lat2: FloatArray, radius: float
) -> FloatArray:
    """Great-circle distance in the unit of `radius`."""
    lon1, lat1, lon2, lat2 = (np.radians(degrees) for degrees in (lon1, lat1, lon2, lat2))
    chord = np.sin((lat2 - lat1) / 2) ** 2
    chord = chord + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return 2 * radius * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))


def bearing(lon1: FloatArray, lat1: FloatArray, lon2: FloatArray, lat2: FloatArray) -> FloatArray:
    """The direction from the first point to the second: atan2(dlat, cos(lat1) dlon) in [0, 2π)."""
    lon1, lat1, lon2, lat2 = (np.radians(degrees) for degrees in (lon1, lat1, lon2, lat2))
    angle = np.arctan2(lat2 - lat1, np.cos(lat1) * (lon2 - lon1))
    return np.where(angle < 0, angle + 2 * np.pi, angle)


def fold_angle(difference: FloatArray) -> FloatArray:
    """An absolute difference of two bearings, folded to 0…π."""
    difference = np.abs(difference)
    return np.where(difference > np.pi, 2 * np.pi - difference, difference)


def polyline_centroids(
    offsets: NDArray[np.int64], lon: FloatArray, lat: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The length-weighted centroid of each polyline; of one without length, its vertices' mean.

    `offsets` [R + 1] delimits the vertices `lon`, `lat` [V] of the polylines.
    """
    starts, ends = offsets[:-1], offsets[1:]
    is_last = np.zeros(len(lon), dtype=bool)
    is_last[ends - 1] = True
    segment = np.flatnonzero(~is_last)
    length = np.hypot(lon[segment + 1] - lon[segment], lat[segment + 1] - lat[segment])
    road = np.searchsorted(offsets, segment, side="right") - 1
    total = np.bincount(road, length, minlength=len(starts))
    centroids = []
    for values in (lon, lat):
        middle = (values[segment] + values[segment + 1]) / 2
        weighted = np.bincount(road, length * middle, minlength=len(starts))
        mean = segment_means(offsets, values)
        centroids.append(np.where(total > 0, weighted / np.where(total > 0, total, 1.0), mean))
    return centroids[0], centroids[1]


def segment_means(offsets: NDArray[np.int64], values: FloatArray) -> FloatArray:
    """The mean of each run of `values` that `offsets` delimits."""
    return np.add.reduceat(values, offsets[:-1]) / np.diff(offsets)
