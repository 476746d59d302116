"""From legs to the trips of a dataset: ends trimmed, short ones and loops by choice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.match.matcher import Legs
from data.match.network import MatchNetwork
from data.match.settings import MatchSettings

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Trips:
    """n finished trips, packed, in the order of vehicles and times."""

    vehicle: NDArray[np.int32]  # [n]
    offsets: IntArray  # [n + 1]
    roads: NDArray[np.int32]  # [S]
    entry_s: IntArray  # [S] whole seconds since 1970, UTC
    length_m: NDArray[np.float64]  # [n]

    def __len__(self) -> int:
        return len(self.vehicle)


def trips_of_legs(
    legs: Legs,
    vehicle_of_trip: NDArray[np.int32],
    network: MatchNetwork,
    settings: MatchSettings,
    counts: Counter[str],
) -> Trips:
    """The legs that are trips; `counts` gets those that are not, by reason."""
    start, end = legs.offsets[:-1].copy(), legs.offsets[1:].copy()
    vehicle = vehicle_of_trip[legs.trip]
    if settings.loops != "keep":
        loop_starts = _repeats(legs)
        if settings.loops == "drop":
            has_loop = np.array([bool(cuts) for cuts in loop_starts], dtype=bool)
            counts["legs: dropped, with a loop"] += int(has_loop.sum())
            start, end, vehicle = start[~has_loop], end[~has_loop], vehicle[~has_loop]
        else:
            counts["legs: cut at a loop"] += sum(map(len, loop_starts))
            bounds = [[a, *cuts, b] for a, cuts, b in zip(start, loop_starts, end)]
            repeats = np.array([len(cuts) + 1 for cuts in loop_starts], dtype=np.int64)
            start = np.array([a for row in bounds for a in row[:-1]], dtype=np.int64)
            end = np.array([b for row in bounds for b in row[1:]], dtype=np.int64)
            vehicle = np.repeat(vehicle, repeats)
    short = end - start < settings.min_roads
    counts["legs: too short"] += int(short.sum())
    start, end, vehicle = start[~short], end[~short], vehicle[~short]
    sizes = end - start
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    take = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - start, sizes)
    roads = legs.roads[take]
    whole = np.round(legs.entry_s[take]).astype(np.int64)
    trip = np.repeat(np.arange(len(sizes)), sizes)
    length = np.bincount(trip, network.roads.length_m[roads], minlength=len(sizes)).astype(float)
    counts["trips"] += len(sizes)
    counts["roads in trips"] += len(roads)
    return Trips(vehicle.astype(np.int32), offsets, roads, whole, length)


def _repeats(legs: Legs) -> list[list[int]]:
    """Where each leg comes onto a road that it was on before, since the last such place."""
    places: list[list[int]] = []
    for leg in range(len(legs.trip)):
        seen: set[int] = set()
        cuts: list[int] = []
        first = int(legs.offsets[leg])
        for number, road in enumerate(legs.roads[first : legs.offsets[leg + 1]].tolist()):
            if road in seen:
                cuts.append(first + number)
                seen = set()
            seen.add(road)
        places.append(cuts)
    return places
