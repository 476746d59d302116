"""What a step is worth less than it costs, along trips whose destinations are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.laid_out import places_left
from data.road_network import RoadNetwork
from models.cpu_parallel import Chunks, even_chunks, run_chunks

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_NATS = 20.0  # what a candidate costs from which no way leads to the destination
_TRIPS_A_CHUNK = 8


def charges_along(
    network: RoadNetwork, step_cost: FloatArray, road_ids: NDArray[np.int32], offsets: IntArray
) -> FloatArray:  # [E], [S], [n + 1] -> [M]
    """Of all candidates of all positions of trips laid end to end, to their last roads; at most 0.

    Where no way is known, none is better than another.
    """
    from data.way_kernels import ways_along

    on = road_ids[places_left(offsets)].astype(np.int64)
    count = network.out_degree[on]
    begin = np.cumsum(count) - count
    here, ahead = np.empty(len(on)), np.empty(int(count.sum()))
    trips = np.ascontiguousarray(road_ids), offsets, begin
    reach = network.reach_offsets, network.reach_targets
    back_offsets, sources, edge_back = network.followed
    arguments = trips, reach, back_offsets, sources, step_cost[edge_back], here, ahead
    run_chunks(ways_along, trip_chunks(len(offsets) - 1), lambda _: arguments)
    edge = np.arange(len(ahead)) - np.repeat(begin - network.reach_offsets[on], count)
    return worth_of_steps(np.repeat(here, count), ahead, step_cost[edge])


def worth_of_steps(left: FloatArray, after: FloatArray, step_cost: FloatArray) -> FloatArray:
    """What steps are worth less than they cost, by the ways that are left before and after. [M]"""
    known = np.isfinite(left)
    worth = np.where(known, left, 0.0) - after - step_cost
    return np.where(known, worth.clip(-MOST_NATS, 0.0), 0.0)


def trip_chunks(num_trips: int) -> Chunks:
    """Trips shared out over the processor's cores."""
    return even_chunks(num_trips, max(1, num_trips // _TRIPS_A_CHUNK))
