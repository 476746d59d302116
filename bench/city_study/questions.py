"""What an honest reader asks of a dataset: is it too easy, and how far do matching errors go?

Computed from trips and roads alone, without any model. A position is a road of a trip but the
last; its choice is the road after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from critics.most_frequent import MostFrequent
from critics.scoring.trips import as_dataset
from critics.way import Way
from critics.way_fitting import fit_way
from data.choices import Choices, judge
from data.laid_out import here_and_taken
from data.road_network import RoadNetwork
from data.routes import RouteFinder
from metrics.trips import Trips
from runtime.errors import UserError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

WINDOW_MINUTES = (1, 2, 4)
TRIPS_AT_ONCE = 500
WINDOWS = 50_000  # of each length, at most
LONG_WAY = (
    1.5  # times the shortest: within a minute, more often a wrong road than a driver's choice
)
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Positions:
    """The positions of trips, one after the other. [P] each"""

    trip: IntArray
    here: IntArray
    before: IntArray  # the road before, or -1
    destination: IntArray
    taken: IntArray

    @classmethod
    def of(cls, trips: Trips) -> Positions:
        """All positions of the trips."""
        trip = np.repeat(np.arange(len(trips)), trips.lengths)
        roads = trips.road_ids.astype(np.int64)
        at = np.flatnonzero(trip[:-1] == trip[1:])
        begins = np.isin(at, trips.offsets[:-1])
        before = np.where(begins, -1, roads[np.maximum(at - 1, 0)])
        destination = trips.destination.astype(np.int64)[trip[at]]
        return cls(trip[at], roads[at], before, destination, roads[at + 1])

    def __len__(self) -> int:
        return len(self.trip)


class Favourites:
    """The road most often taken next in each context; contexts never seen know none."""

    def __init__(self, context: IntArray, taken: IntArray, num_roads: int) -> None:
        key, count = np.unique(context * num_roads + taken, return_counts=True)
        context_of, road = np.divmod(key, num_roads)
        order = np.lexsort((road, -count, context_of))
        self.contexts, first = np.unique(context_of[order], return_index=True)
        self.roads = road[order][first]

    def of(self, context: IntArray) -> IntArray:
        """The favourite of each context, or -1. [P]"""
        place = np.searchsorted(self.contexts, context).clip(max=max(len(self.contexts) - 1, 0))
        if not len(self.contexts):
            return np.full(len(context), -1, dtype=np.int64)
        return np.where(self.contexts[place] == context, self.roads[place], -1)


def _contexts(network: RoadNetwork, at: Positions) -> dict[str, IntArray]:
    """What a yardstick looks at, the least first: each falls back on those before it."""
    zones = network.require_zones()
    zone = zones.road2zone.astype(np.int64)[at.destination]
    return {
        "road": at.here,
        "road and the one before": at.here * (network.num_roads + 1) + at.before + 1,
        "road and destination's zone": at.here * zones.num_zones + zone,
    }


def yardsticks(network: RoadNetwork, train: Positions, test: Positions) -> dict[str, BoolArray]:
    """Which choices the most frequent one in each kind of context gets right. [P] each"""
    known, asked = _contexts(network, train), _contexts(network, test)
    by_road = Favourites(known["road"], train.taken, network.num_roads).of(asked["road"])
    # Where no trip has passed: the first way on, as good as any.
    first_way = network.reach_targets[
        np.minimum(network.reach_offsets[test.here], len(network.reach_targets) - 1)
    ]
    fallback = np.where(by_road >= 0, by_road, first_way)
    found = {}
    for name in known:
        favourite = Favourites(known[name], train.taken, network.num_roads).of(asked[name])
        found[name] = np.where(favourite >= 0, favourite, fallback) == test.taken
    return found


def by_the_way(network: RoadNetwork, train: Trips, val: Trips, test: Trips) -> BoolArray:
    """Which choices the most frequent transition gets right where detours cost something. [P]

    What they cost is found on `val`, as it is for a teacher.
    """
    known, fitted, asked = (as_dataset(trips, network, (0.0, 1.0)) for trips in (train, val, test))
    frequent = MostFrequent(known)
    found = fit_way(frequent, fitted, known)
    if found is None:
        raise UserError("There are too few validation trips to find out what detours cost.")
    way = Way(found.sense, network)
    rights = []
    for first in range(0, len(test), TRIPS_AT_ONCE):
        trips = np.arange(first, min(first + TRIPS_AT_ONCE, len(test)))
        road_ids, offsets = asked.laid_out(trips)
        here, taken = here_and_taken(road_ids, offsets)
        choices = Choices.of(network, here, taken)
        opinion = torch.from_numpy(frequent.logit[choices.edge])
        likeliest = judge(way.bend_along(opinion, road_ids, offsets).numpy(), choices).likeliest
        rights.append((likeliest >= 0) & (network.reach_targets[likeliest] == taken))
    return np.concatenate(rights)


def how_easy(
    network: RoadNetwork, train: Trips, val: Trips, test: Trips, sizes: Sequence[int]
) -> dict[str, Any]:
    """How far yardsticks come, by training trips, and what nobody can know."""
    asked = Positions.of(test)
    choice = network.out_degree[asked.here] > 1
    rows = []
    for size in sizes:
        seen_by = train.select(np.arange(size))
        rights = yardsticks(network, Positions.of(seen_by), asked)
        rights["road, and where ways lead"] = by_the_way(network, seen_by, val, test)
        for name, right in rights.items():
            rows.append(
                {
                    "training trips": size,
                    "knows": name,
                    "accuracy": float(right.mean()),
                    "where there is a choice": float(right[choice].mean()),
                }
            )
    everything = Positions.of(train)
    seen = np.unique(everything.here * network.num_roads + everything.taken)
    driven = np.isin(asked.here * network.num_roads + asked.taken, seen)
    pairs = _pairs(train, network.num_roads)
    return {
        "positions": len(asked),
        "with a choice": float(choice.mean()),
        "transitions seen in training": float(driven.mean()),
        "OD pairs seen in training": float(np.isin(_pairs(test, network.num_roads), pairs).mean()),
        "yardsticks": rows,
        "agreement": agreement(everything, asked, network.num_roads),
    }


def _pairs(trips: Trips, num_roads: int) -> IntArray:
    return trips.origin.astype(np.int64) * num_roads + trips.destination


def agreement(train: Positions, test: Positions, num_roads: int) -> dict[str, float]:
    """Where training trips came from the same road, on the same road, to the same destination: how
    often one of them went where the test trip went.

    For one who knows no more, the chance p of the likeliest way bounds accuracy, and the chance
    that two trips agree, Σ p², lies between: Σ p² ≤ max p ≤ √Σ p².
    """
    contexts = [
        ((part.before + 1) * num_roads + part.here, part.destination) for part in (train, test)
    ]
    both = np.concatenate(
        [np.stack([*pair, part.taken]) for pair, part in zip(contexts, (train, test), strict=True)],
        axis=1,
    )
    _, of_context = np.unique(both[:2], axis=1, return_inverse=True)
    _, of_choice = np.unique(both, axis=1, return_inverse=True)
    others, same = (_known_of_each(of, len(train)) for of in (of_context, of_choice))
    known = others > 0
    agreed = float((same[known] / others[known]).mean()) if known.any() else float("nan")
    return {"positions": float(known.mean()), "agreement": agreed, "ceiling": agreed**0.5}


def _known_of_each(number: IntArray, split: int) -> IntArray:
    """How often each number from `split` on occurs before it."""
    return np.bincount(number[:split], minlength=int(number.max()) + 1)[number[split:]]


def matching(network: RoadNetwork, train: Trips, test: Trips) -> dict[str, Any]:
    """Traces of map matching: what was filled in between points, and what few drivers do."""
    seconds = float((test.times[test.offsets[1:] - 1] - test.start_time).sum())
    roads_per_minute = 60 * float((test.lengths - 1).sum()) / seconds
    asked = Positions.of(test)
    right = yardsticks(network, Positions.of(train), asked)["road and destination's zone"]
    stretches = [
        Stretches.of(network, test, minutes, max(2, round(minutes * roads_per_minute)))
        for minutes in WINDOW_MINUTES
    ]
    shortest_ones = stretches[0]
    marked = np.zeros(len(test), dtype=bool)
    marked[shortest_ones.trip[shortest_ones.ratio >= LONG_WAY]] = True
    marked_position = marked[asked.trip]
    return {
        "roads a minute": roads_per_minute,
        "trips with a long way round": float(marked.mean()),
        "accuracy on trips with one": _mean(right[marked_position]),
        "accuracy on the others": _mean(right[~marked_position]),
        "stretches": [each.figures() for each in stretches],
    }


@dataclass(frozen=True)
class Stretches:
    """Stretches of trips, one after the other, beside the shortest ways between their ends."""

    minutes: int
    roads: int
    trip: IntArray  # [n]
    ratio: FloatArray  # [n], of the metres driven to the least

    @classmethod
    def of(cls, network: RoadNetwork, trips: Trips, minutes: int, steps: int) -> Stretches:
        """Stretches of `steps` roads, evenly spread ones where they are too many."""
        metres = np.concatenate([[0.0], np.cumsum(network.length_m[trips.road_ids])])
        count = np.maximum(trips.lengths - 1, 0) // steps
        trip = np.repeat(np.arange(len(trips)), count)
        within = np.arange(len(trip)) - np.repeat(np.cumsum(count) - count, count)
        first = trips.offsets[:-1][trip] + within * steps
        last = max(len(first) - 1, 0)
        kept = np.unique(np.linspace(0, last, WINDOWS).astype(np.int64))[: len(first)]
        first, trip = first[kept], trip[kept]
        # As routes count: the metres of the roads entered.
        driven = metres[first + steps + 1] - metres[first + 1]
        ends = (trips.road_ids[place].astype(np.int64) for place in (first, first + steps))
        least = RouteFinder.by_length(network).costs(*ends)
        return cls(minutes, steps, trip, driven / np.maximum(least, 1.0))

    def figures(self) -> dict[str, float]:
        """How often they are the shortest way, or a long way round."""
        return {
            "minutes": self.minutes,
            "roads": self.roads,
            "stretches": len(self.ratio),
            "the shortest way": _mean(self.ratio <= 1.0 + _TOLERANCE),
            "half as long again": _mean(self.ratio >= LONG_WAY),
        }


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
