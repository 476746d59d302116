"""Copies, closeness and attacks: against scikit-learn and with answers known beforehand."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from config import Config
from data.road_network import RoadNetwork
from metrics.leakage import LeakSearch, TripIndex, auc
from metrics.trips import Trips, read_real_trips
from search.student import open_city
from tests.training_helpers import tiny_config
from tools.leakage import main as leakage_main
from train_with_distill import train


@pytest.fixture(scope="module")
def network(tiny_city: Path) -> RoadNetwork:
    return RoadNetwork.load(tiny_city)


def walks(network: RoadNetwork, count: int, seed: int) -> Trips:
    """Fresh draws from one distribution: random drives from a few roads."""
    rng = np.random.default_rng(seed)
    roads: list[int] = []
    lengths = []
    for _ in range(count):
        trip = [int(rng.integers(20))]
        while len(trip) < 12 and len(network.candidates(trip[-1])):
            trip.append(int(rng.choice(network.candidates(trip[-1]))))
        roads += trip
        lengths.append(len(trip))
    times = 1_446_000_000 + np.arange(len(roads)) * 7
    return Trips.from_lengths(np.array(roads, dtype=np.int32), times, np.array(lengths))


def test_auc_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for digits in (0, 1, 5):  # with and without ties
        members, others = rng.normal(0.3, 1, 70).round(digits), rng.normal(0, 1, 90).round(digits)
        label = np.repeat([1, 0], [70, 90])
        expected = roc_auc_score(label, np.concatenate([members, others]))
        assert auc(members, others) == pytest.approx(expected)
    assert auc(np.zeros(0), np.ones(3)) is None


def test_distances_equal_scikit_learn(network: RoadNetwork) -> None:
    first, second = walks(network, 80, 1), walks(network, 60, 2)

    def table(trips: Trips) -> np.ndarray:
        used = np.zeros((len(trips), network.num_roads), dtype=bool)
        used[np.repeat(np.arange(len(trips)), trips.lengths), trips.road_ids] = True
        return used

    nearest = NearestNeighbors(n_neighbors=1, metric="jaccard", algorithm="brute")
    expected, _ = nearest.fit(table(first)).kneighbors(table(second))
    found = TripIndex(first, network.num_roads).distance(second)
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-12)
    own = TripIndex(first, network.num_roads)
    assert (own.distance(first) == 0).all() and own.copies(first).all()
    assert (own.distance(first, np.arange(len(first))) > 0).any()


def test_copies_are_caught(network: RoadNetwork) -> None:
    training, held_out = walks(network, 150, 3), walks(network, 150, 4)
    leak = LeakSearch(training, held_out, network.num_roads).leaks(training)
    assert leak.generated.exact_copies == leak.generated.near_copies == 1.0
    assert leak.same_od == leak.same_od_and_start == 1.0
    assert leak.membership_auc is not None and leak.closer_auc is not None
    # All members are at distance 0; only held-out trips that repeat a training trip tie.
    ties = float((TripIndex(training, network.num_roads).distance(held_out) == 0).mean())
    assert leak.membership_auc == pytest.approx(1 - ties / 2)
    assert leak.closer_auc == pytest.approx(1 - ties / 2) and ties < 0.2


def test_fresh_draws_tell_nothing(network: RoadNetwork) -> None:
    fresh, training, held_out = (walks(network, 1500, seed) for seed in (5, 6, 7))
    leak = LeakSearch(training, held_out, network.num_roads).leaks(fresh)
    assert leak.membership_auc == pytest.approx(0.5, abs=0.03)
    assert leak.closer_auc == pytest.approx(0.5, abs=0.03)
    assert leak.generated.exact_copies == pytest.approx(leak.held_out.exact_copies, abs=0.03)


def test_real_splits_run_through(tiny_city: Path, network: RoadNetwork) -> None:
    train, test = (read_real_trips(tiny_city, split, network) for split in ("train", "test"))
    leak = LeakSearch(train, test, network.num_roads).leaks(test)
    assert leak.closer_auc == pytest.approx(0.5)
    assert leak.to_json()["generated"] == leak.to_json()["held_out"]


def test_members_are_the_trips_that_a_student_saw(
    tiny_city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    saw = {"data__max_train_trips": 5, "optimizer_config__max_epoch": 1}
    student = train(tiny_config(tiny_city, tmp_path / "save", **saw)).checkpoint
    city = open_city(Config(data_dir=str(tiny_city)), student)
    assert city.config.data.max_train_trips == 5
    words = ["--generated_file", str(_as_generated(tiny_city, tmp_path)), "--data_dir"]
    words += [str(tiny_city), "--model_path", str(student)]
    monkeypatch.setattr("sys.argv", ["tools.leakage", *words])
    leakage_main()
    assert "beside 5 training trips" in capsys.readouterr().out


def test_bad_rows_of_real_trips_are_left_out_where_asked(
    tiny_city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    city = Path(shutil.copytree(tiny_city, tmp_path / "city"))
    generated = _as_generated(tiny_city, tmp_path)
    words = ["tools.leakage", "--generated_file", str(generated), "--data_dir"]
    monkeypatch.setattr("sys.argv", [*words, str(tiny_city)])
    leakage_main()
    expected = capsys.readouterr().out
    for split in ("train", "test"):
        with (city / f"{split}.csv").open("a") as file:
            file.write("not a trip\n")
    monkeypatch.setattr("sys.argv", [*words, str(city), "--on_bad_rows", "skip"])
    leakage_main()
    assert capsys.readouterr().out == expected


def _as_generated(city: Path, folder: Path) -> Path:
    """The test trips as if they had been generated."""
    file = folder / "generated.csv"
    with (city / "test.csv").open(newline="") as source, file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["gene_trace_road_id", "gene_trace_datetime"])
        for row in csv.DictReader(source):
            roads = [int(road) for road in row["rid_list"].split(",")]
            writer.writerow([str(roads), str(row["time_list"].split(","))])
    return file
