"""A teacher's sense of the way: its charges, where they are asked for, and how they are found."""

from __future__ import annotations

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

from critics.lmtad_teacher import LMTADTeacher
from critics.replay.driving import Driver, DriveRules
from critics.replay.policies import LMTADPolicy
from critics.replay.trips import ReplayedTrips
from critics.road_teacher import LMTADRoadTeacher, road_teacher
from critics.scoring.judges import TeacherJudge
from critics.scoring.running import TeacherReader
from critics.scoring.trips import as_trips
from critics.teacher_report import teacher_report
from critics.way import MOST_NATS, Way, WaySense
from critics.way_fitting import fit_way, knowing_the_way
from critics.weights import TeacherWeights, load_weights, save_weights
from data.choices import Choices, judge
from data.laid_out import here_and_taken
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.errors import UserError
from tests.teacher_helpers import small_weights
from tests.test_replay import near_requests
from tools.fit_way import main as fit_way_program
from tools.train_lmtad import main as train_lmtad


@pytest.fixture(scope="module")
def dataset(tiny_city: Path) -> TripDataset:
    return TripDataset.load(tiny_city, "train", RoadNetwork.load(tiny_city), max_len=64)


def sense_of(network: RoadNetwork, **changes: float) -> WaySense:
    seconds = torch.from_numpy(network.length_m / 8.0 + np.arange(network.num_roads) % 7).float()
    numbers = {"sharpness": 0.7, "per_km": 3.0, "per_minute": 2.0, **changes}
    return WaySense(seconds, **numbers)


def weights_of(network: RoadNetwork) -> TeacherWeights:
    weights = small_weights(network.num_roads, 70, True, "road")
    return replace(weights, way=sense_of(network))


def teacher_of(network: RoadNetwork, window: Any = "full") -> LMTADRoadTeacher:
    return road_teacher(weights_of(network), network, window)


def all_ways(network: RoadNetwork, cost: np.ndarray) -> np.ndarray:
    """[R, R]: from each road to each, by another program."""
    size = network.num_roads
    source = np.repeat(np.arange(size), network.out_degree)
    step = 0.5 * (cost[source] + cost[network.reach_targets])
    return dijkstra(csr_array((step, (source, network.reach_targets)), shape=(size, size)))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), per_km=st.sampled_from([0.0, 2.0, 9.0]))
def test_a_step_is_charged_what_it_costs_beyond_the_cheapest_way(
    dataset: TripDataset, seed: int, per_km: float
) -> None:
    network = dataset.network
    way = Way(sense_of(network, per_km=per_km), network)
    trips = np.random.default_rng(seed).choice(len(dataset), 5, replace=False)
    road_ids, offsets = dataset.laid_out(trips)
    left, cost = all_ways(network, way.road_cost), way.road_cost
    expected = []
    for trip in trips:
        roads = dataset.trip(int(trip))[0].astype(int)
        for road in roads[:-1]:
            for after in network.candidates(road):
                spent = 0.5 * (cost[road] + cost[after]) + left[after, roads[-1]]
                expected.append(max(left[road, roads[-1]] - spent, -MOST_NATS))
    found = way.charges_along(road_ids, offsets)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    assert found.max() <= 0.0


def test_the_cheapest_way_is_free_and_a_dead_end_is_not(dataset: TripDataset) -> None:
    network = dataset.network
    way = Way(sense_of(network), network)
    road_ids, offsets = dataset.laid_out(np.arange(20))
    choices = Choices.of(network, *here_and_taken(road_ids, offsets))
    charges = way.charges_along(road_ids, offsets).numpy()
    best = np.maximum.reduceat(charges, choices.begin)
    np.testing.assert_allclose(best, 0.0, atol=1e-9)
    alone = np.zeros(1, dtype=np.int32)  # a trip that never leaves its road has no choices
    assert len(way.charges_along(alone, np.array([0, 1]))) == 0


@pytest.mark.parametrize("window", ["full", 3])
def test_batches_whole_trips_and_drives_are_charged_alike(
    dataset: TripDataset, window: Any
) -> None:
    network, teacher = dataset.network, teacher_of(dataset.network, window)
    batch = dataset.batch([3, 1, 4])
    mask = batch.position_mask.clone()
    mask[1] = False
    logits = teacher.batch_logits(batch, mask)
    asked = batch.candidate_mask & mask.unsqueeze(-1)
    assert torch.equal(torch.isfinite(logits), asked)
    whole = teacher.trip_logits(dataset, np.array([3, 4]))
    np.testing.assert_allclose(logits[asked].numpy(), whole, atol=1e-4)
    plain = LMTADRoadTeacher(teacher.teacher, np.arange(network.num_roads), network, window)
    assert np.abs(whole - plain.trip_logits(dataset, np.array([3, 4]))).max() > 1
    assert plain.identity() != teacher.identity()

    requests = near_requests(dataset, 300)
    drives = Driver(LMTADPolicy(teacher), network, DriveRules(max_detour=50.0)).drive(requests)
    split = ReplayedTrips.of_drives(drives, network).dataset(dataset)
    answers = teacher.trip_logits(split, np.arange(len(split)))
    np.testing.assert_allclose(drives.values, answers, atol=2e-3)
    astray = Driver(LMTADPolicy(plain), network, DriveRules(max_detour=50.0)).drive(requests)
    assert drives.ended["arrived"] > astray.ended["arrived"]


def test_a_teacher_whose_own_opinion_counts_for_nothing_goes_by_the_way_alone(
    dataset: TripDataset,
) -> None:
    network = dataset.network
    weights = replace(weights_of(network), way=sense_of(network, sharpness=0.0))
    batch = dataset.batch([3, 1, 4])
    logits = road_teacher(weights, network).batch_logits(batch, batch.position_mask)
    assert torch.equal(torch.isfinite(logits), batch.candidate_mask)
    assert not logits.isnan().any() and logits[batch.candidate_mask].max() <= 0


def test_running_trips_are_judged_as_whole_ones(dataset: TripDataset) -> None:
    teacher = teacher_of(dataset.network)
    trips = as_trips(dataset).select(np.array([5, 9]))
    whole = TeacherJudge("teacher", teacher, dataset.network).surprises(trips).route
    reader, found = TeacherReader(teacher, dataset.network), []
    for key in (0, 1):
        roads, times = (np.asarray(part, dtype=np.int64) for part in trips.trip(key))
        keys = np.array([key])
        reader.begin(keys, roads[:1], roads[-1:], times[:1])
        for road, at in zip(roads[1:], times[1:]):
            found += reader.read(keys, np.array([road]), np.array([at])).tolist()
    np.testing.assert_allclose(found, whole, atol=1e-4)


class Indifferent(LMTADRoadTeacher):
    """Believes nothing of its own."""

    def trip_logits(self, dataset: TripDataset, trip_id: Any) -> np.ndarray:
        return np.zeros_like(super().trip_logits(dataset, trip_id))


def test_no_costs_make_the_choices_of_drivers_likelier_than_those_found(
    dataset: TripDataset,
) -> None:
    """Trips drawn at known costs, by one who believes nothing else."""
    network = dataset.network
    weights = weights_of(network)
    assert weights.way is not None
    true = replace(weights.way, sharpness=0.0, per_km=2.0, per_minute=0.0)
    driver = road_teacher(replace(weights, way=true), network)
    requests = near_requests(dataset, 3000)
    drives = Driver(LMTADPolicy(driver), network, DriveRules(max_detour=50.0)).drive(requests)
    split = ReplayedTrips.of_drives(drives, network).dataset(dataset)
    tokens = np.arange(network.num_roads)
    fitted = fit_way(Indifferent(LMTADTeacher(weights), tokens, network), split, dataset)
    assert fitted is not None
    found = fitted.sense
    trips = np.unique(np.linspace(0, len(split) - 1, 1000).astype(np.int64))
    road_ids, offsets = split.laid_out(trips)
    choices = Choices.of(network, *here_and_taken(road_ids, offsets))

    def surprise(sense: WaySense) -> float:
        charges = Way(sense, network).charges_along(road_ids, offsets).numpy()
        return float(judge(charges, choices).surprise.mean())

    nothing = surprise(replace(true, per_km=0.0))
    assert surprise(found) <= surprise(true) + 1e-6 < nothing


def test_a_sense_of_the_way_never_makes_the_fitted_choices_less_likely(
    dataset: TripDataset,
) -> None:
    network = dataset.network
    weights = replace(weights_of(network), way=None)
    known = knowing_the_way(weights, dataset, dataset)
    assert known.way is not None and known.way.per_km + known.way.per_minute > 0
    trips = np.arange(len(dataset))
    choices = Choices.of(network, *here_and_taken(*dataset.laid_out(trips)))
    surprises = [
        judge(road_teacher(each, network).trip_logits(dataset, trips), choices).surprise.mean()
        for each in (known, weights)
    ]
    assert surprises[0] < surprises[1]
    report = teacher_report(road_teacher(known, network), dataset, dataset, ("full",))
    alone, with_way, *_ = report.rows
    assert with_way.name == "LM-TAD, knowing the way" and with_way.nll < alone.nll


def test_weights_files_keep_it_and_refuse_what_is_none(
    dataset: TripDataset, tmp_path: Path
) -> None:
    network, path = dataset.network, tmp_path / "teacher.pt"
    weights = weights_of(network)
    save_weights(path, weights)
    again = load_weights(path)
    assert again.way is not None and weights.way is not None
    assert torch.equal(again.way.road_seconds, weights.way.road_seconds)
    assert road_teacher(path, network).identity() == teacher_of(network).identity()
    plain = weights.way.to_plain()
    for damaged in (
        {**plain, "per_km": float("nan")},
        {**plain, "per_minute": "2"},
        {**plain, "sharpness": -1.0},
        {**plain, "road_seconds": -plain["road_seconds"]},
        {name: value for name, value in plain.items() if name != "road_seconds"},
        [1, 2],
    ):
        with pytest.raises(UserError, match=r"tools/fit_way\.py"):
            WaySense.from_plain(damaged, "teacher.pt")
    short = replace(weights.way, road_seconds=weights.way.road_seconds[:-1])
    with pytest.raises(UserError, match="roads"):
        Way(short, network)


def test_the_programs_give_teachers_of_roads_a_sense_of_the_way(
    tiny_city: Path, tmp_path: Path
) -> None:
    output = tmp_path / "teacher.pt"
    common = ["--data_dir", str(tiny_city), "--cache_dir", str(tmp_path / "cache")]
    small = ["--epochs", "1", "--n_embd", "16", "--n_layer", "1", "--no-progress", "--no-report"]
    assert train_lmtad([*common, *small, "--output", str(output)]) == 0
    plain = load_weights(output)
    assert plain.way is None
    fit_way_program([*common, "--ckpt", str(output)])
    fitted = load_weights(output)
    assert fitted.way is not None and fitted.fingerprint() == plain.fingerprint()
    second = tmp_path / "second.pt"
    assert train_lmtad([*common, *small, "--output", str(second), "--way"]) == 0
    trained = load_weights(second)
    assert trained.way is not None
    assert trained.way.per_km == pytest.approx(fitted.way.per_km)
    assert trained.way.per_minute == pytest.approx(fitted.way.per_minute)
    cells = tmp_path / "cells.pt"
    grid = ["--vocabulary", "grid", "--no-destination_prefix", "--output", str(cells)]
    assert train_lmtad([*common, *small, *grid]) == 0
    assert load_weights(cells).way is None
    with pytest.raises(UserError, match="vocabulary road"):
        train_lmtad([*common, *small, *grid, "--way"])
    with pytest.raises(UserError, match="cells"):
        fit_way_program([*common, "--ckpt", str(cells)])
