"""Matching of cleaned trips: packed points in, legs along the roads and their times out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import (
    Model,
    Places,
    Points,
    Ways,
    make_places,
    make_search,
    make_states,
)
from data.match.network import METRES_PER_DEGREE, MatchNetwork
from data.match.settings import TYPICAL_SIGMA_M

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_WAYS = 1 << 20
_MIN_PLACES = 6
_NEAR_M = 100.0
_PLACE_M = 50.0


@dataclass(frozen=True)
class TripPoints:
    """n trips of points that tell of movement, packed."""

    offsets: IntArray  # [n + 1]
    lon: FloatArray  # [P]
    lat: FloatArray  # [P]
    arrive_s: FloatArray  # [P] when the place was reached
    leave_s: FloatArray  # [P] when it was left; later than `arrive_s` after a stop
    heading: NDArray[np.float32]  # [P] degrees from north, clockwise; NaN without one


@dataclass(frozen=True)
class Legs:
    """m legs: unbroken ways along roads. A trip has none, one, or several where it broke."""

    trip: NDArray[np.int32]  # [m]
    offsets: IntArray  # [m + 1]
    roads: NDArray[np.int32]  # [S]
    entry_s: FloatArray  # [S] when each road is entered
    places: Places  # of the P points


class Matcher:
    """Matches trips on one network. One for each thread."""

    def __init__(self, network: MatchNetwork, model: Model) -> None:
        self.network = network
        self.model = model
        self._search = make_search(network.num_roads, len(network.roads.reach_targets))

    def match(self, trips: TripPoints) -> Legs:
        """The legs of all trips, in the trips' order."""
        from data.match.leg_kernels import match_trips
        from data.match.times_kernels import entry_times

        roads = self.network.roads
        points = Points(
            trips.offsets,
            trips.lon * METRES_PER_DEGREE,
            trips.lat * METRES_PER_DEGREE,
            trips.arrive_s,
            np.radians(90.0 - trips.heading).astype(np.float32),
        )
        size = len(points.x)
        states = make_states(int(np.diff(points.offsets).max(initial=1)))
        places = make_places(size)
        ways = _space(_WAYS, size)
        parts: list[tuple[NDArray[np.int32], IntArray, NDArray[np.int32]]] = []
        first, legs = 0, 0
        while first < len(points.offsets) - 1:
            following, found = match_trips(
                roads,
                self.network.grid,
                self.model,
                self._search,
                points,
                first,
                states,
                places,
                ways,
            )
            if following == first:  # one trip alone is longer
                ways = _space(2 * len(ways.roads), size)
                continue
            used = slice(points.offsets[first], points.offsets[following])
            places.leg[used] += np.where(places.leg[used] >= 0, legs, 0).astype(np.int32)
            bounds = ways.offsets[: found + 1]
            parts.append(
                (ways.trip[:found].copy(), np.diff(bounds), ways.roads[: bounds[-1]].copy())
            )
            first, legs = following, legs + found
        trip = np.concatenate([np.empty(0, np.int32), *(part[0] for part in parts)])
        counts = np.concatenate([np.zeros(1, np.int64), *(part[1] for part in parts)])
        driven = np.concatenate([np.empty(0, np.int32), *(part[2] for part in parts)])
        offsets = np.cumsum(counts)
        entry = np.empty(len(driven), dtype=np.float64)
        entry_times(roads, offsets, driven, places, trips.arrive_s, trips.leave_s, entry)
        return Legs(trip, offsets, driven, entry, places)


def _space(roads: int, points: int) -> Ways:
    return Ways(
        np.empty(roads, dtype=np.int32),
        np.empty(points + 1, dtype=np.int32),
        np.empty(points + 2, dtype=np.int64),
    )


def estimate_sigma_m(network: MatchNetwork, lon: FloatArray, lat: FloatArray) -> float:
    """The receiver's error, robustly, from how far points in motion are from the nearest road.

    A place counts once, so that a long stop far from the streets does not decide.
    """
    from data.match.grid_kernels import nearest_distances

    stretch = np.cos(np.radians(lat))
    x, y = lon * METRES_PER_DEGREE, lat * METRES_PER_DEGREE
    cells = np.stack([np.floor(x * stretch / _PLACE_M), np.floor(y / _PLACE_M)])
    _, once = np.unique(cells, axis=1, return_index=True)
    distance = np.empty(len(once), dtype=np.float32)
    nearest_distances(
        network.roads, network.grid, x[once], y[once], stretch[once], _NEAR_M, distance
    )
    found = distance[distance <= _NEAR_M]
    if len(found) < _MIN_PLACES:
        return TYPICAL_SIGMA_M
    return float(1.4826 * np.median(found))
