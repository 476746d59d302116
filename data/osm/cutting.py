"""Ways to street segments: clipped to the region, cut at junctions, joined where nothing meets.

Works on one long row of vertices with a mark where a vertex is joined to the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.osm.region import Region
from data.osm.streets import BoolArray, FloatArray, IntArray, Segments, Ways
from runtime.errors import UserError


@dataclass
class _Row:
    """The vertices of all ways, one after another."""

    way: IntArray  # [V] row of the ways
    node: IntArray  # [V]
    lon: FloatArray  # [V]
    lat: FloatArray  # [V]
    joined: BoolArray  # [V] to the vertex before

    def take(self, index: IntArray | BoolArray) -> _Row:
        return _Row(
            self.way[index],
            self.node[index],
            self.lon[index],
            self.lat[index],
            self.joined[index],
        )

    @property
    def joined_to_next(self) -> BoolArray:
        return np.append(self.joined[1:], False)

    def fresh_nodes(self, count: int) -> IntArray:
        """Numbers that no node has: negative ones, which published maps do not use."""
        return min(0, int(self.node.min(initial=0))) - 1 - np.arange(count)


def cut(ways: Ways, region: Region | None = None) -> Segments:
    """The segments of the ways between junctions."""
    row = _row_of(ways)
    row.joined &= np.isfinite(row.lon) & np.isfinite(np.roll(row.lon, 1))
    if region is not None:
        inside = region.contains(row.lon, row.lat)
        row.joined &= inside | np.roll(inside, 1)
        if not row.joined.any():
            raise UserError("No street lies in the region; is it longitude before latitude?")
    row = _without_repeats(row)
    row = _split_at_antimeridian(row)
    row = _split_at_barriers(row, ways.barriers)
    row = row.take(row.joined | row.joined_to_next)
    if not len(row.node):
        raise UserError("The map has no street of two different points.")
    return _segments(ways, row, _is_cut(ways, row))


def _row_of(ways: Ways) -> _Row:
    joined = np.ones(len(ways.node), dtype=bool)
    # A way without vertices begins where the next one does.
    joined[ways.offsets[:-1][np.diff(ways.offsets) > 0]] = False
    way = np.repeat(np.arange(len(ways)), np.diff(ways.offsets))
    return _Row(way, ways.node.copy(), ways.lon, ways.lat, joined)


def _without_repeats(row: _Row) -> _Row:
    """Vertices at the place of the one before go; their two nodes become one."""
    same_place = row.joined.copy()
    same_place &= (row.lon == np.roll(row.lon, 1)) & (row.lat == np.roll(row.lat, 1))
    repeat = np.flatnonzero(same_place)
    if len(repeat):
        ids, compact = np.unique(row.node, return_inverse=True)
        compact = compact.reshape(-1)
        ones = np.ones(len(repeat), dtype=np.int8)
        pairs = (compact[repeat - 1], compact[repeat])
        graph = coo_array((ones, pairs), shape=(len(ids), len(ids)))
        _, group = connected_components(graph, directed=False)
        last = np.empty(group.max() + 1, dtype=np.int64)
        last[group] = np.arange(len(ids))  # the largest: made-up nodes are negative
        row.node = ids[last[group[compact]]]
    again = row.joined & (row.node == np.roll(row.node, 1)) & ~same_place
    row.joined &= ~again  # one node at two places: the way is broken there
    # What follows a dropped vertex is joined to the kept one before it.
    return row.take(~same_place)


def _split_at_antimeridian(row: _Row) -> _Row:
    """Inserts the end of one piece and the start of another where a way crosses ±180°."""
    before_lon = np.roll(row.lon, 1)
    crossing = np.flatnonzero(row.joined & (np.abs(row.lon - before_lon) > 180))
    if not len(crossing):
        return row
    side = np.sign(before_lon[crossing]) * 180.0
    across = row.lon[crossing] + np.sign(before_lon[crossing]) * 360.0
    share = (side - before_lon[crossing]) / (across - before_lon[crossing])
    before_lat = row.lat[crossing - 1]
    lat = before_lat + share * (row.lat[crossing] - before_lat)
    node = np.repeat(row.fresh_nodes(len(crossing)), 2)
    where = np.repeat(crossing, 2)
    is_second = np.tile([False, True], len(crossing))
    lon = np.where(is_second, -np.repeat(side, 2), np.repeat(side, 2))
    row = _Row(
        way=np.insert(row.way, where, row.way[where]),
        node=np.insert(row.node, where, node),
        lon=np.insert(row.lon, where, lon),
        lat=np.insert(row.lat, where, np.repeat(lat, 2)),
        joined=np.insert(row.joined, where, ~is_second),
    )
    return _without_repeats(row)


def _split_at_barriers(row: _Row, barriers: IntArray) -> _Row:
    """Nodes that cannot be passed become an end of their own on each side of each way."""
    blocked = np.isin(row.node, barriers)
    if not blocked.any():
        return row
    doubled = np.flatnonzero(blocked & row.joined & row.joined_to_next)
    node = np.insert(row.node, doubled, row.node[doubled])
    # The copy comes before: it ends what was, and the old vertex begins what follows.
    joined = row.joined.copy()
    joined[doubled] = False
    joined = np.insert(joined, doubled, True)
    row = _Row(
        way=np.insert(row.way, doubled, row.way[doubled]),
        node=node,
        lon=np.insert(row.lon, doubled, row.lon[doubled]),
        lat=np.insert(row.lat, doubled, row.lat[doubled]),
        joined=joined,
    )
    blocked = np.isin(row.node, barriers)
    row.node[blocked] = row.fresh_nodes(int(blocked.sum()))
    return row


def _is_cut(ways: Ways, row: _Row) -> BoolArray:
    """Where a segment begins or ends. [V]"""
    is_end = ~row.joined | ~row.joined_to_next
    if ways.ends_only:
        return is_end
    _, inverse, count = np.unique(row.node, return_inverse=True, return_counts=True)
    return is_end | (count[inverse.reshape(-1)] > 1)


def _segments(ways: Ways, row: _Row, is_cut: BoolArray) -> Segments:
    start = np.flatnonzero(is_cut & row.joined_to_next)
    end = np.flatnonzero(is_cut & row.joined)
    count = end - start + 1
    offsets = np.concatenate([[0], np.cumsum(count)])
    vertex = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - start, count)
    way = row.way[start]
    return Segments(
        kinds=ways.kinds,
        kind=ways.kind[way],
        name=ways.name[way],
        first_way=ways.way_id[way],
        last_way=ways.way_id[way],
        offsets=offsets,
        node=row.node[vertex],
        lon=row.lon[vertex],
        lat=row.lat[vertex],
    )


def join(segments: Segments, keep_nodes: IntArray) -> Segments:
    """Joins segments of one street where nothing else meets them, but at `keep_nodes`."""
    mate = _mates(segments, keep_nodes)
    if (mate < 0).all():
        return segments
    order, against, chain_start = _chains(segments, mate)
    return _joined(segments, order, against, chain_start)


def _mates(segments: Segments, keep_nodes: IntArray) -> IntArray:
    """The end that continues each end; end 2s is the start of segment s, 2s + 1 its end. [2S]"""
    node = np.stack([segments.from_node, segments.to_node], axis=1).reshape(-1)
    mate = np.full(len(node), -1, dtype=np.int64)
    order = np.argsort(node, kind="stable")
    ordered = node[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    pair = first[np.diff(np.append(first, len(ordered))) == 2]
    a, b = order[pair], order[pair + 1]
    one, other = a // 2, b // 2
    kind, name = segments.kind, segments.name
    fits = (one != other) & (kind[one] == kind[other]) & (name[one] == name[other])
    symmetric = np.array([each.is_symmetric for each in segments.kinds], dtype=bool)
    fits &= symmetric[kind[one]] | (a % 2 != b % 2)
    fits &= ~np.isin(node[a], keep_nodes)
    ends = np.stack([segments.offsets[:-1], segments.offsets[1:] - 1], axis=1).reshape(-1)
    fits &= segments.lon[ends[a]] == segments.lon[ends[b]]  # not so at the antimeridian
    mate[a[fits]], mate[b[fits]] = b[fits], a[fits]
    return mate


def _chains(segments: Segments, mate: IntArray) -> tuple[IntArray, BoolArray, BoolArray]:
    """All segments, chain after chain: their order, which run backwards, where chains start."""
    mates = mate.tolist()
    symmetric = [kind.is_symmetric for kind in segments.kinds]
    kinds = segments.kind.tolist()
    seen = bytearray(len(kinds))
    order: list[int] = []
    against: list[bool] = []
    starts: list[bool] = []

    def follow(end: int) -> None:
        is_start = True
        while end >= 0 and not seen[end >> 1]:
            seen[end >> 1] = 1
            order.append(end >> 1)
            against.append(bool(end & 1))
            starts.append(is_start)
            is_start = False
            end = mates[end ^ 1]

    for end, other in enumerate(mates):
        # One direction only: such a chain is followed from where it begins.
        if other < 0 and not seen[end >> 1] and (not end & 1 or symmetric[kinds[end >> 1]]):
            follow(end)
    for segment in range(len(kinds)):  # rings that nothing meets
        if not seen[segment]:
            follow(2 * segment)
    return np.array(order), np.array(against, dtype=bool), np.array(starts, dtype=bool)


def _joined(
    segments: Segments, order: IntArray, against: BoolArray, chain_start: BoolArray
) -> Segments:
    count = np.diff(segments.offsets)[order]
    first, last = segments.offsets[:-1][order], segments.offsets[1:][order] - 1
    bounds = np.concatenate([[0], np.cumsum(count)])
    place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], count)
    vertex = np.where(
        np.repeat(against, count), np.repeat(last, count) - place, np.repeat(first, count) + place
    )
    kept = (place > 0) | np.repeat(chain_start, count)
    head = np.flatnonzero(chain_start)
    tail = np.append(head[1:], len(order)) - 1
    sizes = np.add.reduceat(count - ~chain_start, head)
    vertex = vertex[kept]
    begin = np.where(against, segments.last_way[order], segments.first_way[order])
    finish = np.where(against, segments.first_way[order], segments.last_way[order])
    return Segments(
        kinds=segments.kinds,
        kind=segments.kind[order[head]],
        name=segments.name[order[head]],
        first_way=begin[head],
        last_way=finish[tail],
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        node=segments.node[vertex],
        lon=segments.lon[vertex],
        lat=segments.lat[vertex],
    )
