"""Which turns training trips took: how often each edge of the reachability was driven."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.laid_out import here_and_taken
from data.road_network import RoadNetwork

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SMOOTHING = 0.05  # of a turn never seen, in sightings


def edge_counts(network: RoadNetwork, road_ids: NDArray[np.int32], offsets: IntArray) -> FloatArray:
    """How often trips, laid end to end and delimited by `offsets`, drove each edge. [E]"""
    here, taken = here_and_taken(road_ids, offsets)
    size = network.num_roads
    driven, times = np.unique(here * size + taken, return_counts=True)
    origin = np.repeat(np.arange(size), network.out_degree)
    key = origin * size + network.reach_targets
    place = np.searchsorted(driven, key).clip(max=max(len(driven) - 1, 0))
    if not len(driven):
        return np.zeros(len(key))
    return np.where(driven[place] == key, times[place], 0).astype(np.float64)


def turn_surprise(counts: FloatArray, reach_offsets: IntArray) -> FloatArray:
    """How unlikely each edge is among those of its road, as counted, in nats. [E]"""
    source = np.repeat(np.arange(len(reach_offsets) - 1), np.diff(reach_offsets))
    seen = counts + SMOOTHING
    total = np.bincount(source, seen, minlength=len(reach_offsets) - 1)
    return np.log(total[source]) - np.log(seen)
