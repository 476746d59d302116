"""Directed roads: a segment that may be driven both ways is two roads."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from data.geometry import EARTH_RADIUS_M, bearing, haversine
from data.osm.streets import BoolArray, FloatArray, IntArray, Segments


@dataclass
class Roads:
    """R directed roads of segments, ordered by their nodes; geometry stays with the segments."""

    segment: IntArray  # [R]
    against: BoolArray  # [R] runs against the segment's vertices
    from_node: IntArray  # [R]
    to_node: IntArray  # [R]
    first_way: IntArray  # [R]
    last_way: IntArray  # [R]
    length_m: FloatArray  # [R]
    start_bearing: FloatArray  # [R] radians, of the first edge
    end_bearing: FloatArray  # [R] radians, of the last edge

    def __len__(self) -> int:
        return len(self.segment)

    def take(self, index: IntArray | BoolArray) -> Roads:
        """Some of the roads."""
        return Roads(**{each.name: getattr(self, each.name)[index] for each in fields(self)})


def make_roads(segments: Segments, open_ways: BoolArray | None = None) -> Roads:
    """The roads of all segments, sorted by first node, last node and way.

    `open_ways` [S, 2] says which directions are open, along and against the vertices; what the
    kinds of the segments say if not given.
    """
    if open_ways is None:
        oneway = np.array([kind.oneway for kind in segments.kinds], dtype=bool)
        open_ways = np.stack([np.ones(len(segments), bool), ~oneway[segments.kind]], axis=1)
    segment, direction = np.nonzero(open_ways)
    against = direction == 1
    start, end = segments.offsets[:-1][segment], segments.offsets[1:][segment] - 1
    lon, lat = segments.lon, segments.lat
    # Four vertices a road in driving direction: the first two and the last two.
    first, last = np.where(against, end, start), np.where(against, start, end)
    step = np.where(against, -1, 1)

    def direction_of(a: IntArray, b: IntArray) -> FloatArray:
        return bearing(lon[a], lat[a], lon[b], lat[b])

    roads = Roads(
        segment=segment,
        against=against,
        from_node=segments.node[first],
        to_node=segments.node[last],
        first_way=np.where(against, segments.last_way[segment], segments.first_way[segment]),
        last_way=np.where(against, segments.first_way[segment], segments.last_way[segment]),
        length_m=lengths_m(segments)[segment],
        start_bearing=direction_of(first, first + step),
        end_bearing=direction_of(last - step, last),
    )
    street = np.minimum(segments.first_way, segments.last_way)[segment]
    order = np.lexsort((against, segment, street, roads.to_node, roads.from_node))
    return roads.take(order)


def lengths_m(segments: Segments) -> FloatArray:
    """The length of each segment on the sphere, in metres. [S]"""
    lon, lat = segments.lon, segments.lat
    steps = haversine(lon[:-1], lat[:-1], lon[1:], lat[1:], EARTH_RADIUS_M)
    steps[segments.offsets[1:-1] - 1] = 0.0
    return np.add.reduceat(np.append(steps, 0.0), segments.offsets[:-1]).round(3)
