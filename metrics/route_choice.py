"""Do generated trips choose between the routes of a pair as real ones do?

A route is the sequence of roads. Looked at are pairs of OD cells with enough real trips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.distributions import jensen_shannon
from metrics.floor import SampleSizes, sampling_floor
from metrics.od import OdGrid
from metrics.trips import Trips
from runtime.hashing import hash_at

MIN_REAL_TRIPS = 10
RouteIds = NDArray[np.uint64]


@dataclass(frozen=True)
class RouteChoice:
    """Means over the OD pairs, weighted by their real trips."""

    divergence: float  # Jensen-Shannon, nats, of generated route shares from real ones
    floor: float  # of the divergence: what two samples of the real trips differ by
    real_routes: float  # different routes among as many real trips as there are generated
    generated_routes: float  # different routes among as many generated trips as there are real


def route_choice(real: Trips, generated: Trips, grid: OdGrid) -> RouteChoice | None:
    """How routes are chosen; None where no OD pair has enough real, and any generated trips."""
    keys = grid.od_key(real), grid.od_key(generated)
    routes = route_ids(real), route_ids(generated)
    pairs, counts = np.unique(keys[0][keys[0] >= 0], return_counts=True)
    rng = np.random.default_rng(0)
    found, weights = [], []
    for pair in pairs[counts >= MIN_REAL_TRIPS]:
        here, there = (side[key == pair] for side, key in zip(routes, keys, strict=True))
        if not len(there):
            continue
        same = min(len(here), len(there))
        names = np.unique(np.concatenate([here, there]))
        shares = [np.bincount(np.searchsorted(names, side), minlength=len(names))
                  for side in (here, there)]  # fmt: skip
        floor = sampling_floor(shares[0], SampleSizes(len(here), len(there)), rng)
        different = (len(np.unique(side[:same])) for side in (here, there))
        found.append((float(jensen_shannon(shares[0], shares[1])), floor, *different))
        weights.append(len(here))
    if not found:
        return None
    return RouteChoice(*(float(v) for v in np.average(np.array(found), axis=0, weights=weights)))


def copied(generated: Trips, training: Trips) -> NDArray[np.bool_]:
    """Which generated trips drive exactly the roads of a training trip. [n]"""
    return np.isin(route_ids(generated), route_ids(training))


def route_ids(trips: Trips) -> RouteIds:
    """A number for the roads of each trip, in their order. [n]"""
    position = np.arange(len(trips.road_ids)) - np.repeat(trips.offsets[:-1], trips.lengths)
    return np.add.reduceat(hash_at(0, trips.road_ids, position), trips.offsets[:-1])
