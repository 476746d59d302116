"""The great-circle distance inside compiled loops; `data.geometry` has it for whole arrays."""

from __future__ import annotations

import math

from runtime.jit import kernel

_RADIANS = math.pi / 180.0


@kernel()
def haversine(lat1: float, lon1: float, lat2: float, lon2: float, radius: float) -> float:
    """The distance of two points in degrees, in the unit of `radius`."""
    lat1, lon1, lat2, lon2 = lat1 * _RADIANS, lon1 * _RADIANS, lat2 * _RADIANS, lon2 * _RADIANS
    sin_lat = math.sin((lat2 - lat1) / 2.0)
    sin_lon = math.sin((lon2 - lon1) / 2.0)
    chord = sin_lat * sin_lat + math.cos(lat1) * math.cos(lat2) * (sin_lon * sin_lon)
    return 2.0 * radius * math.asin(math.sqrt(min(1.0, chord)))
