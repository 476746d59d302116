"""The street plan of a demo city: an undirected planar graph with districts, a river and arterials.

Districts are jittered lattices of their own direction, joined by a Delaunay triangulation whose
short cuts are taken out. Coordinates are metres around the centre. Which way one may drive, and
the motorway, come in `data.demo_city.streets`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

from data.demo_city.search import cheapest_edges

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOTORWAY, LINK, PRIMARY, SECONDARY, TERTIARY, RESIDENTIAL = range(6)
LEVEL_NAMES = ("motorway", "motorway_link", "primary", "secondary", "tertiary", "residential")

MEAN_SPACING_M = 94.0
RING_CLEARANCE_M = 38.0
_RIVER_HALF_WIDTH_M = 55.0
_RIVER_FROM_RADIUS_M = 1100.0


@dataclass(frozen=True)
class Outline:
    """The shape of the city: radius by direction, the motorway ring, the river."""

    radius_m: float
    harmonics: FloatArray  # [3, 2]: amplitude and phase of 2, 3 and 5 waves around the centre
    ring_share: float
    river: FloatArray  # direction, offset, amplitude, phase
    has_river: bool

    def rim_m(self, angle: FloatArray) -> FloatArray:
        """Distance from the centre to the edge of the city in a direction."""
        waves = np.array([2.0, 3.0, 5.0])
        amplitude, phase = self.harmonics[:, 0], self.harmonics[:, 1]
        swing = (amplitude * np.cos(waves * angle[..., None] + phase)).sum(axis=-1)
        return self.radius_m * (1.0 + swing)

    def ring_m(self, angle: FloatArray) -> FloatArray:
        """Distance from the centre to the motorway ring in a direction."""
        return self.ring_share * (0.5 * self.rim_m(angle) + 0.5 * self.radius_m)

    def from_ring_m(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Signed distance from the ring, negative inside (along the ray from the centre)."""
        return np.hypot(x, y) - self.ring_m(np.arctan2(y, x))

    def from_river_m(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Signed distance from the middle of the river; far away where the city has none."""
        if not self.has_river:
            return np.full(np.shape(x), 1e9)
        direction, offset, amplitude, phase = self.river
        along = x * np.cos(direction) + y * np.sin(direction)
        across = -x * np.sin(direction) + y * np.cos(direction)
        bend = amplitude * np.sin(2.2 * along / self.radius_m + phase)
        return across - offset - bend


@dataclass
class StreetPlan:
    """Streets (undirected) between N nodes."""

    outline: Outline
    x: FloatArray  # [N] metres east of the centre
    y: FloatArray  # [N] metres north
    streets: IntArray  # [S, 2] nodes, the smaller first
    level: IntArray  # [S] PRIMARY ... RESIDENTIAL
    is_bridge: NDArray[np.bool_]  # [S] over the river or the motorway
    chain: IntArray  # [S] streets that continue each other straight on share a number

    @property
    def length_m(self) -> FloatArray:
        """Straight length of each street."""
        a, b = self.streets[:, 0], self.streets[:, 1]
        return np.hypot(self.x[a] - self.x[b], self.y[a] - self.y[b])


def make_plan(num_nodes: int, rng: np.random.Generator) -> StreetPlan:
    """Lays out a city of about `num_nodes` crossings."""
    outline = _make_outline(num_nodes, rng)
    x, y = _place_nodes(num_nodes, outline, rng)
    streets = _join_nodes(x, y)
    crosses_river = _changes_side(outline.from_river_m(x, y), streets)
    crosses_ring = _changes_side(outline.from_ring_m(x, y), streets)
    level = _choose_arterials(x, y, streets, crosses_river, outline, rng)
    # Side streets rarely have a bridge of their own.
    has_bridge = (level != RESIDENTIAL) | (rng.random(len(streets)) < 0.25)
    keep = (~crosses_river | (level != RESIDENTIAL)) & (~crosses_ring | has_bridge)
    streets, level = streets[keep], level[keep]
    return StreetPlan(
        outline=outline,
        x=x,
        y=y,
        streets=streets,
        level=level,
        is_bridge=(crosses_river | crosses_ring)[keep],
        chain=_straight_chains(x, y, streets, level),
    )


def _make_outline(num_nodes: int, rng: np.random.Generator) -> Outline:
    radius = MEAN_SPACING_M * np.sqrt(num_nodes / np.pi)
    harmonics = np.stack([rng.uniform(0.02, 0.09, 3), rng.uniform(0, 2 * np.pi, 3)], axis=1)
    has_river = bool(radius > _RIVER_FROM_RADIUS_M)
    river = np.array(
        [
            rng.uniform(0, np.pi),
            rng.uniform(0.2, 0.45) * radius * rng.choice([-1.0, 1.0]),
            rng.uniform(0.08, 0.18) * radius,
            rng.uniform(0, 2 * np.pi),
        ]
    )
    return Outline(float(radius), harmonics, 0.66, river, has_river)


def _place_nodes(
    num_nodes: int, outline: Outline, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Crossings on the lattices of the districts, denser towards the centre."""
    num_districts = max(5, num_nodes // 110)
    reach = 1.25 * outline.radius_m
    seeds = rng.uniform(-reach, reach, (2 * num_districts, 2))
    angle = rng.uniform(0, np.pi / 2, len(seeds))
    # Neighbouring districts share a direction more often than chance.
    angle = np.where(rng.random(len(seeds)) < 0.45, 0.2, angle)
    spacing = MEAN_SPACING_M * (0.82 + 0.3 * np.hypot(*seeds.T) / outline.radius_m)
    stretch = rng.uniform(0.75, 1.35, len(seeds))
    jitter = rng.uniform(0.06, 0.24, len(seeds))
    parks = rng.uniform(-0.9, 0.9, (max(1, num_nodes // 500), 2)) * outline.radius_m
    park_radius = rng.uniform(60, 170, len(parks))
    tree = cKDTree(seeds)
    fill = 1.0
    for _ in range(6):
        patches = []
        district_rng = np.random.default_rng(rng.integers(2**63))
        for district in range(len(seeds)):
            step = fill * spacing[district] * np.array([stretch[district], 1 / stretch[district]])
            points = _lattice(
                seeds[district],
                angle[district],
                step,
                jitter[district],
                3.2 * reach / np.sqrt(len(seeds)),
                district_rng,
            )
            patches.append(points[tree.query(points)[1] == district])
        x, y = np.concatenate(patches).T
        inside = np.hypot(x, y) < outline.rim_m(np.arctan2(y, x))
        inside &= np.abs(outline.from_ring_m(x, y)) > RING_CLEARANCE_M
        inside &= np.abs(outline.from_river_m(x, y)) > _RIVER_HALF_WIDTH_M
        for (park_x, park_y), radius in zip(parks, park_radius):
            inside &= np.hypot(x - park_x, y - park_y) > radius
        x, y = _thin(x[inside], y[inside], 0.42 * MEAN_SPACING_M * fill)
        if abs(len(x) - num_nodes) <= 0.02 * num_nodes:
            break
        fill *= np.sqrt(len(x) / num_nodes)
    return x, y


def _lattice(
    seed: FloatArray,
    angle: float,
    step: FloatArray,
    jitter: float,
    reach: float,
    rng: np.random.Generator,
) -> FloatArray:
    count = np.ceil(reach / step).astype(int)
    u, v = np.meshgrid(
        np.arange(-count[0], count[0] + 1) * step[0],
        np.arange(-count[1], count[1] + 1) * step[1],
    )
    u, v = u.ravel(), v.ravel()
    u = u + rng.normal(0, jitter * step[0], len(u))
    v = v + rng.normal(0, jitter * step[1], len(v))
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([seed[0] + cos * u - sin * v, seed[1] + sin * u + cos * v], axis=1)


def _thin(x: FloatArray, y: FloatArray, min_distance: float) -> tuple[FloatArray, FloatArray]:
    """Drops nodes that stand too close to an earlier one (where districts meet)."""
    pairs = cKDTree(np.stack([x, y], axis=1)).query_pairs(min_distance, output_type="ndarray")
    keep = np.ones(len(x), dtype=bool)
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if keep[first]:
            keep[second] = False
    return x[keep], y[keep]


def _join_nodes(x: FloatArray, y: FloatArray) -> IntArray:
    """Delaunay edges without the long sides of flat triangles, which cut through blocks."""
    corners = Delaunay(np.stack([x, y], axis=1)).simplices.astype(np.int64)
    edges, cuts = [], []
    for opposite in range(3):
        a, b = corners[:, (opposite + 1) % 3], corners[:, (opposite + 2) % 3]
        c = corners[:, opposite]
        ax, ay, bx, by = x[a] - x[c], y[a] - y[c], x[b] - x[c], y[b] - y[c]
        cosine = (ax * bx + ay * by) / (np.hypot(ax, ay) * np.hypot(bx, by))
        edges.append(np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1))
        cuts.append(cosine < np.cos(np.radians(80)))
    streets, index = np.unique(np.concatenate(edges), axis=0, return_inverse=True)
    is_cut = np.bincount(index.reshape(-1), np.concatenate(cuts), minlength=len(streets)) > 0
    length = np.hypot(*(np.stack([x, y])[:, streets[:, 0]] - np.stack([x, y])[:, streets[:, 1]]))
    # Long ones span parks and the river; the river gets its bridges from them.
    return streets[~is_cut & (length < 2.9 * MEAN_SPACING_M)]


def _changes_side(signed: FloatArray, streets: IntArray) -> NDArray[np.bool_]:
    return (signed[streets[:, 0]] > 0) != (signed[streets[:, 1]] > 0)


def _choose_arterials(
    x: FloatArray,
    y: FloatArray,
    streets: IntArray,
    crosses_river: NDArray[np.bool_],
    outline: Outline,
    rng: np.random.Generator,
) -> IntArray:
    """Levels of the streets: hubs ever denser, joined along straight and already wide streets."""
    level = np.full(len(streets), RESIDENTIAL, dtype=np.int64)
    length = np.hypot(*(np.stack([x, y])[:, streets[:, 0]] - np.stack([x, y])[:, streets[:, 1]]))
    cost = length * rng.uniform(0.9, 1.1, len(streets)) + np.where(crosses_river, 500.0, 0.0)
    offsets, neighbour, street_of = _adjacency(len(x), streets)
    order = rng.permutation(len(x))
    primary_gap = float(np.clip(0.62 * outline.radius_m, 520, 2000))
    plans = ((PRIMARY, 1.0, 0.45), (SECONDARY, 0.55, 0.55), (TERTIARY, 0.3, 0.7))
    for kind, share, discount in plans:
        hubs = _spread_hubs(x, y, order, max(230.0, share * primary_gap))
        for source, target in _hub_pairs(x[hubs], y[hubs], 2.6 * max(230.0, share * primary_gap)):
            slots = cheapest_edges(
                offsets, neighbour, cost[street_of], x, y, hubs[source], hubs[target], 70.0
            )
            path = street_of[slots]
            fresh = path[level[path] == RESIDENTIAL]
            level[fresh] = kind
            cost[fresh] = length[fresh] * discount
    return level


def _adjacency(num_nodes: int, streets: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    origin = np.concatenate([streets[:, 0], streets[:, 1]])
    neighbour = np.concatenate([streets[:, 1], streets[:, 0]])
    order = np.argsort(origin, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(origin, minlength=num_nodes))])
    return offsets.astype(np.int64), neighbour[order], order % len(streets)


def _spread_hubs(x: FloatArray, y: FloatArray, order: IntArray, gap: float) -> IntArray:
    """Nodes at least `gap` apart, taken greedily in a fixed order (so denser sets nest)."""
    tree = cKDTree(np.stack([x, y], axis=1))
    free = np.ones(len(x), dtype=bool)
    hubs = []
    for node in order:
        if free[node]:
            hubs.append(node)
            free[tree.query_ball_point([x[node], y[node]], gap)] = False
    return np.array(hubs, dtype=np.int64)


def _hub_pairs(x: FloatArray, y: FloatArray, max_distance: float) -> IntArray:
    if len(x) < 4:
        return np.array([(i, j) for i in range(len(x)) for j in range(i)], dtype=np.int64)
    corners = Delaunay(np.stack([x, y], axis=1)).simplices
    sides = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    pairs = np.unique(np.sort(sides, axis=1), axis=0).astype(np.int64)
    distance = np.hypot(x[pairs[:, 0]] - x[pairs[:, 1]], y[pairs[:, 0]] - y[pairs[:, 1]])
    order = np.argsort(distance, kind="stable")
    pairs, distance = pairs[order], distance[order]
    # Every third of the longer connections is left out: arterials are no triangulation.
    keep = (distance < max_distance) & ((np.arange(len(pairs)) % 3 != 2) | (distance < 300))
    return pairs[keep]


def _straight_chains(x: FloatArray, y: FloatArray, streets: IntArray, level: IntArray) -> IntArray:
    """Joins streets that continue each other (below 32 degrees) into chains, as named streets."""
    offsets, neighbour, street_of = _adjacency(len(x), streets)
    parent = np.arange(len(streets), dtype=np.int64)

    def root(street: int) -> int:
        while parent[street] != street:
            parent[street] = parent[parent[street]]
            street = int(parent[street])
        return street

    for node in range(len(x)):
        slots = np.arange(offsets[node], offsets[node + 1])
        heading = np.arctan2(y[neighbour[slots]] - y[node], x[neighbour[slots]] - x[node])
        bend = np.abs(np.angle(np.exp(1j * (heading[:, None] - heading[None, :] - np.pi))))
        kinds = level[street_of[slots]]
        bend = np.where(kinds[:, None] == kinds[None, :], bend, 9.0)
        bend[np.tril_indices(len(slots))] = 9.0
        used: set[int] = set()
        for flat in np.argsort(bend, axis=None):
            i, j = divmod(int(flat), len(slots))
            if bend[i, j] > np.radians(32):
                break
            if i not in used and j not in used:
                used.update((i, j))
                parent[root(int(street_of[slots[i]]))] = root(int(street_of[slots[j]]))
    roots = np.array([root(street) for street in range(len(streets))], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].reshape(-1).astype(np.int64)
