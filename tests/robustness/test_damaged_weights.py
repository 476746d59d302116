"""Checkpoints and weights, damaged or made up: read as they were written, or refused by name."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from config import Config
from critics.lmtad_teacher import LMTADTeacher
from critics.road_teacher import road_teacher
from critics.teacher_training import TeacherOptions, train_teacher
from critics.teacher_training.state import load_run as load_teacher_run
from critics.teacher_training.state import run_path
from critics.teachers import load_teacher
from critics.way import WaySense
from critics.weights import build_lmtad, load_weights
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from runtime.errors import UserError
from search.student import open_city
from tests.robustness.damage import damaged_versions, read_or_refuse, spoil
from tests.robustness.programs import Programs, assert_refused
from tests.training_helpers import (
    assert_same_weights,
    command_line,
    distilled,
    random_teacher,
    tiny_config,
)
from tools.export_lmtad_weights import export_weights
from train_with_distill import train
from training.checkpoint import load_run
from training.folder import RunFolder
from training.resources import ResourcePool

JUNK: list[Any] = [
    None,
    -1,
    10**30,
    float("nan"),
    "",
    "text",
    [],
    {},
    {"a": 1},
    torch.tensor([]),
    torch.zeros(2, 3, dtype=torch.int64),
    torch.full((3,), float("nan")),
]


@pytest.fixture(scope="module")
def pool() -> ResourcePool:
    return ResourcePool()


@pytest.fixture(scope="module")
def finished(
    tiny_city: Path, tmp_path_factory: pytest.TempPathFactory, pool: ResourcePool
) -> Config:
    """The configuration of a run that is over."""
    config = tiny_config(
        tiny_city, tmp_path_factory.mktemp("finished"), optimizer_config__max_epoch=1
    )
    train(config, pool=pool)
    return config


def tampered(content: Any, seed: int, count: int) -> Iterator[tuple[str, Any]]:
    """Copies of nested content with one item replaced by junk or left out."""
    draw = random.Random(seed)
    paths = list(_paths(content, ()))
    for number in range(count):
        changed = copy.deepcopy(content)
        path = draw.choice(paths) if number >= len(content) else (list(content)[number],)
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        if draw.random() < 0.25 and isinstance(parent, dict):
            del parent[path[-1]]
            yield f"{path} left out", changed
        else:
            parent[path[-1]] = copy.deepcopy(draw.choice(JUNK))
            yield f"{path} is {str(parent[path[-1]])[:40]}", changed


def _paths(content: Any, prefix: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    for key, value in items:
        yield (*prefix, key)
        yield from _paths(value, (*prefix, key))


@pytest.mark.parametrize("seed", range(3))
def test_damaged_students(finished: Config, pool: ResourcePool, seed: int) -> None:
    network = pool.get(finished).network
    best = RunFolder.of(finished).best
    expected = HOSER.load(best, finished, network).state_dict()

    def judge(what: str) -> None:
        model = read_or_refuse(what, best, lambda: HOSER.load(best, finished, network))
        if model is not None:
            assert_same_weights(model.state_dict(), expected)
        read_or_refuse(what, best, lambda: open_city(finished, best))

    spoil(best, seed, judge, flips=25, blocks=10)


def test_damaged_original_students(parity_dir: Path, parity_city: Path, tmp_path: Path) -> None:
    network = RoadNetwork.load(parity_city)
    path = tmp_path / "published.pth"
    path.write_bytes((parity_dir / "hoser_state.pth").read_bytes())
    config = open_city(Config(data_dir=str(parity_city)), path).config
    expected = HOSER.load(path, config, network).state_dict()

    def judge(what: str) -> None:
        model = read_or_refuse(what, path, lambda: HOSER.load(path, config, network))
        if model is not None:
            assert_same_weights(model.state_dict(), expected)

    spoil(path, 0, judge, flips=10, blocks=4)


def test_made_up_students(finished: Config, pool: ResourcePool, tmp_path: Path) -> None:
    network = pool.get(finished).network
    content = torch.load(RunFolder.of(finished).best, weights_only=True)
    path = tmp_path / "made-up.pth"
    for what, changed in tampered(content, 1, 80):
        torch.save(changed, path)
        read_or_refuse(what, path, lambda: open_city(finished, path).load_student(CPU))
        read_or_refuse(what, path, lambda: HOSER.load(path, finished, network))


CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", range(3))
def test_damaged_checkpoints_of_runs(finished: Config, pool: ResourcePool, seed: int) -> None:
    latest = RunFolder.of(finished).latest
    expected = load_run(latest)

    def judge(what: str) -> None:
        state = read_or_refuse(what, latest, lambda: load_run(latest))
        if state is not None:
            assert state.progress == expected.progress and state.config == expected.config
            assert_same_weights(state.model, expected.model)

    spoil(latest, seed, judge, flips=40, blocks=10)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")  # of a list made a tensor
@pytest.mark.parametrize("seed", range(2))
def test_made_up_checkpoints_of_runs(finished: Config, pool: ResourcePool, seed: int) -> None:
    latest = RunFolder.of(finished).latest
    original = latest.read_bytes()
    content = torch.load(latest, weights_only=True)
    content["progress"]["history"] = content["progress"]["history"][:1]
    try:
        for what, changed in tampered(content, seed, 45):
            torch.save(changed, latest)
            with_history = what.startswith("('progress', ")  # figures that nothing is built on
            try:
                read_or_refuse(what, latest, lambda: train(finished, pool=pool))
            except AssertionError:
                if not with_history:
                    raise
                assert latest.exists()
    finally:
        latest.write_bytes(original)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_teachers(tiny_city: Path, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "teacher-weights.pt"
    path.write_bytes(random_teacher(tiny_city).read_bytes())
    expected = LMTADTeacher(path, "cpu", "float32").fingerprint

    def judge(what: str) -> None:
        teacher = read_or_refuse(what, path, lambda: LMTADTeacher(path, "cpu", "float32"))
        assert teacher is None or teacher.fingerprint == expected, what

    spoil(path, seed, judge, flips=25, blocks=10)


def test_made_up_grids(parity_dir: Path, parity_city: Path, tmp_path: Path) -> None:
    path = tmp_path / "made-up-teacher.pt"
    export_weights(parity_dir / "lmtad_ckpt.pt", path)
    whole = torch.load(path, weights_only=True)
    network = RoadNetwork.load(parity_city)
    read_or_refuse("nothing", path, lambda: road_teacher(path, network))
    grid = {"grid_size": 0.001, "downsample": 1, "bounds": {"min_lat": 0.0}, "min_lng": 1.0}
    for what, changed in tampered({**whole["dataset_config"], **grid}, 4, 100):
        torch.save({**whole, "dataset_config": changed}, path)
        read_or_refuse(what, path, lambda: road_teacher(path, network))


def test_made_up_teachers(tiny_city: Path, tmp_path: Path) -> None:
    content = torch.load(random_teacher(tiny_city), weights_only=True)
    seconds = torch.ones(RoadNetwork.load(tiny_city).num_roads)
    content["way"] = WaySense(seconds, 1.0, 2.0, 0.5).to_plain()
    path = tmp_path / "made-up-teacher.pt"
    settings = distilled(tiny_city, distill__ckpt=str(path))
    config = tiny_config(tiny_city, tmp_path, **settings)
    network = RoadNetwork.load(tiny_city)
    for what, changed in tampered(content, 2, 120):
        torch.save(changed, path)
        read_or_refuse(what, path, lambda: build_lmtad(load_weights(path)))
        read_or_refuse(what, path, lambda: load_teacher(config, network, CPU))
        read_or_refuse(what, path, lambda: road_teacher(path, network))


@pytest.mark.parametrize("seed", range(2))
def test_damaged_foreign_checkpoints(parity_dir: Path, tmp_path: Path, seed: int) -> None:
    path, output = tmp_path / "foreign.pt", tmp_path / "exported.pt"
    path.write_bytes((parity_dir / "lmtad_ckpt.pt").read_bytes())
    export_weights(path, output)
    expected = load_weights(output).fingerprint()

    def judge(what: str) -> None:
        output.unlink(missing_ok=True)
        if read_or_refuse(what, path, lambda: export_weights(path, output)) is None:
            assert not output.exists()
        else:
            assert load_weights(output).fingerprint() == expected, what

    spoil(path, seed, judge, flips=25, blocks=10)


def test_made_up_foreign_checkpoints(parity_dir: Path, tmp_path: Path) -> None:
    from critics.checkpoint_reader import read_checkpoint

    content = read_checkpoint(parity_dir / "lmtad_ckpt.pt")
    path, output = tmp_path / "made-up.pt", tmp_path / "exported.pt"
    for what, changed in tampered(content, 3, 80):
        torch.save(changed, path)
        output.unlink(missing_ok=True)
        if read_or_refuse(what, path, lambda: export_weights(path, output)) is not None:
            build_lmtad(load_weights(output))


def test_a_damaged_unfinished_teacher_training(tiny_city: Path, tmp_path: Path) -> None:
    network = RoadNetwork.load(tiny_city)
    trips, val = (TripDataset.load(tiny_city, split, network) for split in ("train", "val"))
    options = TeacherOptions(
        tmp_path / "teacher.pt", n_layer=1, n_head=2, n_embd=8, epochs=1, progress=False
    )
    train_teacher(options, network, trips, val)
    expected = load_weights(options.output).fingerprint()
    state = run_path(options.output)
    identity = {"some": "training"}
    made_up = {"identity": identity, "step": 1, "model": {}}
    torch.save(made_up, state)
    for what, data in damaged_versions(state.read_bytes(), 0, cuts=2, flips=10, blocks=4):
        state.write_bytes(data)
        read_or_refuse(what, state, lambda: load_teacher_run(state, identity))
    state.write_bytes(b"noise")
    options.output.unlink()
    train_teacher(options, network, trips, val)
    assert load_weights(options.output).fingerprint() == expected


def test_the_programs_refuse_in_one_line(
    programs: Programs, finished: Config, tiny_city: Path, tmp_path: Path
) -> None:
    latest, best = RunFolder.of(finished).latest, RunFolder.of(finished).best
    _, _, *arguments = command_line(finished, tmp_path / "program")
    teacher = tmp_path / "spoilt-teacher.pt"
    taught = ["--set", "distill.enable=true", "--set", f"distill.ckpt={teacher}"]
    for what, data in damaged_versions(best.read_bytes(), 9, cuts=1, flips=1, blocks=1):
        spoilt = tmp_path / "spoilt.pth"
        spoilt.write_bytes(data)
        files = ("--model_path", spoilt, "--output", tmp_path / "g.csv")
        ended = programs.run("gene.py", *arguments, *files)
        if ended.code != 0:
            assert_refused(ended, "spoilt.pth")
        original = latest.read_bytes()
        latest.write_bytes(data)
        assert_refused(programs.run("train_with_distill.py", *arguments), latest.name)
        assert latest.read_bytes() == data, what
        latest.write_bytes(original)
        teacher.write_bytes(data)
        assert_refused(programs.run("train_with_distill.py", *arguments, *taught), teacher.name)
        export = ("--checkpoint", teacher, "--output", tmp_path / "out.pt")
        assert_refused(programs.run("tools.export_lmtad_weights", *export), teacher.name)
        converted = ("--checkpoint", spoilt, "--output", tmp_path / "o.pth")
        ended = programs.run("tools.export_hoser", *converted)
        assert ended.code in (0, 2) and "Traceback" not in ended.stderr, ended.stderr


def test_a_user_error_is_what_refusing_means() -> None:
    with pytest.raises(UserError):
        load_run(Path("there/is/no/such.pth"))
