"""The demo city's oracle: probabilities that come true, and drivers that can be sent out again."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from bench.oracle_teacher import OracleTeacher, drive_again
from critics.teacher_report import expected_calibration_error
from data.demo_city import DemoCitySettings, make_demo_city
from data.demo_city.oracle import DemoCityOracle
from data.road_network import RoadNetwork
from dataset import TripDataset
from metrics.generated import read_generated
from search.trips import TripRequests

TOWN = DemoCitySettings(num_roads=1000, num_trips=1200, seed=5, val=100, test=800)


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> TripDataset:
    folder = make_demo_city(tmp_path_factory.mktemp("town"), settings=TOWN, progress=False)
    return TripDataset.load(folder, "test", RoadNetwork.load(folder))


@pytest.fixture(scope="module")
def oracle() -> DemoCityOracle:
    return DemoCityOracle(TOWN)


def _positions(trips: TripDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each position: where its candidates begin, how many there are, which one was taken."""
    network = trips.network
    inner = np.ones(len(trips.road_ids), dtype=bool)
    inner[trips.offsets[1:] - 1] = False
    here = trips.road_ids[inner]
    taken = trips.road_ids[np.flatnonzero(inner) + 1]
    count = network.out_degree[here]
    begin = np.cumsum(count) - count
    place = [
        np.flatnonzero(network.reach_targets[network.reach_offsets[road] :][:number] == after)[0]
        for road, number, after in zip(here, count, taken, strict=True)
    ]
    return begin, count, np.array(place)


def test_the_oracles_probabilities_come_true(trips: TripDataset, oracle: DemoCityOracle) -> None:
    log_p = oracle.log_probabilities(trips.road_ids, trips.offsets, trips.starts)
    begin, count, place = _positions(trips)
    assert len(log_p) == count.sum()
    p = np.exp(log_p.astype(np.float64))
    assert np.add.reduceat(p, begin) == pytest.approx(np.ones(len(begin)), abs=1e-5)

    entropy = -np.add.reduceat(p * log_p, begin)
    surprise = -log_p[begin + place]
    spread = (surprise - entropy).std() / np.sqrt(len(begin))
    assert abs(surprise.mean() - entropy.mean()) < 4 * spread + 1e-3, "as sure as it may be"
    likeliest = np.maximum.reduceat(p, begin)
    correct = (p[begin + place] == likeliest).astype(np.float64)
    assert correct.mean() > 0.94
    assert expected_calibration_error(likeliest, correct) < 0.01


def test_the_oracle_teaches_what_a_teacher_cache_holds(
    trips: TripDataset, oracle: DemoCityOracle
) -> None:
    some = np.array([5, 2, 700])
    logits = OracleTeacher(oracle).trip_logits(trips, some)
    assert logits.dtype == np.float32
    whole = oracle.log_probabilities(trips.road_ids, trips.offsets, trips.starts)
    begin, count, _ = _positions(trips)
    first = trips.offsets[:-1] - np.arange(len(trips))  # a trip has a position less than roads
    expected = [
        whole[begin[first[trip]] : begin[last] + count[last]]
        for trip in some
        for last in [first[trip] + trips.trace_lengths[trip] - 1]
    ]
    assert np.array_equal(logits, np.concatenate(expected))


def test_drivers_sent_out_again_make_other_trips_between_the_same_roads(
    trips: TripDataset, oracle: DemoCityOracle, tmp_path: Path
) -> None:
    ends = trips.offsets[1:] - 1
    requests = TripRequests(
        0,
        trips.road_ids[trips.offsets[:-1]].astype(np.int64),
        trips.road_ids[ends].astype(np.int64),
        np.asarray(trips.starts),
    )
    for name in ("one.csv", "two.csv"):
        drive_again(oracle, requests, tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    again = read_generated(tmp_path / "one.csv", trips.network)
    assert len(again) > 0.98 * len(trips)
    assert again.unjoined.sum() == 0
    assert again.reached is not None
    assert again.reached.mean() > 0.99
    lengths = np.diff(trips.offsets)
    assert abs(again.trips.lengths.mean() / lengths.mean() - 1) < 0.05
    real = {bytes(trips.road_ids[a : b + 1]) for a, b in zip(trips.offsets[:-1], ends)}
    offsets = np.cumsum([0, *again.trips.lengths])
    same = [bytes(again.trips.road_ids[a:b]) in real for a, b in itertools.pairwise(offsets)]
    assert 0.05 < np.mean(same) < 0.9, "some drive the same way, many do not"
