"""What the compiled loops share: points, the road network, the model's numbers, the search.

Named tuples of arrays, because numba takes them as they are. Positions are in metres on a plane
that is stretched east to west: `x` counts as if on the equator, and whoever measures multiplies
differences of `x` by the cosine of the latitude there, so the plane is right everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
Int32Array = NDArray[np.int32]

MAX_CANDIDATES = 32
"""Roads that a point may be on; the nearest ones count."""


class RawPoints(NamedTuple):
    """Points of receivers, sorted by vehicle and time."""

    vehicle: Int32Array  # [P]
    trip: IntArray  # [P]
    occupied: NDArray[np.int8]  # [P]
    time_s: FloatArray  # [P]
    lon: FloatArray  # [P]
    lat: FloatArray  # [P]


class SplitRules(NamedTuple):
    """Where one trip ends and the next begins; see `data.match.settings`."""

    drop_vacant: bool
    max_speed: float
    max_gap_s: float
    pause_s: float
    pause_radius_m: float


class Roads(NamedTuple):
    """R directed roads with V vertices and E turns from a road onto the next."""

    vertex_offsets: IntArray  # [R + 1]
    x: FloatArray  # [V]
    y: FloatArray  # [V]
    along_m: FloatArray  # [V] from the road's first vertex
    length_m: FloatArray  # [R]
    start_x: FloatArray  # [R] the first vertex
    start_y: FloatArray  # [R]
    free_s: FloatArray  # [R] seconds it takes without traffic
    reach_offsets: IntArray  # [R + 1]
    reach_targets: Int32Array  # [E]
    turn_m: Float32Array  # [E] what a turn costs, as metres of a detour
    twin: Int32Array  # [R] the same street in the other direction; −1 where there is none


class Grid(NamedTuple):
    """Which pieces of roads pass through each cell; a piece is known by its first vertex."""

    x0: float
    y0: float
    cell_x: float
    cell_y: float
    columns: int
    rows: int
    offsets: IntArray  # [cells + 1]
    pieces: Int32Array
    road_of_vertex: Int32Array  # [V]


class Model(NamedTuple):
    """The numbers of the hidden Markov model; see `data.match.settings`."""

    sigma_m: float
    radius_m: float
    max_radius_m: float
    beta_m: float
    beta_per_m: float
    slack_m: float
    slack_per_m: float
    margin_cost: float
    max_margin_m: float
    turns_within_m: float
    max_speed: float
    emission_cap: float
    heading_cost: float
    skip_cost: float
    max_skipped: int
    max_skip_m: float
    back_m: float
    end_m: float
    touch_m: float
    uturn_cost: float
    beam: float


class Points(NamedTuple):
    """P points of n trips, packed."""

    offsets: IntArray  # [n + 1]
    x: FloatArray  # [P]
    y: FloatArray  # [P]
    time_s: FloatArray  # [P]
    heading: Float32Array  # [P] radians from east, anticlockwise; NaN without one


class States(NamedTuple):
    """Scratch for one trip: the candidates of each point and the best ways to them."""

    road: Int32Array  # [P, MAX_CANDIDATES]
    along_m: Float32Array  # [P, MAX_CANDIDATES]
    distance_m: Float32Array  # [P, MAX_CANDIDATES]
    unlikely: Float32Array  # [P, MAX_CANDIDATES] what the point itself costs on that road
    cost: FloatArray  # [P, MAX_CANDIDATES] of the best way there
    back: Int32Array  # [P, MAX_CANDIDATES] the state before, as point · MAX_CANDIDATES + number
    counts: Int32Array  # [P] how many candidates
    chosen: Int32Array  # [P] the candidate on the best way; −1: left out
    leg: Int32Array  # [P] counted within the trip; −1: left out
    reached: Int32Array  # [P] the points of the leg in progress


class Places(NamedTuple):
    """Where each point lies in the end."""

    leg: Int32Array  # [P] −1 where the point is left out
    number: Int32Array  # [P] its road's number within the leg
    along_m: Float32Array  # [P]
    distance_m: Float32Array  # [P] from the point to its place on the road


class Ways(NamedTuple):
    """Space for legs: unbroken ways along the roads."""

    roads: Int32Array
    trip: Int32Array
    offsets: IntArray


class Step(NamedTuple):
    """From one point to the next: where that is, and how long the way there may be."""

    x: float
    y: float
    stretch: float
    straight_m: float
    bound_m: float
    margin_m: float
    beta_m: float


class Aim(NamedTuple):
    """Where a search goes: within `near_m` of a point."""

    x: float
    y: float
    stretch: float
    near_m: float
    turn_weight: float  # of what turns cost


SEARCHED_ROAD = np.dtype(
    [
        ("label", np.float64),  # metres, and what its beginning was worth
        ("way_m", np.float64),  # from the place before to the road's start
        ("priority", np.int64),
        ("stamp", np.int32),  # of the search that wrote this
        ("parent", np.int32),  # the road before it; −1: the way begins with it
        ("source", np.int32),  # the state that the way comes from
    ],
    align=True,
)


class Search(NamedTuple):
    """Space for one search at a time, of one thread."""

    nodes: NDArray[Any]  # [R] of `SEARCHED_ROAD`
    heap: IntArray  # [H] priority, then road
    now: Int32Array  # [2] the stamp of this search, and the size of the heap
    slot: NDArray[np.int8]  # [R] which candidate of the next point a road is; −1: none


def make_search(num_roads: int, num_turns: int) -> Search:
    """Space for searches on a network of so many roads."""
    return Search(
        nodes=np.zeros(num_roads, dtype=SEARCHED_ROAD),
        heap=np.empty(num_roads + num_turns + 16, dtype=np.int64),
        now=np.zeros(2, dtype=np.int32),
        slot=np.full(num_roads, -1, dtype=np.int8),
    )


def make_states(points: int) -> States:
    """Scratch for trips of up to so many points."""
    shape = (points, MAX_CANDIDATES)
    return States(
        road=np.empty(shape, dtype=np.int32),
        along_m=np.empty(shape, dtype=np.float32),
        distance_m=np.empty(shape, dtype=np.float32),
        unlikely=np.empty(shape, dtype=np.float32),
        cost=np.empty(shape, dtype=np.float64),
        back=np.empty(shape, dtype=np.int32),
        counts=np.empty(points, dtype=np.int32),
        chosen=np.empty(points, dtype=np.int32),
        leg=np.empty(points, dtype=np.int32),
        reached=np.empty(points, dtype=np.int32),
    )


def make_places(points: int) -> Places:
    """Places of points that are all left out as yet."""
    return Places(
        leg=np.full(points, -1, dtype=np.int32),
        number=np.zeros(points, dtype=np.int32),
        along_m=np.zeros(points, dtype=np.float32),
        distance_m=np.zeros(points, dtype=np.float32),
    )
