"""One-way streets that a map does not know, found by the traffic of trips matched to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.osm.build import Network
from data.osm.streets import BoolArray, IntArray
from data.road_network import RoadNetwork
from data.splits import split_file
from data.trip_csv import read_trips
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("osm")


@dataclass(frozen=True)
class OnewayRule:
    """A street is one-way where the lesser direction has less than `share` of its traffic."""

    share: float
    min_trips: int


def infer_oneway(network: Network, matched: Path, rule: OnewayRule) -> BoolArray:
    """Which directions of the segments stay open, by the training trips in `matched`. [S, 2]

    `matched` is a dataset whose trips were matched to this very network.
    """
    traffic = _traffic(network, matched)
    segments = network.segments
    counts = np.zeros((len(segments), 2), dtype=np.int64)
    counts[network.roads.segment, network.roads.against.astype(int)] = traffic
    both_ways = np.bincount(network.roads.segment, minlength=len(segments)) == 2
    total = counts.sum(axis=1)
    known = both_ways & (total >= rule.min_trips)
    is_oneway = known & (counts.min(axis=1) < rule.share * total)
    oneway = np.array([kind.oneway for kind in segments.kinds], dtype=bool)[segments.kind]
    open_ways = np.stack([np.ones(len(segments), dtype=bool), ~oneway], axis=1)
    lesser = counts.argmin(axis=1)
    open_ways[np.flatnonzero(is_oneway), lesser[is_oneway]] = False
    logger.info(
        "Of %d two-way streets %d have at least %d trips; %d of them are one-way by their traffic.",
        int(both_ways.sum()),
        int(known.sum()),
        rule.min_trips,
        int(is_oneway.sum()),
    )
    return open_ways


def _traffic(network: Network, matched: Path) -> IntArray:
    """How many trips drove each road; where they began and ended on it is not counted. [R]"""
    other = RoadNetwork.load(matched, with_zones=False)
    rows = network.rows
    if (
        other.num_roads != rows.num_roads
        or not np.array_equal(other.vertex_offsets, rows.vertex_offsets)
        or not np.array_equal(other.vertex_lon, rows.vertex_lon)
        or not np.array_equal(other.vertex_lat, rows.vertex_lat)
    ):
        raise UserError(
            f"{matched} has another network than these streets give ({other.num_roads} and "
            f"{rows.num_roads} roads); make it with the same options, match the trips to it, and "
            "then infer one-way streets."
        )
    traffic = np.zeros(rows.num_roads, dtype=np.int64)
    for chunk in read_trips(split_file(matched, "train"), other, "skip"):
        ends = np.cumsum(chunk.lengths)
        inner = np.ones(len(chunk.road_ids), dtype=bool)
        inner[ends - 1] = False
        inner[ends - chunk.lengths] = False
        traffic += np.bincount(chunk.road_ids[inner], minlength=len(traffic))
    return traffic
