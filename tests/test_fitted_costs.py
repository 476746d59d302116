"""What detours cost beside a student's opinion: how turns are counted, and how costs are found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from baselines.habits import Habits
from config import Config
from config.generation import CostsName, SearchSettings
from critics.road_teacher import HOSERRoadTeacher
from critics.scoring.opening import open_judge
from critics.scoring.trips import as_trips
from data.choices import NO_WAY, Choices, judge
from data.laid_out import here_and_taken
from data.road_network import RoadNetwork
from data.turn_counts import edge_counts, turn_surprise
from dataset import TripDataset
from gene import main as gene
from runtime.errors import UserError
from search.request import GenerationRequest
from search.session import Session
from search.student import City, open_city
from tests.generation_helpers import published_setup
from ways.bending import WeighedOpinion
from ways.charges import MOST_NATS, charges_along
from ways.costs import MOST_TRIPS, CountedWays, StudentCosts, fit_costs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tiny_city: Path) -> TripDataset:
    return TripDataset.load(tiny_city, "train", RoadNetwork.load(tiny_city), max_len=64)


@pytest.fixture(scope="module")
def ways(dataset: TripDataset) -> CountedWays:
    network = dataset.network
    counts = edge_counts(network, dataset.road_ids, dataset.offsets)
    return CountedWays(network, network.length_m / 9, turn_surprise(counts, network.reach_offsets))


class Indifferent:
    """Believes nothing."""

    def trip_logits(self, dataset: TripDataset, trip_id: np.ndarray) -> np.ndarray:
        choices = Choices.of(dataset.network, *here_and_taken(*dataset.laid_out(trip_id)))
        return np.zeros(int(choices.count.sum()), dtype=np.float32)


def test_turns_are_as_unlikely_as_they_were_seldom(dataset: TripDataset, ways: CountedWays) -> None:
    habits = Habits(dataset.network, as_trips(dataset))
    assert ways.turn_surprise is not None and ways.turn_surprise.min() >= 0
    np.testing.assert_allclose(ways.turn_surprise, -np.log(habits.first_order))


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1000),
    prices=st.tuples(*[st.sampled_from([0.0, 0.5, 4.0])] * 3).filter(lambda prices: any(prices)),
)
def test_a_step_is_charged_what_it_costs_beyond_the_cheapest_way(
    dataset: TripDataset, ways: CountedWays, seed: int, prices: tuple[float, float, float]
) -> None:
    network, step_cost = dataset.network, ways.step_costs(*prices)
    trips = np.random.default_rng(seed).choice(len(dataset), 5, replace=False)
    source = np.repeat(np.arange(network.num_roads), network.out_degree)
    size = (network.num_roads, network.num_roads)
    left = dijkstra(csr_array((step_cost, (source, network.reach_targets)), shape=size))
    expected = []
    for trip in trips:
        roads = dataset.trip(int(trip))[0].astype(int)
        for road in roads[:-1]:
            first = network.reach_offsets[road]
            for place, after in enumerate(network.candidates(road)):
                spent = step_cost[first + place] + left[after, roads[-1]]
                expected.append(max(left[road, roads[-1]] - spent, -MOST_NATS))
    found = charges_along(network, step_cost, *dataset.laid_out(trips))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_no_other_mixture_that_was_tried_makes_the_choices_likelier(
    dataset: TripDataset, ways: CountedWays
) -> None:
    found = fit_costs(Indifferent(), dataset, ways)
    assert found is not None and found.with_them < found.without
    laid_out = dataset.laid_out(np.unique(np.linspace(0, len(dataset) - 1, 500).astype(np.int64)))
    choices = Choices.of(dataset.network, *here_and_taken(*laid_out))
    decided = choices.count > 1

    def surprise(km: float, minute: float, nat: float) -> float:
        charges = charges_along(dataset.network, ways.step_costs(km, minute, nat), *laid_out)
        return float(judge(charges, choices).surprise[decided].mean())

    costs = found.detour_cost, found.delay_cost, found.turn_cost
    # Whoever believes nothing has no say: what is left are the costs alone, or a multiple.
    best = min(surprise(*(factor * cost for cost in costs)) for factor in (0.05, 0.1, 0.5, 1, 2))
    assert surprise(0.0, 0.0, 0.0) > best


def test_too_few_choices_are_no_evidence(dataset: TripDataset, ways: CountedWays) -> None:
    few = TripDataset.load(dataset.network.folder, "train", dataset.network, max_trips=1)
    assert fit_costs(Indifferent(), few, ways) is None


@pytest.fixture(scope="module")
def city(parity_dir: Path, parity_city: Path, tmp_path_factory: pytest.TempPathFactory) -> City:
    cache = tmp_path_factory.mktemp("costs")
    changes: dict[str, Any] = {"data_dir": str(parity_city), "data": {"cache_dir": str(cache)}}
    return open_city(Config(**changes), parity_dir / "hoser_state.pth")


def test_an_opinion_weighed_against_the_way_is_as_likely_as_was_found(city: City) -> None:
    costs, val = city.fitted_costs(CPU), city.trips("val")
    student = HOSERRoadTeacher(city.load_student(CPU), city.network)
    trips = np.unique(np.linspace(0, len(val) - 1, min(MOST_TRIPS, len(val))).astype(np.int64))
    choices = Choices.of(city.network, *here_and_taken(*val.laid_out(trips)))
    decided = (choices.count > 1) & (choices.label != NO_WAY)
    for opinion, expected in (
        (student, costs.without),
        (WeighedOpinion(student, city.known_way(CPU)), costs.with_them),
    ):
        logits = opinion.trip_logits(val, trips).astype(np.float64)
        found = judge(logits, choices).surprise[decided].mean()
        assert found == pytest.approx(expected, rel=1e-5)


def test_a_students_costs_are_found_once(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    found = city.fitted_costs(CPU)
    assert found.with_them < found.without
    cache = Path(city.config.data.cache_dir or "")
    (kept,) = cache.glob("costs-*.json")
    with monkeypatch.context() as patch:
        patch.setattr("ways.store.fit_costs", lambda *_: pytest.fail("they are known"))
        assert city.fitted_costs(CPU) == found
    for damaged in ("{", "[]", json.dumps({"detour_cost": -1.0})):
        kept.write_text(damaged)
        assert city.fitted_costs(CPU) == found
    assert StudentCosts(**json.loads(kept.read_text())) == found


def test_turns_are_counted_on_the_trips_that_the_student_saw(city: City) -> None:
    data = city.config.data.model_copy(update={"max_train_trips": 7})
    few = replace(city, config=city.config.model_copy(update={"data": data}))
    roads = np.unique(np.concatenate([city.trips("train").trip(i)[0] for i in range(7)]))
    offsets = city.network.reach_offsets
    elsewhere = np.setdiff1d(np.flatnonzero(city.network.out_degree > 1), roads)
    for road in elsewhere[:20]:  # no trip shows which way they turn
        of_road = few.turn_surprise[offsets[road] : offsets[road + 1]]
        assert np.allclose(of_road, np.log(len(of_road)))
    assert not np.allclose(few.turn_surprise, city.turn_surprise)
    assert not np.allclose(few.road_seconds, city.road_seconds)


def test_who_knows_the_way_is_as_surprised_as_the_costs_say(city: City) -> None:
    found, trips = city.fitted_costs(CPU), as_trips(city.trips("val"))
    surprises: dict[CostsName, float] = {"given": found.without, "fitted": found.with_them}
    for costs, expected in surprises.items():
        judge_ = open_judge(
            city.model_path, "student", city.config, city.network, "full", CPU, costs
        )
        choices = Choices.of(city.network, *here_and_taken(trips.road_ids, trips.offsets))
        decided = (choices.count > 1) & (choices.label != NO_WAY)
        surprise = judge_.surprises(trips).route[decided].mean()
        assert surprise == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["astar", "sample"])
def test_searches_take_the_costs_that_were_found(city: City, name: Any) -> None:
    fitted = SearchSettings(name, costs="fitted", times="expected")
    found = city.fitted_costs(CPU)
    costs = {name: getattr(found, name) for name in ("detour_cost", "delay_cost", "turn_cost")}
    temperature = fitted.temperature / found.sharpness
    by_hand = replace(fitted, costs="given", temperature=temperature, **costs)
    sessions = [
        Session(GenerationRequest(city.config, city.model_path, 5, search=search), CPU, city)
        for search in (fitted, by_hand)
    ]
    assert sessions[0].identity() == sessions[1].identity()
    one, other = (list(session.generate(0, 5)) for session in sessions)
    assert [trip.road_ids.tolist() for trip in one] == [trip.road_ids.tolist() for trip in other]


def test_the_program_fits_them(
    parity_dir: Path, parity_city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = published_setup(parity_dir, parity_city)
    output = tmp_path / "trips.csv"
    arguments = ["--model_path", str(parity_dir / "hoser_state.pth"), "--num_gene", "6"]
    arguments += ["--data_dir", str(published.config.data_dir), "--output", str(output)]
    gene([*arguments, "--search", "astar", "--costs", "fitted", "--no-progress"])
    record = json.loads(output.with_suffix(".json").read_text())
    found = open_city(published.config, parity_dir / "hoser_state.pth").fitted_costs(CPU)
    assert record["request"]["delay_cost"] == found.delay_cost > 0
    assert len(output.read_text().splitlines()) == 7
    with pytest.raises(UserError, match="to be fitted"):
        gene([*arguments, "--search", "astar", "--costs", "fitted", "--detour_cost", "1"])
