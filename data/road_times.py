"""How long a car usually is on each road, counted on trips; by what hour is not asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PRIOR_SIGHTINGS = 2.0  # of a road's time, as its class drives it


def usual_road_seconds(
    network: RoadNetwork, road: NDArray[np.integer], seconds: FloatArray
) -> FloatArray:  # [s], [s] -> [R]
    """How long a car is on each road; one seldom seen drives as its class does."""
    kind, num_roads, kinds = network.road_attr_type, network.num_roads, len(network.type_names)
    total = np.bincount(road, seconds, minlength=num_roads)
    seen = np.bincount(road, minlength=num_roads)
    metres = np.bincount(kind[road], network.length_m[road], minlength=kinds)
    of_kind = np.bincount(kind[road], seconds, minlength=kinds)
    overall = seconds.sum() / max(metres.sum(), 1.0)
    pace = np.where(metres > 0, of_kind / np.maximum(metres, 1e-9), overall)
    usual = pace[kind] * network.length_m
    return (total + PRIOR_SIGHTINGS * usual) / (seen + PRIOR_SIGHTINGS)
