"""What detours cost best-first search: the same as the plain way, and what it is good for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch

from baselines.habits import Habits
from config.generation import COSTS, SearchSettings
from critics.scoring.trips import as_trips
from data.laid_out import passages
from data.road_times import usual_road_seconds
from pipeline.detour_costs import Trial, Trials, try_costs
from runtime.errors import UserError
from search.searches import unread
from tests.generation_helpers import Request, Setup, published_setup, random_setup, requests_of
from tools.fit_detour_cost import main as fit_detour_cost

PRICES = (0.3, 2.0, 50.0)


@pytest.fixture(scope="module")
def published(parity_dir: Path, parity_city: Path) -> Setup:
    return published_setup(parity_dir, parity_city)


@pytest.fixture(scope="module")
def some_requests(published: Setup) -> list[Request]:
    return requests_of(published, 6)


@pytest.mark.parametrize("cost", PRICES)
def test_directed_search_equals_the_plain_way(
    published: Setup, some_requests: list[Request], cost: float
) -> None:
    plain, network = published.plain(), published.network
    rng = np.random.default_rng(3)
    road_seconds = rng.uniform(1.0, 60.0, network.num_roads)
    turn_surprise = rng.exponential(1.0, len(network.reach_targets))
    road_cost = cost * network.length_m / 1000 + cost * road_seconds / 60
    source = np.repeat(np.arange(network.num_roads), network.out_degree)
    step_cost = (road_cost[source] + road_cost[network.reach_targets]) / 2 + cost * turn_surprise
    found = published.directed(
        some_requests,
        cost,
        delay_cost=cost,
        turn_cost=cost,
        road_seconds=road_seconds,
        turn_surprise=turn_surprise,
    )
    for trip, request in zip(found, some_requests, strict=True):
        expected = plain.best_first(*request, step_cost=step_cost)
        assert trip.road_ids.tolist() == expected.road_ids
        assert trip.times.tolist() == expected.times
        assert trip.reached == expected.reached
        # The log-probability is the student's: detours decide the order alone.
        assert trip.log_prob == pytest.approx(expected.log_prob, abs=1e-4)


def test_without_a_cost_it_is_the_originals_search(
    published: Setup, some_requests: list[Request]
) -> None:
    for one, other in zip(
        published.best_first(some_requests), published.directed(some_requests, 0.0), strict=True
    ):
        assert np.array_equal(one.road_ids, other.road_ids) and one.log_prob == other.log_prob


def test_it_does_not_depend_on_what_shares_the_batch(
    published: Setup, some_requests: list[Request]
) -> None:
    alone = published.directed(some_requests, 2.0, slots=1)
    for slots, rows in ((4, 1), (3, 48)):
        together = published.directed(some_requests, 2.0, slots=slots, rows=rows)
        for one, other in zip(alone, together, strict=True):
            assert np.array_equal(one.road_ids, other.road_ids)
            assert np.array_equal(one.times, other.times)


def test_where_detours_cost_all_the_shortest_way_is_left(parity_city: Path) -> None:
    setup = random_setup(parity_city)
    network, graph = setup.network, networkx.DiGraph()
    for road in range(network.num_roads):
        for target in network.candidates(road):
            metres = (network.length_m[road] + network.length_m[target]) / 2
            graph.add_edge(road, int(target), metres=metres)
    requests = requests_of(setup, 8)
    for trip in setup.directed(requests, 1000.0):
        shortest = networkx.shortest_path_length(
            graph, trip.origin, trip.destination, weight="metres"
        )
        driven = network.length_m[trip.road_ids].sum()
        driven -= network.length_m[trip.road_ids[[0, -1]]].sum() / 2
        assert driven == pytest.approx(shortest, rel=1e-3)


def test_draws_become_shorter_and_the_coldest_is_the_best(
    published: Setup, some_requests: list[Request]
) -> None:
    coldest = published.sample(some_requests, temperature=1e-6, detour_cost=2.0)
    for one, other in zip(published.directed(some_requests, 2.0), coldest, strict=True):
        assert np.array_equal(one.road_ids, other.road_ids)
    lengths = [
        sum(
            published.network.length_m[trip.road_ids].sum()
            for seed in range(4)
            for trip in published.sample(some_requests, seed=seed, detour_cost=cost)
        )
        for cost in (0.0, 5.0)
    ]
    assert lengths[1] < lengths[0]


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf"), 1e6])
def test_impossible_costs_are_refused(cost: float) -> None:
    for name in COSTS:
        with pytest.raises(UserError, match=f"{name} is"):
            SearchSettings("astar", **{name: cost})  # type: ignore[arg-type]


def test_roads_take_as_long_as_on_the_training_trips(published: Setup) -> None:
    trips, network = published.trips, published.network
    place, seconds = passages(trips.seconds, trips.offsets)
    road = trips.road_ids[place]
    found = usual_road_seconds(network, road, seconds)
    assert found == pytest.approx(Habits(network, as_trips(trips)).road_seconds)
    often = int(np.bincount(road).argmax())
    seen = seconds[road == often]
    assert abs(found[often] - seen.mean()) < 0.2 * seen.mean()


def test_settings_without_a_say_are_named() -> None:
    assert unread(SearchSettings("beam", 16, detour_cost=1.0, temperature=0.7)) == [
        "detour_cost",
        "temperature",
    ]
    assert unread(SearchSettings("astar", 4, arrival="first")) == ["arrival", "beam_width"]
    for settings in (SearchSettings(), SearchSettings("sample", temperature=1.0, detour_cost=1.0)):
        assert unread(settings) == []


def test_a_beam_of_draws_cannot_charge_detours() -> None:
    for chosen in (*({name: 1.0} for name in COSTS), {"costs": "fitted"}):
        with pytest.raises(UserError, match="beam_width"):
            SearchSettings("sample", 4, **chosen)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="to be fitted"):
        SearchSettings("astar", costs="fitted", turn_cost=1.0)


def test_the_nearest_trips_decide_and_the_least_costs_among_those_about_as_near() -> None:
    none = Trial(0.0, 0.0, 0.0, reached=1.0, hausdorff_km=0.4, dtw_km=8.0, edr=0.4, km=3.0)
    nearer = replace(none, detour_cost=2.0, hausdorff_km=0.3)
    assert Trials([none, replace(none, detour_cost=1.0)], 3.0).best == none
    dearer = replace(nearer, detour_cost=4.0, hausdorff_km=0.295)
    assert Trials([none, dearer, nearer], 3.0).best == nearer
    assert nearer.beside(none) == pytest.approx(0.75 ** (1 / 3))
    at_their_own_roads = replace(none, hausdorff_km=0.0, dtw_km=0.0, edr=0.0)
    assert at_their_own_roads.beside(at_their_own_roads) == pytest.approx(1.0)


def test_costs_are_tried_on_validation_trips(
    published: Setup, parity_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = parity_dir / "hoser_state.pth", published.config.data_dir
    costs = [(0.0, 0.0, 0.0), (3.0, 0.0, 0.0), (3.0, 1.0, 0.5)]
    best_first = SearchSettings("astar")
    found = try_costs(published.config, model, 20, best_first, costs, torch.device("cpu"))
    trials = found.of_costs
    assert [(trial.detour_cost, trial.delay_cost, trial.turn_cost) for trial in trials] == costs
    assert trials[1].km <= trials[0].km and found.driven_km > 0
    assert all(trial.hausdorff_km >= 0 and trial.reached == 1.0 for trial in trials)
    arguments = ["--model", str(model), "--data_dir", str(folder), "--num_trips", "20"]
    fit_detour_cost([*arguments, "--costs", "0", "3", "--delay_costs", "0", "1"])
    printed = capsys.readouterr().out
    assert "Nearest to real trips: python gene.py --search astar --" in printed
    assert f"{trials[1].dtw_km:.3f}" in printed
    for heat, said in (("0.7", " --temperature 0.7 ..."), ("0.5", " --detour_cost 3 ...")):
        drawn = ["--search", "sample", "--temperature", heat, "--costs", "3"]
        fit_detour_cost([*arguments, *drawn])
        assert said in capsys.readouterr().out
