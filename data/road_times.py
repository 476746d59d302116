"""How long a car usually is on each road, counted on trips; by what hour is not asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.laid_out import passages
from data.road_network import RoadNetwork

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PRIOR_SIGHTINGS = 2.0  # of a road's time, as its class drives it


def counted_road_seconds(
    network: RoadNetwork,
    road_ids: NDArray[np.integer],
    times: NDArray[np.integer],
    offsets: IntArray,
) -> FloatArray:  # [S], [S], [n + 1] -> [R]
    """How long a car usually is on each road, counted on trips laid end to end."""
    place, seconds = passages(times, offsets)
    return usual_road_seconds(network, np.asarray(road_ids[place]), seconds)


def cost_in_vain(
    length_m: FloatArray, per_km: float, road_seconds: FloatArray | None, per_minute: float
) -> FloatArray:  # [R]
    """What each road costs where it is a detour; without a cost of minutes no times are needed."""
    cost = per_km / 1000.0 * length_m
    if per_minute:
        assert road_seconds is not None  # whoever asks for minutes brings the times along
        cost = cost + per_minute / 60.0 * road_seconds
    return cost


def step_costs(road_cost: FloatArray, offsets: IntArray, targets: IntArray) -> FloatArray:  # [E]
    """What each step costs, from the middle of a road to that of one which follows it."""
    return 0.5 * (np.repeat(road_cost, np.diff(offsets)) + road_cost[targets])


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
