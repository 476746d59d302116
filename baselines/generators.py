"""The yardsticks by name: each turns requests into trips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from baselines.habits import Counts, Habits
from baselines.layout import FloatArray, IntArray, Roads, Seen, Walks
from data.routes import RouteFinder
from runtime.chunks import run_in_threads
from runtime.errors import UserError
from search.od import draw
from search.trips import GeneratedTrip, TripRequests

BaselineName = Literal[
    "random_walk",
    "markov_1",
    "markov_2",
    "markov_destination",
    "frequent_route",
    "shortest_path",
    "fastest_path",
    "likely_path",
]
_NO_COUNTS = Counts(np.zeros(0, dtype=np.int64), np.zeros(0))
_LEAST_COST = 1e-6
_WALK_LIMIT_FACTOR = 2  # times the 99th percentile of training trips, where a walk has an aim


class Generator(Protocol):
    """Makes trips for requests; the same ones whatever else is asked for."""

    def trips(self, requests: TripRequests) -> Iterator[GeneratedTrip]:
        """One trip for each request, in order."""


@dataclass(frozen=True)
class Walk:
    """Draws each next road from counted transitions.

    With an aim it ends at the destination. Without one it also ends after as many roads as a
    training trip drawn at random has, or it would go on for ever.
    """

    habits: Habits
    seed: int
    mode: int
    has_aim: bool

    @cached_property
    def _seen(self) -> Seen:
        from baselines.walk_kernels import DESTINATION, SECOND

        habits, pairs, by_direction = self.habits, _NO_COUNTS, np.zeros((1, 1))
        if self.mode == SECOND:
            pairs = habits.second_order
        elif self.mode == DESTINATION:
            pairs, by_direction = habits.by_destination, habits.by_direction
        return Seen(self.mode, habits.first_order, pairs.keys, pairs.counts, by_direction)

    def _limits(self, numbers: IntArray) -> IntArray:
        lengths = self.habits.trips.lengths
        if self.has_aim:
            most = _WALK_LIMIT_FACTOR * int(np.percentile(lengths, 99))
            return np.full(len(numbers), max(2, most))
        return np.maximum(2, lengths[draw(self.seed + 1, numbers, len(lengths))])

    def trips(self, requests: TripRequests) -> Iterator[GeneratedTrip]:
        """One walk for each request."""
        from baselines.walk_kernels import walk

        network, count = self.habits.network, len(requests)
        limits = self._limits(np.arange(requests.first, requests.first + count))
        walks = Walks(
            first_number=requests.first,
            origin=requests.origin,
            destination=requests.destination,
            limit=limits,
            route=np.empty((count, int(limits.max(initial=1))), dtype=np.int32),
            length=np.empty(count, dtype=np.int64),
            log_prob=np.empty(count),
        )
        roads = Roads(
            network.reach_offsets, network.reach_targets, network.center_lon, network.center_lat
        )
        most = max(1, network.max_candidates)
        run_in_threads(
            lambda begin, end: walk(begin, end, self.seed, roads, self._seen, walks, most), count
        )
        for i in range(count):
            route = walks.route[i, : walks.length[i]].astype(np.int64)
            yield _trip(self.habits, requests, i, route, float(walks.log_prob[i]))


@dataclass(frozen=True)
class CheapestPath:
    """The cheapest route by a cost of every transition; where there is none, the origin alone."""

    habits: Habits
    edge_cost: FloatArray  # [E]

    @cached_property
    def _finder(self) -> RouteFinder:
        return RouteFinder(self.habits.network, np.maximum(self.edge_cost, _LEAST_COST))

    def trips(self, requests: TripRequests) -> Iterator[GeneratedTrip]:
        """One route for each request."""
        found = self._finder.find(requests.origin, requests.destination)
        for i in range(len(requests)):
            roads = found.route(i).astype(np.int64)
            roads = roads if len(roads) else requests.origin[i : i + 1]
            yield _trip(self.habits, requests, i, roads, self._log_prob(roads))

    def _log_prob(self, roads: IntArray) -> float:
        """What a first-order Markov chain gives the route."""
        total, network = 0.0, self.habits.network
        for before, road in zip(roads[:-1].tolist(), roads[1:].tolist(), strict=True):
            start = int(network.reach_offsets[before])
            place = int(np.flatnonzero(network.candidates(before) == road)[0])
            total += float(np.log(self.habits.first_order[start + place]))
        return total


@dataclass(frozen=True)
class FrequentRoute:
    """The route that most training trips of the same two roads took.

    For roads that no training trip joins, the most probable one by counted transitions.
    """

    habits: Habits

    @cached_property
    def _fallback(self) -> CheapestPath:
        return CheapestPath(self.habits, -np.log(self.habits.first_order))

    @cached_property
    def _routes(self) -> dict[tuple[int, int], NDArray[np.int32]]:
        counted: dict[tuple[int, int], Counter[bytes]] = {}
        trips = self.habits.trips
        for index in range(len(trips)):
            roads, _ = trips.trip(index)
            counted.setdefault((int(roads[0]), int(roads[-1])), Counter())[roads.tobytes()] += 1
        return {
            pair: np.frombuffer(found.most_common(1)[0][0], dtype=np.int32)
            for pair, found in counted.items()
        }

    def trips(self, requests: TripRequests) -> Iterator[GeneratedTrip]:
        """One route for each request."""
        for i, fallback in enumerate(self._fallback.trips(requests)):
            known = self._routes.get((fallback.origin, fallback.destination))
            if known is None:
                yield fallback
            else:
                roads = known.astype(np.int64)
                yield _trip(self.habits, requests, i, roads, self._fallback._log_prob(roads))


def _trip(
    habits: Habits, requests: TripRequests, i: int, roads: IntArray, log_prob: float
) -> GeneratedTrip:
    destination = int(requests.destination[i])
    return GeneratedTrip(
        number=requests.first + i,
        origin=int(requests.origin[i]),
        destination=destination,
        road_ids=roads,
        times=habits.times(roads, int(requests.start[i])),
        reached=int(roads[-1]) == destination,
        log_prob=log_prob,
    )


def _walk(mode: str, has_aim: bool) -> Callable[[Habits, int], Generator]:
    def make(habits: Habits, seed: int) -> Generator:
        from baselines import walk_kernels

        return Walk(habits, seed, getattr(walk_kernels, mode), has_aim)

    return make


def _shortest(habits: Habits, _: int) -> Generator:
    return CheapestPath(habits, RouteFinder.by_length(habits.network).edge_cost)


def _fastest(habits: Habits, _: int) -> Generator:
    return CheapestPath(habits, habits.road_seconds[habits.source])


BASELINES: dict[BaselineName, Callable[[Habits, int], Generator]] = {
    "random_walk": _walk("UNIFORM", has_aim=False),
    "markov_1": _walk("FIRST", has_aim=False),
    "markov_2": _walk("SECOND", has_aim=False),
    "markov_destination": _walk("DESTINATION", has_aim=True),
    "frequent_route": lambda habits, _: FrequentRoute(habits),
    "shortest_path": _shortest,
    "fastest_path": _fastest,
    "likely_path": lambda habits, _: CheapestPath(habits, habits.likely_cost),
}


def chosen_baselines(names: Sequence[str]) -> list[BaselineName]:
    """The baselines of these names; `all` is every one."""
    wanted = [name.strip() for name in names]
    wanted = list(BASELINES) if wanted == ["all"] else wanted
    unknown = [name for name in wanted if name not in BASELINES]
    if unknown:
        raise UserError(
            f"There is no baseline {', '.join(unknown)}; there are: {', '.join(BASELINES)}."
        )
    return cast(list[BaselineName], list(dict.fromkeys(wanted)))
