"""From ways to the rows of a road network, with an account of what fell out on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from data.osm.connection import largest_part
from data.osm.cutting import cut, join
from data.osm.region import Region
from data.osm.roads import Roads, make_roads
from data.osm.streets import BoolArray, Segments, Ways
from data.osm.turns import find_turns
from data.roadmap_writing import RoadRows
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("osm")

CutAt = Literal["junctions", "ways"]


@dataclass
class Network:
    """A finished network: its rows, and which segment each road is, and which way round."""

    rows: RoadRows
    roads: Roads
    segments: Segments
    account: Account


@dataclass
class Account:
    """What became of the streets, for the log and the report."""

    num_roads: int = 0
    num_pairs: int = 0
    length_km: float = 0.0
    unreachable_roads: int = 0
    unreachable_km: float = 0.0
    unreachable_by_class: Counter[str] = field(default_factory=Counter)
    restrictions: Counter[str] = field(default_factory=Counter)
    through_ways_kept: int = 0
    through_ways: int = 0

    def as_json(self) -> dict[str, Any]:
        """The account as plain data."""
        return {
            "roads": self.num_roads,
            "pairs": self.num_pairs,
            "length_km": round(self.length_km, 3),
            "unreachable_roads": self.unreachable_roads,
            "unreachable_km": round(self.unreachable_km, 3),
            "unreachable_roads_by_class": dict(self.unreachable_by_class.most_common()),
            "restrictions": dict(self.restrictions.most_common()),
            "paths_forbidden_through_ways": {
                "kept": self.through_ways_kept,
                "of": self.through_ways,
            },
        }


def make_segments(ways: Ways, region: Region | None, cut_at: CutAt) -> Segments:
    """The street segments of the region."""
    segments = cut(ways, region)
    if cut_at == "ways":
        return segments
    via = [each.via_node for each in ways.restrictions if each.via_node is not None]
    return join(segments, np.array(via, dtype=np.int64))


def make_network(ways: Ways, segments: Segments, open_ways: BoolArray | None = None) -> Network:
    """The directed roads of the segments that can all reach each other, and their turns.

    `open_ways` [S, 2]: see `make_roads`.
    """
    roads = make_roads(segments, open_ways)
    account = Account(restrictions=Counter(ways.findings.restrictions))
    turns = find_turns(roads, ways.restrictions, account.restrictions)
    alive = largest_part(turns)
    origin, target = turns.following(alive)
    account.through_ways, account.through_ways_kept = len(turns.paths), turns.paths_kept
    number = np.cumsum(alive) - 1
    kept = roads.take(alive)
    if len(kept) < 2 or not len(origin):
        raise UserError(
            "No two roads of the map can reach each other; is it cut too small, or are its lines "
            "not joined at their ends?"
        )
    rows = _rows(segments, kept, number[origin], number[target])
    _fill(account, segments, roads, alive, rows)
    return Network(rows, kept, segments, account)


def _rows(segments: Segments, roads: Roads, origin: np.ndarray, target: np.ndarray) -> RoadRows:
    first, last = segments.offsets[:-1][roads.segment], segments.offsets[1:][roads.segment] - 1
    count = last - first + 1
    offsets = np.concatenate([[0], np.cumsum(count)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], count)
    vertex = np.where(
        np.repeat(roads.against, count),
        np.repeat(last, count) - place,
        np.repeat(first, count) + place,
    )
    kinds = segments.kinds
    kind = segments.kind[roads.segment]
    lanes = np.array([[each.lanes_forward, each.lanes_backward] for each in kinds])
    speeds = np.array([[each.speed_forward_kmh, each.speed_backward_kmh] for each in kinds])
    flags = np.array([[each.tunnel, each.bridge, each.roundabout] for each in kinds])
    against = roads.against.astype(np.int64)
    times_driven = np.bincount(roads.segment, minlength=len(segments))
    return RoadRows(
        vertex_offsets=offsets,
        vertex_lon=segments.lon[vertex],
        vertex_lat=segments.lat[vertex],
        highway=[kinds[number].highway for number in kind.tolist()],
        lanes=lanes[kind, against],
        tunnel=flags[kind, 0],
        bridge=flags[kind, 1],
        roundabout=flags[kind, 2],
        oneway=times_driven[roads.segment] == 1,
        length_m=roads.length_m,
        maxspeed_kmh=speeds[kind, against],
        from_node=roads.from_node,
        to_node=roads.to_node,
        origin=origin,
        target=target,
    )


def _fill(
    account: Account, segments: Segments, roads: Roads, alive: BoolArray, rows: RoadRows
) -> None:
    lost = roads.take(~alive)
    account.num_roads, account.num_pairs = rows.num_roads, len(rows.origin)
    account.length_km = float(rows.length_m.sum()) / 1000
    account.unreachable_roads = len(lost)
    account.unreachable_km = float(lost.length_m.sum()) / 1000
    account.unreachable_by_class = Counter(
        segments.kinds[kind].highway for kind in segments.kind[lost.segment].tolist()
    )
