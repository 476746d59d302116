"""Trips that nobody drove: who drives, what is kept, what the teacher says about it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from config.schema import ReplayConfig
from critics.lmtad_decoder import LMTADDecoder
from critics.lmtad_teacher import LMTADTeacher
from critics.replay import driving
from critics.replay.driving import Driver, DriveRules, Drives
from critics.replay.making import HOSER_DRIVES, ReplayMaker
from critics.replay.policies import LMTADPolicy, StudentPolicy
from critics.replay.requests import (
    Requests,
    crow_flies_m,
    detour_limit,
    own_requests,
    recombined_requests,
    requests_from_file,
)
from critics.replay.store import open_or_drive
from critics.replay.times import predict_times
from critics.replay.trips import ReplayedTrips
from critics.road_teacher import HOSERRoadTeacher, LMTADRoadTeacher
from critics.teachers import together
from critics.weights import build_lmtad
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from runtime.errors import UserError
from tests.teacher_helpers import small_weights
from tests.training_helpers import near_pairs, tiny_config
from train_with_distill import TrainResult

FREE = DriveRules(max_detour=50.0)


@pytest.fixture(scope="module")
def dataset(tiny_city: Path) -> TripDataset:
    return TripDataset.load(tiny_city, "train", RoadNetwork.load(tiny_city), max_len=64)


def teacher_of(network: RoadNetwork, window: Any = "full", **changes: Any) -> LMTADRoadTeacher:
    weights = small_weights(network.num_roads, 40, **{"destination_prefix": True, **changes})
    tokens = np.arange(network.num_roads)
    return LMTADRoadTeacher(LMTADTeacher(weights), tokens, network, window)


def near_requests(dataset: TripDataset, count: int) -> Requests:
    """Roads a few steps apart, which even a random driver finds now and then."""
    ends = near_pairs(dataset.network, count)
    return Requests(ends[:, 0], ends[:, 1], np.asarray(dataset.starts)[:1].repeat(count))


def trips_of(drives: Drives) -> list[list[int]]:
    return [part.tolist() for part in np.split(drives.road_ids, np.cumsum(drives.lengths)[:-1])]


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=6), seed=st.integers(0, 3))
def test_reading_token_by_token_is_reading_at_once(cuts: list[int], seed: int) -> None:
    model = build_lmtad(small_weights(block_size=30, seed=seed)).eval().double()
    tokens = torch.randint(0, 33, (5, sum(cuts)), generator=torch.Generator().manual_seed(seed))
    decoder, begin = LMTADDecoder(model), 0
    rows = torch.arange(5)
    with torch.no_grad():
        expected = model.hidden(tokens)
        for cut in cuts:
            hidden = decoder.read(tokens[rows, begin : begin + cut])
            begin += cut
            torch.testing.assert_close(hidden, expected[rows, begin - 1], atol=1e-10, rtol=1e-10)
            rows = rows[torch.arange(len(rows)) % 3 != 2]
            decoder.keep(torch.arange(len(hidden))[torch.arange(len(hidden)) % 3 != 2])


@pytest.mark.parametrize("window", ["full", 3])
def test_drives_are_trips_with_the_teachers_answers(dataset: TripDataset, window: Any) -> None:
    network = dataset.network
    teacher = teacher_of(network, window)
    requests = near_requests(dataset, 300)
    drives = Driver(LMTADPolicy(teacher), network, FREE).drive(requests)
    trips = trips_of(drives)
    assert len(trips) > 30 and sum(drives.ended.values()) == 300
    asked = {(int(a), int(b)) for a, b in zip(requests.origin, requests.destination)}
    for trip in trips:
        assert (trip[0], trip[-1]) in asked and len(set(trip)) == len(trip)
        for road, following in pairwise(trip):
            begin, end = network.reach_offsets[road : road + 2]
            assert following in network.reach_targets[begin:end]
    split = ReplayedTrips.of_drives(drives, network).dataset(dataset)
    answers = teacher.trip_logits(split, np.arange(len(split)))
    np.testing.assert_allclose(drives.values, answers, atol=2e-3)
    plain = Driver(LMTADPolicy(teacher, cached=False), network, FREE).drive(requests)
    assert trips_of(plain) == trips


def test_a_drive_does_not_depend_on_the_others(
    dataset: TripDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(LMTADPolicy(teacher_of(dataset.network)), dataset.network, FREE)
    requests = near_requests(dataset, 60)
    together = trips_of(driver.drive(requests))
    monkeypatch.setattr(driving, "TRIPS_AT_ONCE_CPU", 7)
    assert trips_of(driver.drive(requests)) == together
    halves = [trips_of(driver.drive(requests[np.arange(i, i + 30)], i)) for i in (0, 30)]
    assert sorted(halves[0] + halves[1]) == sorted(together)
    other = Driver(LMTADPolicy(teacher_of(dataset.network)), dataset.network, DriveRules(seed=1))
    assert trips_of(other.drive(requests)) != together


def test_detours_are_dropped(dataset: TripDataset) -> None:
    network = dataset.network
    requests = near_requests(dataset, 200)
    limited = DriveRules(max_detour=1.2)
    drives = Driver(LMTADPolicy(teacher_of(network)), network, limited).drive(requests)
    assert drives.ended["detour"] > 0
    for trip in trips_of(drives):
        origin, destination = np.array(trip[:1]), np.array(trip[-1:])
        driven = network.length_m[trip[1:]].sum()
        distance = crow_flies_m(network, origin, destination)[0]
        assert driven <= 1.2 * max(distance, 300.0) + 1e-6


def test_a_student_drives_at_its_own_times(tiny_city: Path, dataset: TripDataset) -> None:
    network = dataset.network
    torch.manual_seed(0)
    student = HOSER(tiny_config(tiny_city, tiny_city), network).eval()
    policy = StudentPolicy(student, dataset.tables("cpu"), (dataset.time_mean, dataset.time_std))
    rules = DriveRules(max_detour=50.0, max_roads=8)
    drives = Driver(policy, network, rules).drive(near_requests(dataset, 120))
    split = ReplayedTrips.of_drives(drives, network).dataset(dataset)
    assert len(split) > 10
    for _ in range(9):  # as often as the longest trip has positions, then nothing changes
        predict_times(student, split, np.arange(len(split)), 16)
    batch = split.batch(np.arange(len(split)))
    logits = student(batch)[0][batch.candidate_mask].detach().numpy()
    np.testing.assert_allclose(logits, drives.values, atol=2e-2)
    first = split.offsets[:-1]
    waits = np.delete(np.diff(split.seconds), first[1:] - 1)
    assert (split.seconds[first] == 0).all() and (waits >= 0).all() and waits.max() > 0


def test_a_student_s_clock_is_not_moved_by_trips_that_have_ended(
    tiny_city: Path, dataset: TripDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, statistics = dataset.network, (dataset.time_mean, dataset.time_std)
    torch.manual_seed(0)
    student = HOSER(tiny_config(tiny_city, tiny_city), network).eval()
    with torch.no_grad():
        student.navigator.time_estimator_linear_3.weight.mul_(20)  # waits that differ by minutes
    policy = StudentPolicy(student, dataset.tables("cpu"), statistics)
    requests = near_requests(dataset, 60)
    rules = DriveRules(max_detour=50.0, max_roads=12)
    together = Driver(policy, network, rules).drive(requests)
    monkeypatch.setattr(driving, "TRIPS_AT_ONCE_CPU", 1)
    alone = Driver(policy, network, rules).drive(requests)
    assert trips_of(together) == trips_of(alone) and len(together) > 10
    np.testing.assert_allclose(together.values, alone.values, atol=1e-5)


def test_earlier_drives_of_hosers_are_made_anew_and_those_of_lmtads_are_not(
    tiny_city: Path, dataset: TripDataset, vanilla_run: TrainResult
) -> None:
    settings, network = ReplayConfig(trips=5), dataset.network
    changes = {"distill__teacher": "hoser", "distill__ckpt": str(vanilla_run.checkpoint)}
    config = tiny_config(tiny_city, tiny_city, **changes)
    hoser, lmtad = HOSERRoadTeacher.from_config(config, network), teacher_of(network)
    for teacher, known in ((lmtad, False), (hoser, True), (together([hoser, hoser]), True)):
        key = ReplayMaker(settings, dataset, teacher, seed=0, epochs=10)._key(5, 0)
        assert (key.get("hoser_drives") == HOSER_DRIVES) == known


def test_pairs_are_as_far_apart_as_those_of_real_trips(dataset: TripDataset) -> None:
    generator = np.random.default_rng(0)
    own = own_requests(dataset, len(dataset), generator)
    mixed = recombined_requests(dataset, 500, generator)
    assert (mixed.origin != mixed.destination).all()
    assert set(mixed.origin) <= set(own.origin) and set(mixed.destination) <= set(own.destination)
    real, drawn = (
        np.quantile(crow_flies_m(dataset.network, each.origin, each.destination), (0.1, 0.5, 0.9))
        for each in (own, mixed)
    )
    np.testing.assert_allclose(drawn, real, rtol=0.15)
    assert 1.0 <= detour_limit(dataset, 0.1) <= detour_limit(dataset, 0.95)


def test_pairs_from_a_file(dataset: TripDataset, tmp_path: Path) -> None:
    path, generator = tmp_path / "pairs.csv", np.random.default_rng(0)
    path.write_text("origin,destination\n1,2\n3,4\n5,5\n")
    found = requests_from_file(path, dataset, 4, generator)
    assert set(zip(found.origin.tolist(), found.destination.tolist())) == {(1, 2), (3, 4)}
    for content in ("a,b\n1,2\n", "origin,destination\n1,x\n", "origin,destination\n1,99999\n"):
        path.write_text(content)
        with pytest.raises(UserError, match=r"pairs\.csv"):
            requests_from_file(path, dataset, 4, generator)
    for content in ("origin,destination\n5,5\n7,7\n", "origin,destination\n"):
        path.write_text(content)
        with pytest.raises(UserError, match=r"pairs\.csv has no pairs of two different roads"):
            requests_from_file(path, dataset, 4, generator)
    with pytest.raises(UserError, match="cannot be read"):
        requests_from_file(tmp_path / "none.csv", dataset, 4, generator)


def test_replayed_trips_are_kept_and_made_anew_when_damaged(
    dataset: TripDataset, tmp_path: Path, messages: list[str]
) -> None:
    network = dataset.network
    settings = ReplayConfig(trips=15, od="own", detour_quantile=1.0)
    maker = ReplayMaker(settings, dataset, teacher_of(network), seed=0, epochs=10)
    trips = maker.teacher_drives(tmp_path)
    assert trips is not None
    assert len(messages) == 1 and "kept" in messages[0]
    again = maker.teacher_drives(tmp_path)
    assert again is not None
    assert len(messages) == 1
    assert all(np.array_equal(a, b) for a, b in zip(vars(trips).values(), vars(again).values()))
    (path,) = tmp_path.glob("*.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    repaired = maker.teacher_drives(tmp_path)
    assert repaired is not None
    assert any("damaged" in line for line in messages)
    assert np.array_equal(trips.road_ids, repaired.road_ids)
    other = ReplayMaker(settings, dataset, teacher_of(network), seed=1, epochs=10)
    other.teacher_drives(tmp_path)
    maker.teacher_drives(tmp_path, made=1)
    assert len(list(tmp_path.glob("*.npz"))) == 3

    def fail() -> ReplayedTrips:
        raise AssertionError("driven although the file is there")

    key = maker._key(15, 0)
    assert len(open_or_drive(tmp_path, key, fail)) == len(trips)


@pytest.mark.parametrize(
    ("changes", "weights", "message"),
    [
        ({}, {"destination_prefix": False}, "not told the destination"),
        ({"od": "teacher"}, {}, "has not learned where trips begin"),
        ({"od": "file"}, {}, "give the file"),
    ],
)
def test_what_a_teacher_cannot_drive(
    dataset: TripDataset, tmp_path: Path, changes: dict[str, Any], weights: dict[str, Any],
    message: str,
) -> None:  # fmt: skip
    replay = ReplayConfig(trips=5, **changes)
    teacher = teacher_of(dataset.network, **weights)
    maker = ReplayMaker(replay, dataset, teacher, seed=0, epochs=10)
    with pytest.raises(UserError, match=message):
        maker.teacher_drives(tmp_path)


def test_a_teacher_may_draw_origins(dataset: TripDataset, tmp_path: Path) -> None:
    teacher = teacher_of(dataset.network)
    teacher.teacher.dataset_config["loss"] = "vocabulary"
    replay = ReplayConfig(trips=5, od="teacher", detour_quantile=1.0)
    maker = ReplayMaker(replay, dataset, teacher, seed=0, epochs=10)
    requests = maker._requests(200, np.random.default_rng(0))
    own = own_requests(dataset, len(dataset), np.random.default_rng(0))
    assert len(requests) > 150 and set(requests.destination) <= set(own.destination)
    assert not set(requests.origin) <= set(own.origin)
