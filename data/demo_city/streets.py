"""The road network of a demo city: directed roads with one-ways, motorway ring and shapes.

A two-way street is two roads. All roads can be reached from all others without U-turns except at
dead ends; that and the wanted number of roads decide how many side streets of the plan are built.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from data.demo_city.plan import (
    LINK,
    MOTORWAY,
    PRIMARY,
    RESIDENTIAL,
    SECONDARY,
    StreetPlan,
    make_plan,
)
from data.geometry import EARTH_RADIUS_M, haversine, segment_means

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CENTER_LON, CENTER_LAT = 116.397, 39.916
_ROADS_PER_NODE = 3.1
_CARRIAGEWAY_OFFSET_M = 11.0


@dataclass(frozen=True)
class Streets:
    """R directed roads. `chain` numbers streets: pieces that continue each other share one."""

    from_node: IntArray  # [R]
    to_node: IntArray  # [R]
    level: IntArray  # [R] see data.demo_city.plan
    chain: IntArray  # [R]
    is_bridge: NDArray[np.bool_]  # [R]
    is_oneway: NDArray[np.bool_]  # [R]
    vertex_offsets: IntArray  # [R + 1]
    vertex_lon: FloatArray  # [V]
    vertex_lat: FloatArray  # [V]
    length_m: FloatArray  # [R]
    x: FloatArray  # [R] metres east of the centre, middle of the road
    y: FloatArray  # [R]
    heading: FloatArray  # [R, 2] radians at the road's start and at its end
    reach_offsets: IntArray  # [R + 1]
    reach_targets: IntArray  # [E]

    @property
    def num_roads(self) -> int:
        """The number of directed roads."""
        return len(self.level)


@dataclass
class _Edges:
    """Directed roads between nodes, before shapes; `street` < 0 for those of the motorway."""

    origin: IntArray
    target: IntArray
    level: IntArray
    chain: IntArray
    street: IntArray
    is_bridge: NDArray[np.bool_]

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> _Edges:
        return _Edges(
            self.origin[index],
            self.target[index],
            self.level[index],
            self.chain[index],
            self.street[index],
            self.is_bridge[index],
        )


def make_streets(num_roads: int, seed: int) -> Streets:
    """The streets of a city of `num_roads` roads (within 2 %)."""
    scale = 1.0
    best: tuple[StreetPlan, FloatArray, FloatArray, _Edges] | None = None
    for attempt in range(8):
        rng = np.random.default_rng([seed, num_roads, attempt])
        plan = make_plan(max(40, round(scale * num_roads / _ROADS_PER_NODE)), rng)
        x, y, edges = _direct(plan, rng)
        built = _build_to_size(len(x), edges, num_roads, plan, rng)
        if best is None or abs(len(built.origin) - num_roads) < abs(
            len(best[3].origin) - num_roads
        ):
            best = (plan, x, y, built)
        miss = len(built.origin) / num_roads
        if abs(miss - 1.0) <= 0.01:
            break
        scale *= 1.06 if miss < 1 else 0.94
    assert best is not None
    plan, x, y, edges = best
    shapes = np.random.default_rng([seed, num_roads, 99])
    return _shape(plan, x, y, edges, shapes)


def _direct(plan: StreetPlan, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, _Edges]:
    """All roads that could be built: both directions of streets, one-ways, the motorway."""
    num_chains = int(plan.chain.max()) + 1
    a, b = plan.streets.T
    middle = np.hypot(plan.x[a] + plan.x[b], plan.y[a] + plan.y[b]) / 2
    centrality = np.exp(-((middle / (0.5 * plan.outline.radius_m)) ** 2))
    chain_centrality = np.bincount(plan.chain, centrality) / np.bincount(plan.chain)
    share = np.where(plan.level == RESIDENTIAL, 0.10 + 0.30 * chain_centrality[plan.chain], 0.0)
    share = np.where(plan.level == SECONDARY, 0.10, share)
    is_oneway = rng.random(num_chains)[plan.chain] < share
    # A one-way chain runs in one direction: along or against a direction of its own.
    angle = rng.uniform(0, 2 * np.pi, num_chains)[plan.chain]
    along = np.cos(angle) * (plan.x[b] - plan.x[a]) + np.sin(angle) * (plan.y[b] - plan.y[a]) > 0
    forward, backward = ~is_oneway | along, ~is_oneway | ~along
    street = np.arange(len(a))
    ring_x, ring_y, ring = _motorway(plan, num_chains, rng)
    edges = _Edges(
        origin=np.concatenate([a[forward], b[backward], ring.origin]),
        target=np.concatenate([b[forward], a[backward], ring.target]),
        level=np.concatenate([plan.level[forward], plan.level[backward], ring.level]),
        chain=np.concatenate([plan.chain[forward], plan.chain[backward], ring.chain]),
        street=np.concatenate([street[forward], street[backward], ring.street]),
        is_bridge=np.concatenate(
            [plan.is_bridge[forward], plan.is_bridge[backward], ring.is_bridge]
        ),
    )
    return np.concatenate([plan.x, ring_x]), np.concatenate([plan.y, ring_y]), edges


def _motorway(
    plan: StreetPlan, first_chain: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, _Edges]:
    """Two carriageways around the centre and the links that join them to arterials."""
    outline, num_nodes = plan.outline, len(plan.x)
    circumference = 2 * np.pi * outline.ring_share * outline.radius_m
    num_exits = max(3, round(circumference / 950))
    per_exit = max(2, round(circumference / num_exits / 330))
    count = num_exits * per_exit
    angle = 2 * np.pi * (np.arange(count) + rng.uniform(-0.15, 0.15, count)) / count
    xs, ys, parts = [], [], []
    is_arterial = np.zeros(num_nodes, dtype=bool)
    is_arterial[plan.streets[plan.level < RESIDENTIAL].ravel()] = True
    arterial = np.flatnonzero(is_arterial)
    for carriageway, sign in enumerate((1, -1)):
        radius = outline.ring_m(angle) + sign * _CARRIAGEWAY_OFFSET_M
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        node = num_nodes + carriageway * count + np.arange(count)
        following = np.roll(node, -sign)
        parts.append((node, following, MOTORWAY, first_chain + carriageway))
        exits = np.arange(0, count, per_exit)
        # Off before the crossing street, on again after it, as at real junctions.
        entries = (exits + sign) % count
        gap = np.hypot(
            plan.x[arterial] - (x[exits] + x[entries])[:, None] / 2,
            plan.y[arterial] - (y[exits] + y[entries])[:, None] / 2,
        )
        ground = arterial[gap.argmin(axis=1)]
        parts.append((node[exits], ground, LINK, first_chain + 2 + carriageway))
        parts.append((ground, node[entries], LINK, first_chain + 4 + carriageway))
        xs.append(x)
        ys.append(y)
    sizes = [len(part[0]) for part in parts]
    total = sum(sizes)
    return (
        np.concatenate(xs),
        np.concatenate(ys),
        _Edges(
            origin=np.concatenate([part[0] for part in parts]),
            target=np.concatenate([part[1] for part in parts]),
            level=np.repeat([part[2] for part in parts], sizes).astype(np.int64),
            chain=np.repeat([part[3] for part in parts], sizes).astype(np.int64),
            street=np.full(total, -1, dtype=np.int64),
            is_bridge=np.zeros(total, dtype=bool),
        ),
    )


def _build_to_size(
    num_nodes: int, edges: _Edges, num_roads: int, plan: StreetPlan, rng: np.random.Generator
) -> _Edges:
    """Builds as many side streets as give the wanted number of mutually reachable roads."""
    priority = rng.random(len(plan.streets))
    # Streets at crossings with few others stay rather than leave a dead end.
    degree = np.bincount(plan.streets.ravel(), minlength=num_nodes)
    priority -= 0.35 * (degree[plan.streets].min(axis=1) <= 3)
    priority[plan.level != RESIDENTIAL] = -1.0
    rank = np.empty(len(priority), dtype=np.int64)
    rank[np.argsort(priority, kind="stable")] = np.arange(len(priority))
    rank_of_edge = np.where(edges.street >= 0, rank[np.maximum(edges.street, 0)], -1)

    def build(num_streets: int) -> _Edges:
        return _mutually_reachable(num_nodes, edges.take(rank_of_edge < num_streets))

    low, high = 0, len(priority)
    best = build(high)
    while high - low > 1 and len(best.origin) != num_roads:
        middle = (low + high) // 2
        trial = build(middle)
        if abs(len(trial.origin) - num_roads) < abs(len(best.origin) - num_roads):
            best = trial
        if len(trial.origin) < num_roads:
            low = middle
        else:
            high = middle
    return best


def _mutually_reachable(num_nodes: int, edges: _Edges) -> _Edges:
    """The largest set of roads that can all reach each other."""
    while True:
        offsets, targets = _reach(num_nodes, edges)
        size = len(edges.origin)
        graph = csr_array((np.ones(len(targets), dtype=np.int8), targets, offsets), (size, size))
        count, part = connected_components(graph, directed=True, connection="strong")
        if count <= 1:
            return edges
        # Without the others some streets become dead ends, where one may turn: look again.
        edges = edges.take(part == np.bincount(part).argmax())


def _reach(num_nodes: int, edges: _Edges) -> tuple[IntArray, IntArray]:
    """Which roads follow each road: all that leave its end but its own way back.

    The way back is allowed where nothing else leaves.
    """
    size = len(edges.origin)
    by_origin = np.argsort(edges.origin, kind="stable")
    leaving = np.bincount(edges.origin, minlength=num_nodes)
    first = np.concatenate([[0], np.cumsum(leaving)])
    count = leaving[edges.target]
    source = np.repeat(np.arange(size), count)
    within = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
    target = by_origin[np.repeat(first[edges.target], count) + within]
    is_return = edges.target[target] == edges.origin[source]
    others = np.bincount(source, ~is_return, minlength=size)
    keep = ~is_return | (others[source] == 0)
    source, target = source[keep], target[keep]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=size))])
    return offsets.astype(np.int64), target.astype(np.int64)


def _shape(
    plan: StreetPlan, x: FloatArray, y: FloatArray, edges: _Edges, rng: np.random.Generator
) -> Streets:
    """Numbers nodes and roads in the order of the plan and bends the roads."""
    used, compact = np.unique(np.concatenate([edges.origin, edges.target]), return_inverse=True)
    size = len(edges.origin)
    compact = compact.reshape(-1).astype(np.int64)
    edges = _Edges(
        compact[:size], compact[size:], edges.level, edges.chain, edges.street, edges.is_bridge
    )
    x, y = x[used], y[used]
    edges = edges.take(np.lexsort((edges.target, edges.origin)))
    reach_offsets, reach_targets = _reach(len(used), edges)
    pieces = np.where(edges.level == MOTORWAY, 4, 1 + rng.integers(0, 3, size))
    lines = _polylines(plan, x, y, edges, pieces, rng)
    offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
    points = np.concatenate(lines)
    metre_lat = np.degrees(1.0 / EARTH_RADIUS_M)
    metre_lon = metre_lat / np.cos(np.radians(CENTER_LAT))
    lon = np.round(CENTER_LON + points[:, 0] * metre_lon, 7)
    lat = np.round(CENTER_LAT + points[:, 1] * metre_lat, 7)
    start, end = offsets[:-1], offsets[1:] - 1
    steps = haversine(lon[:-1], lat[:-1], lon[1:], lat[1:], EARTH_RADIUS_M)
    steps[end[:-1]] = 0.0
    leaving = points[start + 1] - points[start]
    arriving = points[end] - points[end - 1]
    two_way = _has_reverse(edges)
    return Streets(
        from_node=edges.origin,
        to_node=edges.target,
        level=edges.level,
        chain=np.unique(edges.chain, return_inverse=True)[1].reshape(-1).astype(np.int64),
        is_bridge=edges.is_bridge,
        is_oneway=~two_way,
        vertex_offsets=offsets,
        vertex_lon=lon,
        vertex_lat=lat,
        length_m=np.add.reduceat(np.append(steps, 0.0), start).round(3),
        x=segment_means(offsets, points[:, 0]),
        y=segment_means(offsets, points[:, 1]),
        heading=np.stack(
            [np.arctan2(leaving[:, 1], leaving[:, 0]), np.arctan2(arriving[:, 1], arriving[:, 0])],
            axis=1,
        ),
        reach_offsets=reach_offsets,
        reach_targets=reach_targets,
    )


def _has_reverse(edges: _Edges) -> NDArray[np.bool_]:
    span = int(max(edges.origin.max(), edges.target.max())) + 1
    return np.isin(edges.origin * span + edges.target, edges.target * span + edges.origin)


def _polylines(
    plan: StreetPlan,
    x: FloatArray,
    y: FloatArray,
    edges: _Edges,
    pieces: IntArray,
    rng: np.random.Generator,
) -> list[FloatArray]:
    """The vertices of every road in metres; both directions of a street have the same shape."""
    bend = rng.normal(0, 0.045, len(plan.streets) + 1)
    street_pieces = rng.integers(1, 4, len(plan.streets) + 1)
    lines = []
    for road in range(len(edges.origin)):
        a, b = int(edges.origin[road]), int(edges.target[road])
        street, level = int(edges.street[road]), int(edges.level[road])
        count = int(pieces[road]) if street < 0 else int(street_pieces[street])
        share = np.linspace(0, 1, max(count, 3 if level == LINK else 1) + 1)
        if level == MOTORWAY:
            lines.append(_along_ring(plan, x[[a, b]], y[[a, b]], share))
            continue
        curve = 0.12 if level == LINK else float(bend[street]) * (0.4 if level == PRIMARY else 1.0)
        if street >= 0 and a > b:
            curve = -curve
        bulge = curve * np.sin(np.pi * share)
        dx, dy = x[b] - x[a], y[b] - y[a]
        lines.append(
            np.stack([x[a] + share * dx - bulge * dy, y[a] + share * dy + bulge * dx], axis=1)
        )
    return lines


def _along_ring(plan: StreetPlan, x: FloatArray, y: FloatArray, share: FloatArray) -> FloatArray:
    angle = np.arctan2(y, x)
    turn = np.angle(np.exp(1j * (angle[1] - angle[0])))
    angles = angle[0] + share * turn
    offset = np.hypot(x[0], y[0]) - plan.outline.ring_m(angle[:1])[0]
    radius = plan.outline.ring_m(angles) + offset
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)
