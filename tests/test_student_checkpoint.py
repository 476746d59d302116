"""Reading students from files: what loads, and what is said about a file that does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from config import load_config
from data.road_network import RoadNetwork
from hoser import HOSER
from models.checkpoint import load_student_state
from runtime.errors import UserError
from tests.student_helpers import ParityStudent
from tools.export_hoser import export_hoser


@pytest.fixture(scope="module")
def student(parity_dir: Path) -> ParityStudent:
    return ParityStudent.load(parity_dir)


@pytest.fixture
def state(student: ParityStudent) -> dict[str, torch.Tensor]:
    return dict(student.model().state_dict())


def load(path: Path, student: ParityStudent) -> HOSER:
    return HOSER.load(path, student.config, student.network)


def test_plain_wrapped_and_nested_files_load(
    student: ParityStudent, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    for number, content in enumerate([state, {"model": state, "epoch": 3}, {"model": wrapped}]):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        loaded = load(path, student).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_unused_parts_of_the_original_are_not_ours(student: ParityStudent) -> None:
    names = set(student.model().state_dict())
    original = set(load_student_state(student.checkpoint))
    assert {name for name in original - names if "time_estimator." not in name} == {
        f"trajectory_encoder.transformer.h.{layer}.attn.bias" for layer in (0, 1)
    }
    assert not names - original


def test_export_round_trip(student: ParityStudent, tmp_path: Path) -> None:
    ours = tmp_path / "best.pth"
    config = {"trajectory_encoder_config": {"max_len": 64}}
    torch.save({"model": student.model().state_dict(), "config": config}, ours)
    exported = tmp_path / "original.pth"
    export_hoser(ours, exported)
    original = torch.load(student.checkpoint, weights_only=True)
    content = torch.load(exported, weights_only=True)
    assert content.keys() == original.keys()
    for name in student.model().state_dict():
        assert torch.equal(content[name], original[name])
    load(exported, student)


def test_export_without_a_trip_length_asks_for_it(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "plain.pth")
    with pytest.raises(UserError, match="--max_len"):
        export_hoser(tmp_path / "plain.pth", tmp_path / "out.pth")
    export_hoser(tmp_path / "plain.pth", tmp_path / "out.pth", max_len=32)
    mask = torch.load(tmp_path / "out.pth", weights_only=True)[
        "trajectory_encoder.transformer.h.0.attn.bias"
    ]
    assert mask.shape == (1, 1, 32, 32)


def test_other_sizes_are_named(
    student: ParityStudent, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    changes = {
        "road_network_encoder.road_id_emb.weight": (300, 64),
        "road_network_encoder.type_emb.weight": (9, 16),
        "road_network_encoder.zone_id_emb.weight": (7, 128),
    }
    other = state | {name: torch.zeros(shape) for name, shape in changes.items()}
    path = tmp_path / "other.pth"
    torch.save(other, path)
    with pytest.raises(UserError, match=r"300 roads.* 251; .*9 road types.* 5; .*7 zones.* 12"):
        load(path, student)


def test_another_max_len_is_named(student: ParityStudent) -> None:
    config = load_config(None, {"trajectory_encoder_config.max_len": 100})
    with pytest.raises(UserError, match=r"max_len is 64, .*max_len is 100"):
        HOSER.load(student.checkpoint, config, student.network)


def test_another_city_of_the_same_size_is_noticed(
    student: ParityStudent, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    name = "road_network_encoder.road_attr_len"
    torch.save(state | {name: state[name].flip(0)}, tmp_path / "flipped.pth")
    with pytest.raises(UserError, match=r"another road network.*road lengths differ in \d+ of 251"):
        load(tmp_path / "flipped.pth", student)
    torch.save(state | {"road2zone": (state["road2zone"] + 1) % 12}, tmp_path / "zones.pth")
    with pytest.raises(UserError, match="the zones of the roads"):
        load(tmp_path / "zones.pth", student)


def test_another_width_is_named(student: ParityStudent, tmp_path: Path) -> None:
    widths = {
        "road_network_encoder_config.road_id_emb_dim": 48,
        "road_network_encoder_config.len_emb_dim": 32,
        "trajectory_encoder_config.max_len": 64,
    }
    with pytest.raises(UserError, match=r"road_id_emb.weight is \[251, 64\].*\[251, 48\]"):
        HOSER.load(student.checkpoint, load_config(None, widths), student.network)
    missing = load_student_state(student.checkpoint)
    del missing["navigator.v_proj.weight"]
    missing["navigator.extra"] = torch.zeros(1)
    torch.save(missing, tmp_path / "missing.pth")
    with pytest.raises(
        UserError, match=r"missing navigator.v_proj.weight.*unknown navigator.extra"
    ):
        load(tmp_path / "missing.pth", student)


@pytest.mark.parametrize("kept", [0, 10, 5000, -1])
def test_damaged_files(student: ParityStudent, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.pth"
    path.write_bytes(student.checkpoint.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cut\.pth"):
        load(path, student)


def test_files_that_are_something_else(student: ParityStudent, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        load(tmp_path / "absent.pth", student)
    with pytest.raises(UserError, match="no checkpoint"):
        load(tmp_path, student)
    for number, content in enumerate([[1, 2], {"a": torch.zeros(2)}, {"model": {}}]):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(UserError, match=path.name):
            load(path, student)
    path = tmp_path / "text.pth"
    path.write_text("origin,destination\n1,2\n")
    with pytest.raises(UserError, match=path.name):
        load(path, student)


class Foreign:
    """Something a checkpoint must not be able to bring to life."""


def test_foreign_classes_are_refused(student: ParityStudent, tmp_path: Path) -> None:
    torch.save({"model": Foreign()}, tmp_path / "foreign.pth")
    with pytest.raises(UserError, match=r"foreign\.pth"):
        load(tmp_path / "foreign.pth", student)


def test_a_city_without_zones(student: ParityStudent, parity_city: Path, tmp_path: Path) -> None:
    for name in ("roadmap.geo", "roadmap.rel"):
        shutil.copy(parity_city / name, tmp_path / name)
    with pytest.raises(UserError, match="preprocess"):
        HOSER(student.config, RoadNetwork.load(tmp_path))


def test_widths_that_do_not_meet(student: ParityStudent) -> None:
    for key in (
        "road_network_encoder_config.zone_id_emb_dim",
        "trajectory_encoder_config.hidden_dim",
        "road_network_encoder_config.road_id_emb_dim",
    ):
        with pytest.raises(UserError, match="equal"):
            HOSER(load_config(None, {key: 96}), student.network)
    with pytest.raises(UserError, match="num_heads"):
        HOSER(load_config(None, {"trajectory_encoder_config.num_heads": 3}), student.network)


def test_embeddings_of_zones_without_roads_are_left_out(
    student: ParityStudent, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    name = "road_network_encoder.zone_id_emb.weight"
    zones = state[name]
    path = tmp_path / "spare.pth"
    torch.save({**state, name: torch.cat([zones, torch.randn(7, zones.shape[1])])}, path)
    loaded = load(path, student).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    other = state["road2zone"].clone()
    other[0] = len(zones) + 2  # now one of the others has a road
    torch.save({**torch.load(path, weights_only=True), "road2zone": other}, path)
    with pytest.raises(UserError, match=f"with {len(zones) + 7} zones"):
        load(path, student)
