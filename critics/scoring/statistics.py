"""From surprises at positions to numbers for whole trips, and for trips that still grow.

Raw numbers depend on how long a trip is and how often it is driven; `calibration` takes that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from critics.scoring.judges import Surprises, TimeSurprises
from data.laid_out import places_left
from metrics.trips import Trips

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# A detour is a stretch of a trip; sums over the whole trip drown a short one in a long trip.
STRETCH_ROADS = 12
ROADS_NAMED = 5  # of each trip, the most surprising ones


@dataclass(frozen=True)
class RouteSurprise:
    """How surprising the roads of each trip are. All [n]."""

    total: FloatArray  # nats
    per_decision: FloatArray  # nats, over positions with more than one way on
    stretch: FloatArray  # nats beyond what the judge expected, on the worst stretch of roads
    strangest: IntArray  # [n, ROADS_NAMED], places of the greatest surprises, -1 in shorter trips

    @classmethod
    def joined(cls, parts: Sequence[RouteSurprise]) -> RouteSurprise:
        """Those of all parts' trips, one part after the other."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def route_surprise(found: Surprises, offsets: IntArray, ways: IntArray) -> RouteSurprise:
    """Sums over each trip's positions; `ways` [P] is how many roads could come next."""
    total = sums(found.route, offsets)
    decisions = np.maximum(sums((ways > 1).astype(np.float64), offsets), 1.0)
    stretch = largest_window(found.route - found.entropy, offsets, STRETCH_ROADS)
    strangest = most_surprising(found.route, offsets, ROADS_NAMED)
    return RouteSurprise(total, total / decisions, stretch, strangest)


@dataclass(frozen=True)
class TimeSurprise:
    """How surprising the travel times of each trip are. All [n]."""

    per_road: FloatArray  # nats, of times at least as unusual
    stretch: FloatArray  # nats beyond what is usual, on the worst stretch of roads
    drift: FloatArray  # how far the trip is slow, or fast, all along, in deviations


def time_surprise(found: TimeSurprises, offsets: IntArray) -> TimeSurprise:
    """Sums over each trip's positions."""
    roads = np.maximum(np.diff(offsets), 1)
    tail = found.tail
    return TimeSurprise(
        per_road=sums(tail, offsets) / roads,
        stretch=largest_window(tail - 1.0, offsets, STRETCH_ROADS),  # usual is one nat
        drift=np.abs(sums(found.score, offsets)) / roads,
    )


def sums(values: FloatArray, offsets: IntArray) -> FloatArray:
    """The sum over each trip's positions. [n]"""
    running = np.concatenate([[0.0], np.cumsum(values)])
    return running[offsets[1:]] - running[offsets[:-1]]


def largest_window(values: FloatArray, offsets: IntArray, width: int) -> FloatArray:
    """The largest sum over `width` consecutive positions of each trip, or over all it has. [n]"""
    running = np.concatenate([[0.0], np.cumsum(values)])
    lengths = np.diff(offsets)
    whole = running[offsets[1:]] - running[offsets[:-1]]
    last = np.repeat(offsets[1:], lengths)  # where each position's trip ends
    start = np.arange(len(values))
    inside = start + width <= last
    window = np.where(inside, running[np.minimum(start + width, last)] - running[:-1], -np.inf)
    long = lengths > width
    if not long.any():
        return whole
    largest = np.maximum.reduceat(window, offsets[:-1][lengths > 0])
    result = whole.copy()
    result[long] = largest[long[lengths > 0]]
    return result


def most_surprising(values: FloatArray, offsets: IntArray, count: int) -> IntArray:
    """The positions within each trip of its `count` largest values, -1 where it is shorter."""
    lengths = np.diff(offsets)
    trip = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-values, trip))
    place = offsets[:-1, None] + np.arange(count)
    short = np.arange(count) >= lengths[:, None]
    within = order[np.where(short, 0, place)] - offsets[:-1, None] if len(order) else place
    return np.where(short, -1, within)


def ways_on(trips: Trips, out_degree: IntArray) -> IntArray:
    """How many roads could come next at each position. [P]"""
    return out_degree[trips.road_ids[places_left(trips.offsets)]]
