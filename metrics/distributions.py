"""How alike two sets of trips are as a whole: distance, duration and radius of gyration.

Values, histograms and the Jensen-Shannon divergence between them; confidence is
`metrics.statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork
from metrics.trips import Trips

FloatArray = NDArray[np.float64]

NUM_BINS = 100
SECONDS_PER_MINUTE = 60.0


@dataclass(frozen=True)
class Values:
    """A quantity of trips: one or more `values` per unit of resampling, `unit[i]` its trip."""

    values: FloatArray  # [v]
    unit: NDArray[np.int64]  # [v], ascending


@dataclass(frozen=True)
class TripQuantities:
    """The three quantities that are compared as distributions."""

    distance_km: Values
    duration_minutes: Values  # one value per segment
    radius_km: Values

    def named(self) -> dict[str, Values]:
        """Each quantity under its name in the results."""
        return {
            "distance": self.distance_km,
            "duration": self.duration_minutes,
            "radius": self.radius_km,
        }


def measure(trips: Trips, network: RoadNetwork) -> TripQuantities:
    """Distance, segment durations and radius of each trip.

    A trip of one road has neither distance nor duration, as published.
    """
    from metrics.trip_kernels import measure_trips

    distance, radius = np.empty(len(trips)), np.empty(len(trips))
    measure_trips(
        trips.road_ids, trips.offsets, network.center_lat, network.center_lon, distance, radius
    )
    lengths = trips.lengths
    moving = np.flatnonzero(lengths > 1)
    inside = np.ones(len(trips.times), dtype=bool)
    inside[trips.offsets[:-1]] = False
    minutes = np.diff(trips.times, prepend=0)[inside] / SECONDS_PER_MINUTE
    return TripQuantities(
        distance_km=Values(distance[moving], moving),
        duration_minutes=Values(minutes, np.repeat(np.arange(len(trips)), lengths - 1)),
        radius_km=Values(radius, np.arange(len(trips))),
    )


def bin_edges(real: FloatArray) -> FloatArray:
    """The published bins: 100 edges from 0 to the real maximum, and one open bin above."""
    return np.append(np.linspace(0.0, float(real.max()), NUM_BINS), np.inf)


def bin_index(values: FloatArray, edges: FloatArray) -> NDArray[np.int64]:
    """Which bin each value falls into; the lower edge belongs to the bin."""
    return np.searchsorted(edges[1:-1], values, side="right")


def histogram(values: FloatArray, edges: FloatArray) -> NDArray[np.int64]:
    """How many values fall into each bin. [NUM_BINS]"""
    return np.bincount(bin_index(values, edges), minlength=len(edges) - 1)


def jensen_shannon(first: NDArray[np.number], second: NDArray[np.number]) -> FloatArray:
    """The divergence, in nats, between histograms along the last axis."""
    p = first / first.sum(axis=-1, keepdims=True)
    q = second / second.sum(axis=-1, keepdims=True)
    middle = (p + q) / 2.0
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2.0


def _relative_entropy(p: FloatArray, q: FloatArray) -> FloatArray:
    p, q = np.broadcast_arrays(p, q)
    ratio = np.divide(p, q, out=np.ones(p.shape), where=p > 0)
    return np.sum(p * np.log(ratio), axis=-1)
