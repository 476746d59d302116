"""Drawn routes: in their proportions, without loops, the same whatever shares the batch."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench.reference_generate import PlainTrip
from config.generation import SearchSettings
from search.engine import SearchEngine
from search.searches import build_search
from search.trips import TripRequests
from tests.generation_helpers import Request, Setup, epoch, published_setup, requests_of


@pytest.fixture(scope="module")
def published(parity_dir: Path, parity_city: Path) -> Setup:
    return published_setup(parity_dir, parity_city)


@pytest.fixture(scope="module")
def some_requests(published: Setup) -> list[Request]:
    return requests_of(published, 12)


@pytest.mark.parametrize("width", [None, 3])
def test_draws_of_one_pair_share_what_they_come_to(
    published: Setup,
    some_requests: list[Request],
    monkeypatch: pytest.MonkeyPatch,
    width: int | None,
) -> None:
    """The same trips from fewer encoded positions, also where memory is tidied all the time."""
    monkeypatch.setattr("search.engine._FIRST_PRUNING", 64)
    columns = np.repeat(np.array(some_requests[:3]).T, 5, axis=1)
    chosen = SearchSettings("sample", width, temperature=0.7)

    def run(together: int, slots: int) -> tuple[list[tuple[bytes, bytes, float]], int]:
        scorer = published.scorer()
        if together > 1:
            scorer.expect_alike()
        search = build_search(chosen, published.graph, slots, seed=0)
        trips = list(SearchEngine(search, scorer, together).run([TripRequests(0, *columns)]))
        plain = [(t.road_ids.tobytes(), t.times.tobytes(), t.log_prob) for t in trips]
        return plain, scorer.cost.positions

    alone, positions = run(1, 12)
    for slots in (4, 11):  # fewer than one pair has trips; two pairs and one more
        shared, fewer = run(5, slots)
        assert shared == alone and fewer < (1.0 if slots < 5 else 0.95) * positions


def test_drawn_routes_are_drivable_without_loops_and_the_batch_does_not_matter(
    published: Setup, some_requests: list[Request]
) -> None:
    for width in (1, 4, None):
        trips = published.sample(some_requests, width=width)
        again = published.sample(some_requests, width=width, slots=3)
        for trip, same in zip(trips, again, strict=True):
            assert trip.road_ids.tolist() == same.road_ids.tolist()
            assert len(set(trip.road_ids.tolist())) == len(trip.road_ids)
            for road, following in itertools.pairwise(trip.road_ids.tolist()):
                assert following in published.network.candidates(road)
    assert all(trip.reached for trip in trips)
    other = published.sample(some_requests, seed=1)
    assert any(a.road_ids.tolist() != b.road_ids.tolist() for a, b in zip(trips, other))
    cold = published.sample(some_requests, width=1, temperature=1e-3)
    greedy = published.beam(some_requests, width=1)
    arrived = [(a, b) for a, b in zip(cold, greedy, strict=True) if b.reached]
    assert arrived
    assert all(a.road_ids.tolist() == b.road_ids.tolist() for a, b in arrived)
    cold = published.sample(some_requests, temperature=1e-3)
    best = published.best_first(some_requests)
    equal = [a.road_ids.tolist() == b.road_ids.tolist() for a, b in zip(cold, best, strict=True)]
    assert sum(equal) >= len(equal) - 1


@pytest.mark.parametrize(
    ("width", "temperature", "detour_cost"),
    [(8, 1.0, 0.0), (None, 1.0, 0.0), (None, 0.5, 0.0), (None, 0.5, 10.0), (None, 5.0, 150.0)],
)
def test_routes_are_drawn_in_their_proportions(
    published: Setup, width: int | None, temperature: float, detour_cost: float
) -> None:
    """Against all routes between two near roads, whose probabilities the model multiplies out."""
    request = near_request(published)
    probability = route_probabilities(published, request, max(temperature, 1.0))
    assert sum(probability.values()) > 0.05
    km = {route: published.network.length_m[list(route)].sum() / 1000 for route in probability}
    probability = {
        route: value ** (1 / min(temperature, 1.0)) * np.exp(-detour_cost * km[route] / temperature)
        for route, value in probability.items()
    }
    trips = published.sample(
        [request] * 600, width=width, slots=64, temperature=temperature, detour_cost=detour_cost
    )
    drawn = Counter(tuple(trip.road_ids.tolist()) for trip in trips if trip.reached)
    total = sum(drawn.values())
    assert total > 500
    whole = sum(probability.values())
    for route, expected in probability.items():
        share = expected / whole
        deviation = np.sqrt(share * (1 - share) / total)
        assert drawn[route] / total == pytest.approx(share, abs=0.04 + 4 * deviation)


def near_request(setup: Setup) -> Request:
    """An origin and a destination some three roads away, joined by more than one likely route."""
    network, start = setup.network, epoch("2015-11-05T08:00:00Z")
    for origin in range(network.num_roads):
        ways: Counter[int] = Counter()
        for first in network.candidates(origin).tolist():
            for second in network.candidates(first).tolist():
                for third in network.candidates(second).tolist():
                    if len({origin, first, second, third}) == 4:
                        ways[third] += 1
        two = [road for road, count in ways.items() if count >= 2]
        if two:
            return origin, two[0], start
    raise AssertionError("the city has no two ways between near roads")


def route_probabilities(
    setup: Setup, request: Request, flattening: float = 1.0
) -> dict[tuple[int, ...], float]:
    """The probability of every loopless route of at most nine roads, each choice at a temperature
    of `flattening`."""
    plain, (origin, destination, start) = setup.plain(), request
    open_trips, found = [(PlainTrip([origin], [start], 0.0), 0.0)], {}
    while open_trips:
        trip, log_prob = open_trips.pop()
        if trip.road_ids[-1] == destination:
            found[tuple(trip.road_ids)] = float(np.exp(log_prob))
        elif len(trip.road_ids) < 9 and log_prob > -8:
            (following,) = plain._continue([trip], destination)
            step = np.array([t.log_prob - trip.log_prob for t in following]) / flattening
            step = log_prob + step - np.logaddexp.reduce(step)
            branches = zip(following, step.tolist(), strict=True)
            open_trips += [(t, p) for t, p in branches if t.road_ids[-1] not in trip.road_ids]
    return found
