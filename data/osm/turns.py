"""Which road follows which: turns at junctions, turn restrictions, and no U-turns but at dead ends.

`roadmap.rel` joins pairs of roads, so a restriction through other ways is kept where a pair says
the same: where nobody else can be on the way in between, or it leads nowhere else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.osm.roads import Roads
from data.osm.streets import BoolArray, IntArray, Restriction

MAX_VIA_ROADS = 12
_STRAIGHT_MAX_DEG = 50.0
_U_TURN_MIN_DEG = 130.0
_TURN_MIN_DEG = 10.0


@dataclass
class Turns:
    """E possible pairs of roads, sorted, and what restrictions through ways forbid besides."""

    origin: IntArray  # [E]
    target: IntArray  # [E]
    is_return: BoolArray  # [E] back along the same segment
    is_banned: BoolArray  # [E]
    num_roads: int
    paths: list[_BannedPath] = field(default_factory=list)

    def place_of(self, origin: int, target: int) -> slice:
        """Where the pair stands among the turns."""
        first = int(np.searchsorted(self.origin, origin))
        stop = int(np.searchsorted(self.origin, origin, side="right"))
        place = first + int(np.flatnonzero(self.target[first:stop] == target)[0])
        return slice(place, place + 1)

    @property
    def paths_kept(self) -> int:
        """How many restrictions through ways a pair says, as of the last `following`."""
        return sum(path.is_kept for path in self.paths)

    def following(self, alive: BoolArray) -> tuple[IntArray, IntArray]:
        """Origin and target of the turns among roads that are `alive`."""
        possible = alive[self.origin] & alive[self.target] & ~self.is_banned
        for _ in range(1 + bool(self.paths)):
            onward = possible & ~self.is_return
            is_dead_end = np.bincount(self.origin[onward], minlength=self.num_roads) == 0
            allowed = onward | (possible & is_dead_end[self.origin])
            if not self.paths:
                break
            possible &= ~self._path_bans(allowed)
        return self.origin[allowed], self.target[allowed]

    def _path_bans(self, allowed: BoolArray) -> BoolArray:
        """The pairs that say the same as a restriction through ways, where there is one."""
        leaving = np.bincount(self.origin[allowed], minlength=self.num_roads)
        arriving = np.bincount(self.target[allowed], minlength=self.num_roads)
        bans = np.zeros(len(self.origin), dtype=bool)
        for path in self.paths:
            path.is_kept = False
            via = path.roads[1:-1]
            alone = [int(arriving[road]) == 1 for road in via]
            straight = [int(leaving[road]) == 1 for road in via]
            for place in range(len(via) + 1):
                if all(alone[:place]) and all(straight[place:]):
                    bans[self.place_of(*path.roads[place : place + 2])] = True
                    path.is_kept = True
                    break
        return bans


@dataclass
class _BannedPath:
    roads: tuple[int, ...]
    is_kept: bool = False


def find_turns(roads: Roads, restrictions: Iterable[Restriction], counts: Counter[str]) -> Turns:
    """All turns of the roads; `counts` gets how the restrictions could be kept."""
    size = len(roads)
    _, nodes = np.unique(np.concatenate([roads.from_node, roads.to_node]), return_inverse=True)
    nodes = nodes.reshape(-1)
    start, end = nodes[:size], nodes[size:]
    by_start = np.argsort(start, kind="stable")
    leaving = np.bincount(start, minlength=int(nodes.max(initial=0)) + 1)
    first = np.concatenate([[0], np.cumsum(leaving)])
    count = leaving[end]
    origin = np.repeat(np.arange(size), count)
    within = np.arange(len(origin)) - np.repeat(np.cumsum(count) - count, count)
    target = by_start[np.repeat(first[end], count) + within]
    is_return = roads.segment[origin] == roads.segment[target]
    turns = Turns(origin, target, is_return, np.zeros(len(origin), dtype=bool), size)
    _Restricting(roads, turns, counts).apply(list(restrictions))
    return turns


class _Restricting:
    """Finds the roads that restrictions speak of and bans their turns."""

    def __init__(self, roads: Roads, turns: Turns, counts: Counter[str]) -> None:
        self.roads, self.turns, self.counts = roads, turns, counts
        self.first = np.searchsorted(turns.origin, np.arange(len(roads) + 1))

    def apply(self, restrictions: list[Restriction]) -> None:
        ends_with = _roads_by_way(
            self.roads.last_way, [way for each in restrictions for way in each.from_ways]
        )
        for restriction in restrictions:
            arriving = [road for way in restriction.from_ways for road in ends_with[way]]
            if restriction.via_node is not None:
                arriving = [r for r in arriving if self.roads.to_node[r] == restriction.via_node]
                how = self._at_node(restriction, arriving)
            else:
                how = self._through_ways(restriction, arriving)
            self.counts[how] += 1

    def _targets(self, road: int) -> NDArray[np.int64]:
        return self.turns.target[self.first[road] : self.first[road + 1]]

    def _at_node(self, restriction: Restriction, arriving: list[int]) -> str:
        pairs = [
            (road, int(target))
            for road in arriving
            for target in self._targets(road)
            if self.roads.first_way[target] in restriction.to_ways
        ]
        if not pairs:
            return "outside the network"
        expected = len(restriction.from_ways) * len(restriction.to_ways)
        if len(pairs) > expected:  # a way goes on beyond the node: the angle tells which part
            pairs = [pair for pair in pairs if self._fits(restriction.kind, *pair)]
            if not 0 < len(pairs) <= expected:
                return "ambiguous"
        self._ban(restriction.kind, pairs)
        return "kept"

    def _fits(self, kind: str, origin: int, target: int) -> bool:
        change = self.roads.start_bearing[target] - self.roads.end_bearing[origin]
        degrees = float(np.degrees((change + np.pi) % (2 * np.pi) - np.pi))  # left is positive
        is_return = self.roads.segment[origin] == self.roads.segment[target]
        if kind.endswith("u_turn"):
            return is_return or abs(degrees) >= _U_TURN_MIN_DEG
        if is_return:
            return False
        if kind.endswith("straight_on"):
            return abs(degrees) <= _STRAIGHT_MAX_DEG
        if kind.endswith("left_turn"):
            return degrees >= _TURN_MIN_DEG
        return degrees <= -_TURN_MIN_DEG if kind.endswith("right_turn") else True

    def _ban(self, kind: str, pairs: list[tuple[int, int]]) -> None:
        if kind.startswith("no_"):
            for origin, target in pairs:
                self.turns.is_banned[self.turns.place_of(origin, target)] = True
            return
        allowed = defaultdict(list)
        for origin, target in pairs:
            allowed[origin].append(target)
        for origin, targets in allowed.items():
            piece = slice(self.first[origin], self.first[origin + 1])
            self.turns.is_banned[piece] |= ~np.isin(self.turns.target[piece], targets)

    def _through_ways(self, restriction: Restriction, arriving: list[int]) -> str:
        paths = [path for road in arriving for path in self._paths(restriction, (road,))]
        if not paths:
            return "outside the network"
        if len(paths) > 1:
            return "ambiguous"
        path = paths[0]
        if restriction.kind.startswith("no_"):
            self.turns.paths.append(_BannedPath(path))
            return "through ways"
        self._ban("only_turn", [(path[0], path[1])])
        for place in range(1, len(path) - 1):
            for other in self._targets(path[place]).tolist():
                is_return = self.roads.segment[other] == self.roads.segment[path[place]]
                if other != path[place + 1] and not is_return:
                    self.turns.paths.append(_BannedPath((*path[: place + 1], other)))
        return "through ways"

    def _paths(self, restriction: Restriction, path: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The ways to drive from the path's end over the via ways onto a `to` way."""
        found: list[tuple[int, ...]] = []
        for target in self._targets(path[-1]).tolist():
            # Back along the same segment is how some U-turn restrictions are meant to end.
            is_return = self.roads.segment[target] == self.roads.segment[path[-1]]
            if target in path or is_return:
                continue
            way = self.roads.first_way[target]
            if len(path) > 1 and way in restriction.to_ways:
                found.append((*path, target))
            elif way in restriction.via_ways and len(path) <= MAX_VIA_ROADS:
                found += self._paths(restriction, (*path, target))
        return found


def _roads_by_way(way_of: IntArray, wanted: list[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for road in np.flatnonzero(np.isin(way_of, np.array(wanted, dtype=np.int64))).tolist():
        found[int(way_of[road])].append(road)
    return found
