"""The yardsticks: what they count, that their trips are trips, and known answers."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from baselines.generators import BASELINES, BaselineName, chosen_baselines
from baselines.habits import Habits
from baselines.writing import load_habits, write_baseline
from metrics.generated import read_generated
from runtime.errors import UserError
from search.od import ListedOD
from search.trips import GeneratedTrip, TripRequests
from tools.baselines import main as write_baselines

NAMES: list[BaselineName] = list(BASELINES)


@pytest.fixture(scope="module")
def habits(tiny_city: Path) -> Habits:
    return load_habits(tiny_city)


def requests_of(habits: Habits, count: int = 60) -> TripRequests:
    """Origins, destinations and starts of training trips."""
    trips = habits.trips.select(np.arange(min(count, len(habits.trips))))
    ends = trips.origin.astype(np.int64), trips.destination.astype(np.int64)
    return TripRequests(0, *ends, trips.start_time)


def make(habits: Habits, name: BaselineName, requests: TripRequests) -> list[GeneratedTrip]:
    return list(BASELINES[name](habits, 7).trips(requests))


def test_transitions_are_counted(habits: Habits) -> None:
    pairs: Counter[tuple[int, int]] = Counter()
    triples: Counter[tuple[int, int, int]] = Counter()
    aims: Counter[tuple[int, int, int]] = Counter()
    for i in range(len(habits.trips)):
        roads = habits.trips.trip(i)[0].tolist()
        pairs.update(itertools.pairwise(roads))
        triples.update(zip(roads, roads[1:], roads[2:]))
        aims.update((a, b, roads[-1]) for a, b in itertools.pairwise(roads))
    network = habits.network
    edges = list(zip(habits.source.tolist(), network.reach_targets.tolist()))
    for edge, (a, b) in enumerate(edges):
        seen = [pairs[a, int(c)] + 0.05 for c in network.candidates(a)]
        assert habits.first_order[edge] == pytest.approx((pairs[a, b] + 0.05) / sum(seen))
    counted = {
        (*edges[key // len(edges)], edges[key % len(edges)][1]): count
        for key, count in zip(habits.second_order.keys.tolist(), habits.second_order.counts)
    }
    assert counted == triples
    found = {
        (*edges[key // network.num_roads], key % network.num_roads): count
        for key, count in zip(habits.by_destination.keys.tolist(), habits.by_destination.counts)
    }
    assert found == aims
    assert habits.by_direction.sum() == sum(pairs.values())


@pytest.mark.parametrize("name", NAMES)
def test_trips_are_drivable_and_do_not_depend_on_the_block(
    habits: Habits, name: BaselineName
) -> None:
    requests = requests_of(habits)
    trips = make(habits, name, requests)
    assert [trip.number for trip in trips] == list(range(len(requests)))
    for trip in trips:
        assert trip.road_ids[0] == trip.origin
        assert trip.reached == (trip.road_ids[-1] == trip.destination)
        for a, b in zip(trip.road_ids[:-1], trip.road_ids[1:], strict=True):
            assert b in habits.network.candidates(int(a))
        assert (np.diff(trip.times) >= 0).all() and trip.log_prob <= 0
    _, rest = requests.split(23)
    for whole, part in zip(trips[23:], make(habits, name, rest), strict=True):
        assert whole.road_ids.tolist() == part.road_ids.tolist()
        assert whole.times.tolist() == part.times.tolist()


def test_paths_and_usual_routes_arrive(habits: Habits) -> None:
    requests = requests_of(habits)
    for name in ("frequent_route", "shortest_path", "fastest_path", "likely_path"):
        assert all(trip.reached for trip in make(habits, name, requests)), name
    aware = np.mean([trip.reached for trip in make(habits, "markov_destination", requests)])
    blind = np.mean([trip.reached for trip in make(habits, "markov_1", requests)])
    lost = np.mean([trip.reached for trip in make(habits, "random_walk", requests)])
    assert aware > 0.8 and aware > blind and lost < 0.5


def test_the_fastest_path_is_that_of_networkx(habits: Habits) -> None:
    graph = nx.DiGraph()
    seconds = habits.road_seconds
    for a, b in zip(habits.source.tolist(), habits.network.reach_targets.tolist()):
        graph.add_edge(a, b, weight=float(seconds[a]))
    for trip in make(habits, "fastest_path", requests_of(habits, 20)):
        expected = nx.dijkstra_path_length(graph, trip.origin, trip.destination)
        assert seconds[trip.road_ids[:-1]].sum() == pytest.approx(expected, abs=1e-3)


def test_likely_paths_are_nearer_to_what_was_driven(habits: Habits) -> None:
    requests = requests_of(habits)

    def shared(name: BaselineName) -> float:
        parts = []
        for trip in make(habits, name, requests):
            real = set(habits.trips.trip(trip.number)[0].tolist())
            made = set(trip.road_ids.tolist())
            parts.append(len(real & made) / len(real | made))
        return float(np.mean(parts))

    assert shared("likely_path") > max(shared("shortest_path"), shared("fastest_path"))


def test_the_frequent_route_is_the_most_frequent_one(habits: Habits) -> None:
    routes: dict[tuple[int, int], Counter[tuple[int, ...]]] = {}
    for i in range(len(habits.trips)):
        roads = tuple(habits.trips.trip(i)[0].tolist())
        routes.setdefault((roads[0], roads[-1]), Counter())[roads] += 1
    for trip in make(habits, "frequent_route", requests_of(habits)):
        counted = routes[trip.origin, trip.destination]
        assert counted[tuple(trip.road_ids.tolist())] == max(counted.values())


def test_files_run_through_the_reader(habits: Habits, tmp_path: Path) -> None:
    requests = requests_of(habits, 30)
    source = ListedOD(
        requests.origin.astype(np.int32), requests.destination.astype(np.int32), requests.start
    )
    path = tmp_path / "markov.csv"
    result = write_baseline("markov_destination", habits, source, path, seed=7)
    found = read_generated(path, habits.network)
    assert len(found) == result.trips == 30 and found.unjoined.sum() == 0
    assert found.reached is not None
    assert found.reached.mean() == pytest.approx(result.reached_rate)
    assert found.trips.start_time.tolist() == requests.start.tolist()


def test_bad_rows_are_skipped_where_that_is_asked_for(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    city, output = tmp_path / "city", tmp_path / "made"
    shutil.copytree(tiny_city, city, ignore=shutil.ignore_patterns(".cache"))
    for split in ("train", "test"):
        with (city / f"{split}.csv").open("a") as file:
            file.write("7,7,0,nowhere,never\n")
    asked = ["--data_dir", str(city), "--output_dir", str(output), "--only=markov_1"]
    asked += ["--num_gene", "5"]
    monkeypatch.setattr("sys.argv", ["tools.baselines", *asked])
    with pytest.raises(UserError, match="on_bad_rows"):
        write_baselines()
    monkeypatch.setattr("sys.argv", ["tools.baselines", *asked, "--on_bad_rows", "skip"])
    write_baselines()
    assert (output / "markov_1.csv").read_text().count("\n") == 6


def test_names_are_checked() -> None:
    assert chosen_baselines(["all"]) == NAMES
    with pytest.raises(UserError, match="no baseline markov_9"):
        chosen_baselines(["markov_1", "markov_9"])


@pytest.mark.parametrize("pairs", [[], ["--od_file", "missing.csv"]])
def test_no_trips_are_refused(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: list[str]
) -> None:
    asked = ["--data_dir", str(tiny_city), "--output_dir", str(tmp_path), *pairs]
    monkeypatch.setattr("sys.argv", ["tools.baselines", *asked, "--num_gene", "0"])
    with pytest.raises(UserError, match="num_gene is 0; it must be at least 1"):
        write_baselines()
