"""Gives generated trips travel times drawn from the student's distribution.

The search goes by expected times; only what it returns is timed anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from search.trips import GeneratedTrip
from times.distribution import TimeDistribution
from times.drawing import draw_times

_TRIPS_A_BLOCK = 64


def with_drawn_times(
    trips: Iterator[GeneratedTrip],
    distribution: TimeDistribution,
    road_class: NDArray[np.int64],  # [R]
    seed: int,
) -> Iterator[GeneratedTrip]:
    """The same trips with drawn times, which depend on the seed and the trip's number alone."""
    while block := list(islice(trips, _TRIPS_A_BLOCK)):
        lengths = np.array([len(trip.road_ids) for trip in block])
        roads = np.concatenate([trip.road_ids for trip in block])
        drawn = draw_times(
            distribution,
            seed,
            numbers=np.array([trip.number for trip in block]),
            lengths=lengths,
            times=np.concatenate([trip.times for trip in block]),
            road_class=road_class[roads],
        )
        ends = np.cumsum(lengths)[:-1]
        for trip, times in zip(block, np.split(drawn, ends), strict=True):
            yield replace(trip, times=times)
