"""A dataset's files with random damage: understood, refused with file and reason, or made anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from critics.cache_builder import open_or_build
from critics.teachers import load_teacher
from data.batch import Batch
from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from metrics.trips import read_real_trips
from runtime.errors import UserError
from tests.robustness.damage import damaged_versions, read_or_refuse, spoil
from tests.robustness.programs import Programs, assert_refused, assert_succeeded
from tests.training_helpers import command_line, distilled, tiny_config


@pytest.fixture(scope="module")
def city(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny city that may be spoilt, without caches."""
    folder = tmp_path_factory.mktemp("damaged") / "city"
    shutil.copytree(tiny_city, folder, ignore=shutil.ignore_patterns(".*"))
    return folder


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["roadmap.geo", "roadmap.rel"])
def test_road_maps(city: Path, name: str, seed: int) -> None:
    refused: list[str] = []

    def judge(what: str) -> None:
        network = read_or_refuse(
            what, city / name, lambda: RoadNetwork.load(city, with_zones=False)
        )
        if network is None:
            refused.append(what)
        else:
            check_network(network)

    spoil(city / name, seed, judge, flips=30)
    assert {"zeros", "noise", "text"} <= set(refused)


def check_network(network: RoadNetwork) -> None:
    """Whatever was read is a network whose numbers are numbers."""
    assert network.num_roads == len(network.length_m) > 0
    assert network.reach_offsets[-1] == len(network.reach_targets)
    assert ((network.reach_targets >= 0) & (network.reach_targets < network.num_roads)).all()
    for column in (network.center_lon, network.center_lat, network.length_m, network.bearing):
        assert np.isfinite(column).all()
    for feature in (network.road_attr_len, network.road_attr_lon, network.intersection_attr):
        assert np.isfinite(feature).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["road_network_partition", "zone_trans_mat.npy"])
def test_zones(city: Path, name: str, seed: int) -> None:
    def judge(what: str) -> None:
        try:
            network = RoadNetwork.load(city)
        except UserError as error:
            assert name in str(error), what
            return
        zones = network.require_zones()
        assert len(zones.road2zone) == network.num_roads
        assert zones.road2zone.min() >= 0 and zones.road2zone.max() < zones.num_zones
        assert np.isfinite(zones.edge_weight).all(), what

    spoil(city / name, seed, judge, flips=40)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("on_bad_rows", ["error", "skip"])
def test_trips(city: Path, tmp_path: Path, on_bad_rows: str, seed: int) -> None:
    network = RoadNetwork.load(city)
    whole = TripDataset.load(city, "train", network, cache_dir=tmp_path / "whole")
    refused: list[str] = []

    def judge(what: str) -> None:
        dataset = read_or_refuse(
            what,
            city / "train.csv",
            lambda: TripDataset.load(
                city,
                "train",
                network,
                on_bad_rows=on_bad_rows,  # type: ignore[arg-type]
                cache_dir=tmp_path / "cache",
            ),
        )
        if dataset is None:
            refused.append(what)
            return
        assert 0 < len(dataset) <= len(whole)
        check_trips(dataset)

    spoil(city / "train.csv", seed, judge, flips=30)
    assert {"empty", "zeros", "noise", "text"} <= set(refused)


def check_trips(dataset: TripDataset) -> None:
    """All that follows from the trips is finite, and every label is a candidate."""
    batch: Batch = dataset.batch(np.arange(len(dataset)))
    assert batch.timestamp_label.isfinite().all()
    assert batch.metric_dis.isfinite().all() and batch.trace_distance_mat.isfinite().all()
    steps = torch.arange(batch.trace_road_id.shape[1])
    valid = steps < batch.trace_len.unsqueeze(1)
    assert (batch.road_label[valid] >= 0).all()
    assert (batch.road_label[valid] < batch.candidate_len[valid]).all()


def test_real_trips_of_the_evaluation(city: Path) -> None:
    network = RoadNetwork.load(city)

    def judge(what: str) -> None:
        read_or_refuse(what, city / "test.csv", lambda: read_real_trips(city, "test", network))

    spoil(city / "test.csv", 0, judge)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_trip_caches_are_made_anew(city: Path, tmp_path: Path, seed: int) -> None:
    network = RoadNetwork.load(city)

    def load() -> TripDataset:
        return TripDataset.load(city, "train", network, cache_dir=tmp_path)

    expected = load()
    csv_bytes = (city / "train.csv").read_bytes()
    files = sorted(path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".json"))
    assert len(files) == 6
    for path in files:
        original = path.read_bytes()
        for what, data in damaged_versions(original, seed, cuts=3, flips=6, blocks=3):
            path.write_bytes(data)
            try:
                same_trips(load(), expected)
            except Exception as error:
                raise AssertionError(f"{path.name}: {what}: {error!r}") from error
    assert (city / "train.csv").read_bytes() == csv_bytes


def same_trips(found: TripDataset, expected: TripDataset) -> None:
    """Bit for bit."""
    assert found.content_hash == expected.content_hash
    assert (found.time_mean, found.time_std) == (expected.time_mean, expected.time_std)
    for name in ("road_ids", "seconds", "starts", "num_roads_of_trip"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize("seed", range(2))
def test_damaged_teacher_caches_are_made_anew(
    city: Path, tiny_city: Path, tmp_path: Path, seed: int
) -> None:
    config = tiny_config(city, tmp_path / "save", **distilled(tiny_city))
    network = RoadNetwork.load(city)
    dataset = TripDataset.load(city, "val", network, max_len=24, cache_dir=tmp_path / "trips")
    teacher = load_teacher(config, network, torch.device("cpu"))

    def values() -> np.ndarray:
        cache = open_or_build(tmp_path / "cache", dataset, teacher, progress=False)
        return cache.values.numpy().copy()

    expected = values()
    folder = next((tmp_path / "cache").iterdir())
    for name in ("values.f16", "manifest.json"):
        original = (folder / name).read_bytes()
        for what, data in damaged_versions(original, seed, cuts=2, flips=5, blocks=3):
            (folder / name).write_bytes(data)
            try:
                assert np.array_equal(values(), expected)
            except Exception as error:
                raise AssertionError(f"{name}: {what}: {error!r}") from error
    for what, data in damaged_versions(b'{"key": {}, "chunks": [[3, "00"]]}', seed):
        (folder / "manifest.json").unlink()  # an unfinished cache with a damaged journal
        (folder / "journal.json").write_bytes(data)
        assert np.array_equal(values(), expected), what


def test_a_damaged_description_of_a_demo_city(tmp_path: Path) -> None:
    city = make_demo_city(tmp_path / "city", 200, 60, 3, progress=False)
    expected = {path.name: path.read_bytes() for path in city.iterdir() if path.suffix != ".json"}
    description = city / "demo_city.json"
    for what, data in damaged_versions(description.read_bytes(), 0, cuts=2, flips=4, blocks=2):
        description.write_bytes(data)
        read_or_refuse_city(what, city)
        found = {path.name: path.read_bytes() for path in city.iterdir()}
        assert {name: found[name] for name in expected} == expected, what


def read_or_refuse_city(what: str, city: Path) -> None:
    """Made anew where it is ours, or refused with the folder named."""
    try:
        make_demo_city(city, 200, 60, 3, progress=False)
    except UserError as error:
        assert city.name in str(error), what


def test_zones_are_made_only_where_they_are_missing(city: Path, tmp_path: Path) -> None:
    copy = tmp_path / "city"
    shutil.copytree(city, copy, ignore=shutil.ignore_patterns(".*"))
    (copy / "road_network_partition").write_bytes(b"\x00\xff")
    with pytest.raises(UserError, match="road_network_partition"):
        ensure_zones(copy)
        RoadNetwork.load(copy)
    assert (copy / "road_network_partition").read_bytes() == b"\x00\xff"


@pytest.mark.parametrize(
    "name", ["roadmap.geo", "roadmap.rel", "train.csv", "val.csv", "zone_trans_mat.npy"]
)
def test_the_program_refuses_in_one_line(
    programs: Programs, city: Path, tmp_path: Path, name: str
) -> None:
    config = tiny_config(city, tmp_path / "save", optimizer_config__max_epoch=1)
    _, _, *arguments = command_line(config, tmp_path / "program")
    original = (city / name).read_bytes()
    versions = dict(damaged_versions(original, 5))
    try:
        for what in ("empty", "noise", "zeros", "text"):
            (city / name).write_bytes(versions[what])
            ended = programs.run("train_with_distill.py", *arguments, cwd=tmp_path)
            assert_refused(ended, name)
            assert (city / name).read_bytes() == versions[what]
    finally:
        (city / name).write_bytes(original)
    assert_succeeded(programs.run("train_with_distill.py", *arguments, cwd=tmp_path))


@pytest.mark.parametrize(
    "name", ["roadmap.geo", "train.csv", "road_network_partition", "zone_trans_mat.npy"]
)
def test_a_pipe_in_a_dataset_is_not_waited_for(city: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(city, tmp_path / "city", ignore=shutil.ignore_patterns(".cache"))
    (tmp_path / "city" / name).unlink()
    os.mkfifo(tmp_path / "city" / name)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        TripDataset.load(tmp_path / "city", "train", RoadNetwork.load(tmp_path / "city"))
