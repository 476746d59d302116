"""Route choice, copies, and durations by hour: cases whose answers are known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from metrics.distributions import Values
from metrics.hourly import hourly_divergence
from metrics.od import OdGrid
from metrics.route_choice import copied, route_choice, route_ids
from metrics.trips import Trips

GRID = OdGrid(cell_of_road=np.arange(10), num_cells=10)
NORTH, SOUTH, OTHER = [0, 1, 2, 9], [0, 3, 4, 9], [0, 4, 3, 9]


def trips(*routes: list[int], first_second: int = 0) -> Trips:
    roads = np.concatenate([np.array(route, dtype=np.int32) for route in routes])
    times = first_second + np.arange(len(roads))
    return Trips.from_lengths(roads, times, np.array([len(route) for route in routes]))


def test_shares_of_routes_are_compared_as_scipy_does() -> None:
    real = trips(*[NORTH] * 9, *[SOUTH] * 3)
    generated = trips(*[NORTH] * 4, *[OTHER] * 4)
    found = route_choice(real, generated, GRID)
    assert found is not None
    expected = jensenshannon([9, 3, 0], [4, 0, 4]) ** 2
    assert found.divergence == pytest.approx(expected)
    assert (found.real_routes, found.generated_routes) == (1, 2)
    same = route_choice(real, real, GRID)
    assert same is not None and same.divergence == 0.0
    apart = route_choice(real, trips(OTHER), GRID)
    assert apart is not None and apart.divergence == pytest.approx(np.log(2))
    assert route_choice(trips(*[NORTH] * 9), generated, GRID) is None
    assert route_choice(real, trips([1, 2]), GRID) is None


def test_copies_are_the_same_roads_in_the_same_order() -> None:
    generated = trips(NORTH, OTHER, [0, 1, 2], SOUTH)
    assert copied(generated, trips(SOUTH, NORTH)).tolist() == [True, False, False, True]
    rng = np.random.default_rng(0)
    many = [rng.integers(0, 6, rng.integers(2, 6)).tolist() for _ in range(3000)]
    number_of = dict(zip(map(tuple, many), route_ids(trips(*many)).tolist(), strict=True))
    assert len(set(number_of.values())) == len(Counter(map(tuple, many)))


def test_durations_right_over_all_hours_can_be_wrong_at_each() -> None:
    rng = np.random.default_rng(0)
    count = 400
    unit = np.arange(2 * count)
    morning, evening = rng.normal(10, 1, count), rng.normal(20, 1, count)
    day = [trips(*[NORTH] * count, first_second=hour * 3600) for hour in (8, 18)]
    real_trips = Trips.from_lengths(
        np.concatenate([part.road_ids for part in day]),
        np.concatenate([np.full(4 * count, 8 * 3600), np.full(4 * count, 18 * 3600)]),
        np.full(2 * count, 4),
    )
    real = Values(np.concatenate([morning, evening]), unit)
    swapped = Values(np.concatenate([evening, morning]), unit)
    same = hourly_divergence(real, real_trips, real, real_trips)
    assert same is not None and same.divergence == 0.0 < same.floor
    found = hourly_divergence(real, real_trips, swapped, real_trips)
    assert found is not None and found.divergence > 0.5
    few = Values(real.values[:20], unit[:20])
    assert hourly_divergence(few, real_trips, few, real_trips) is None
