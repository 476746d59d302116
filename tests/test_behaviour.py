"""What is usual in a city, how trips differ from it, and how small a divergence can be."""

from __future__ import annotations

import itertools
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from data.road_network import RoadNetwork
from data.routes import RouteFinder
from metrics.assessment import assess
from metrics.behaviour import behave
from metrics.distributions import bin_edges, histogram, jensen_shannon
from metrics.generated import GeneratedTrips, read_generated
from metrics.measures import measure_quantities
from metrics.reference import Reference, Settings
from metrics.trips import Trips, read_real_trips
from metrics.usual import TripFacts, Usual, period_of


@pytest.fixture(scope="module")
def network(tiny_city: Path) -> RoadNetwork:
    return RoadNetwork.load(tiny_city)


@pytest.fixture(scope="module")
def training(tiny_city: Path, network: RoadNetwork) -> Trips:
    return read_real_trips(tiny_city, "train", network)


@pytest.fixture(scope="module")
def usual(training: Trips, network: RoadNetwork) -> Usual:
    return Usual.of(training, network, 0.005)


def repeated(trips: Trips, count: int, seed: int) -> Trips:
    """So many trips drawn with replacement."""
    return trips.select(np.random.default_rng(seed).integers(0, len(trips), count))


def as_generated(trips: Trips) -> GeneratedTrips:
    return GeneratedTrips(trips, np.zeros(len(trips), dtype=np.int64), None, None, None)


@pytest.mark.parametrize("by", ["length", "random"])
def test_routes_are_those_of_networkx(network: RoadNetwork, by: str) -> None:
    rng = np.random.default_rng(0)
    finder = RouteFinder.by_length(network)
    if by == "random":
        finder = RouteFinder(network, rng.uniform(1.0, 300.0, len(network.reach_targets)))
    graph = nx.DiGraph()
    source = np.repeat(np.arange(network.num_roads), network.out_degree)
    edges = zip(source.tolist(), network.reach_targets.tolist(), finder.edge_cost.tolist())
    graph.add_weighted_edges_from(edges)
    ends = rng.integers(0, network.num_roads, (2, 150))
    found = finder.find(ends[0], ends[1])
    np.testing.assert_array_equal(found.cost, finder.costs(ends[0], ends[1]))
    for i, (origin, destination) in enumerate(ends.T.tolist()):
        try:
            expected = nx.dijkstra_path_length(graph, origin, destination)
        except (nx.NetworkXNoPath, nx.NodeNotFound):
            assert np.isinf(found.cost[i]) or origin == destination
            continue
        assert found.cost[i] == pytest.approx(expected)
        route = found.route(i).tolist()
        assert (route[0], route[-1]) == (origin, destination)
        steps = itertools.pairwise(route)
        assert sum(graph[a][b]["weight"] for a, b in steps) == pytest.approx(expected)


def test_the_usual_is_the_median_of_the_finest_cells_with_support(
    usual: Usual, training: Trips, network: RoadNetwork
) -> None:
    expected = usual.expected(training)
    facts = TripFacts.of(training, network)
    assert (expected.level >= 0).all()
    for number, level in enumerate(usual.levels):
        for trip in np.flatnonzero(expected.level == number)[:5]:
            same = level.key_of(training) == level.key_of(training)[trip]
            assert same.sum() >= 5
            pace = np.median(facts.pace[same])
            assert expected.seconds[trip] == pytest.approx(pace * facts.straight_m[trip])
            assert expected.speed[trip] == pytest.approx(np.median(facts.speed[same]))
    shares = behave(training, usual).answered
    assert sum(shares.values()) == pytest.approx(1.0)


def test_hours_are_told_apart() -> None:
    # Friday 11:00, Sunday 12:00, Friday 18:00, Friday 23:00 of November 2015
    starts = np.array([1446807600, 1446984000, 1446832800, 1446850800])
    assert period_of(starts).tolist() == [2, 3, 1, 0]


def test_training_trips_behave_like_themselves(usual: Usual, training: Trips) -> None:
    found = behave(training, usual)
    assert found.traffic_correlation == pytest.approx(1.0)
    assert found.traffic_error == pytest.approx(0.0) and found.od_covered == 1.0
    assert np.nanmin(found.ratios.detour) >= 1.0 - 1e-9
    for name in ("detour", "duration", "speed"):
        assert np.nanmean(found.beyond[name]) == pytest.approx(0.05, abs=0.02)
    assert all(each.relative_error in (0.0, None) for each in found.classes)


def test_slow_trips_and_round_trips_are_noticed(usual: Usual, training: Trips) -> None:
    start = np.repeat(training.start_time, training.lengths)
    slow = Trips(training.road_ids, start + 3 * (training.times - start), training.offsets)
    assert np.nanmean(behave(slow, usual).beyond["duration"]) > 0.5
    ratio = behave(slow, usual).ratios.duration / behave(training, usual).ratios.duration
    np.testing.assert_allclose(ratio[~np.isnan(ratio)], 3.0)
    double = np.repeat(training.road_ids, 2)  # every road driven twice
    times = np.repeat(training.times, 2)
    twice = Trips.from_lengths(double, times, 2 * training.lengths)
    assert np.nanmean(behave(twice, usual).ratios.detour) > 1.8
    assert behave(twice, usual).traffic_error == pytest.approx(1.0)


def test_traffic_correlation_equals_scipy(usual: Usual, training: Trips) -> None:
    some = repeated(training, 40, 1)
    found = behave(some, usual)
    counts = [np.bincount(t.road_ids, minlength=usual.network.num_roads) for t in (training, some)]
    assert found.traffic_correlation == pytest.approx(stats.pearsonr(*counts).statistic)


def test_the_floor_is_what_two_samples_differ_by(network: RoadNetwork, training: Trips) -> None:
    """Also for segment times, of which a trip has many that are alike."""
    real = repeated(training, 300, 0)
    start = np.repeat(real.start_time, real.lengths)
    pace = np.repeat(np.random.default_rng(5).choice([1, 4], 300), real.lengths)
    real = Trips(real.road_ids, start + pace * (real.times - start), real.offsets)
    reference = Reference.of(real, network, Settings(0.01, bootstrap=0))
    drawn: dict[str, list[float]] = {"distance": [], "duration": [], "radius": []}
    for seed in range(40):
        samples = [
            measure_quantities(repeated(real, count, 100 + 2 * seed + i), network)
            for i, count in enumerate((300, 150))
        ]
        for name, found in drawn.items():
            edges = bin_edges(reference.quantities[name].values)
            counts = [histogram(sample[name].values, edges) for sample in samples]
            found.append(float(jensen_shannon(counts[0], counts[1])))
    values = assess("fresh", as_generated(repeated(real, 150, 1)), reference).overall.values
    for name, found in drawn.items():
        floor = values[f"{name}_jsd_floor"]
        assert floor is not None
        assert floor == pytest.approx(np.mean(found), rel=0.2), name


def test_bad_generated_rows_are_counted(network: RoadNetwork, tmp_path: Path) -> None:
    road = int(np.flatnonzero(network.out_degree)[0])
    following = int(network.candidates(road)[0])
    times = "\"['2015-11-05T10:00:00Z', '2015-11-05T10:00:20Z']\""
    rows = [
        f'"[{road}, {following}]",{times},True,-1.5',
        f'"[{road}, x]",{times},True,-1.5',
        f'"[{road}]",{times},True,-1.5',
        f'"[{road}, {following}]",{times},maybe,-1.5',
        f'"[{following}, {road}]",{times},False,-2.5',
    ]
    path = tmp_path / "generated.csv"
    path.write_text("gene_trace_road_id,gene_trace_datetime,reached,log_prob\n" + "\n".join(rows))
    found = read_generated(path, network, "skip")
    assert (len(found), found.skipped) == (2, 3)
    assert found.log_prob is not None and found.log_prob.tolist() == [-1.5, -2.5]
    assert found.reached is not None and found.reached.tolist() == [True, False]
    assert found.trips.origin.tolist() == [road, following]
