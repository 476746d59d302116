"""Numbers that no machine can mean: each is refused where it is given, in the user's terms."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from config import Config, load_config
from config.generation import Execution, SearchSettings
from critics.teacher_training import TeacherOptions
from data.road_network import RoadNetwork
from gene import generate
from report.inputs import learning_curves
from runtime.errors import UserError
from runtime.launched import num_processes
from training.folder import RunFolder


def teacher(**values: Any) -> TeacherOptions:
    return TeacherOptions(Path("teacher.pt"), **values)


@pytest.mark.parametrize(
    ("make", "values", "reason"),
    [
        (SearchSettings, {"beam_width": 2**62}, "beam_width is 4611686018427387904; it must be"),
        (SearchSettings, {"temperature": float("nan")}, "temperature is nan; it must be"),
        (Execution, {"processes": 10**11}, "processes is 100000000000; it must be at most 1024"),
        (Execution, {"batch_size": 10**30}, "batch_size is 1000"),
        (teacher, {"warmup_ratio": float("inf")}, "--warmup_ratio is inf; it must be in 0..1"),
    ],
)
def test_a_request_has_bounds(make: Any, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        make(**values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optuna.search_space.window", {"low": 5000, "high": 5001}),
        ("optuna.search_space", {"temperature": {"low": 1.0, "high": 1e300}}),
        ("distill.temperature", 1e300),
        ("distill.window", 5000),
        ("training.seed", 10**400),
    ],
)
def test_a_setting_has_bounds(key: str, value: object) -> None:
    with pytest.raises(UserError, match=key.replace(".", r"\.")):
        load_config(None, {key: value, "distill.tau_squared": True})


@pytest.mark.parametrize(
    ("program", "arguments", "reason"),
    [
        ("data.match.__main__", ["--gps", "x", "--seed=-1"], "--seed is -1; expected a whole"),
        ("data.match.__main__", ["--gps=x", f"--timezone={'a/' * 999}"], "is not a time zone"),
        ("tools.leakage", ["--seed=-1"], "--seed is -1; expected a whole"),
        ("tools.baselines", ["--num_gene=-1"], "--num_gene is -1; expected a whole"),
        ("tools.baselines", [f"--seed={10**23}"], "--seed is 1000"),
        ("gene", [f"--routes_per_od={2**62}"], "--routes_per_od is 4611686018427387904"),
        ("tools.export_hoser", [f"--max_len={2**62}"], "--max_len is 4611686018427387904"),
        ("data.demo_city.__main__", ["--out", "x", "--threads=0"], "--threads is 0; 1 to 1024"),
        ("data.demo_city.__main__", ["--out", "x", f"--threads={10**8}"], "--threads is 1000"),
        ("data.demo_city.gps", ["--out=x.csv", "--interval=nan"], "--interval is nan; expected"),
        ("data.demo_city.gps", ["--out=x.csv", "--interval=5e-324"], "--interval is 5e-324; it"),
        ("tools.own_city", ["--pbf=a", "--gps=b", "--out=c", "--zones=0"], "--zones is 0"),
        ("tools.demo", ["--trips=0"], "--trips is 0; it must be at least 1"),
    ],
)
def test_a_number_of_any_program_has_bounds(
    program: str, arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needed = {
        "data.demo_city.gps": ["--data_dir", "city"],
        "data.match.__main__": ["--data_dir", "city"],
        "tools.leakage": ["--data_dir", "city", "--generated_file", "x"],
        "tools.baselines": ["--data_dir", "city", "--output_dir", "x"],
        "tools.export_hoser": ["--checkpoint", "x", "--output", "y"],
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program, *arguments, *needed.get(program, [])])
    with pytest.raises(UserError, match=reason):
        importlib.import_module(program).main()


@pytest.mark.parametrize(("text", "number"), [("", 1), ("3", 3), ("three", None)])
def test_an_odd_world_size_is_named(
    monkeypatch: pytest.MonkeyPatch, text: str, number: int | None
) -> None:
    monkeypatch.setenv("WORLD_SIZE", text)
    if number is not None:
        assert num_processes() == number
    else:
        with pytest.raises(UserError, match="WORLD_SIZE is 'three', not a number"):
            num_processes()


def test_a_zone_cannot_have_any_number(tiny_city: Path, tmp_path: Path) -> None:
    city = tmp_path / "city"
    shutil.copytree(tiny_city, city, ignore=shutil.ignore_patterns(".cache"))
    zones = (city / "road_network_partition").read_text().split()
    (city / "road_network_partition").write_text("\n".join(["900000", *zones[1:]]))
    with pytest.raises(UserError, match=r"partition:1: '900000' is not a zone id"):
        RoadNetwork.load(city)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1e400", "-1e400", "NaN", "true", '"1"'])
def test_curves_of_impossible_figures_are_left_out(tmp_path: Path, number: str) -> None:
    text = f'{{"epochs": [{{"epoch": {number}, "val_next_step_acc": {number}}}]}}'
    (tmp_path / "metrics.json").write_text(text)
    for curve in learning_curves(tmp_path):
        assert all(abs(value) < 1e300 for epoch in curve.epochs for value in epoch.values())


def test_a_carriage_return_in_a_row_is_no_other_row(trained: Config, tmp_path: Path) -> None:
    model, output = RunFolder.of(trained).best, tmp_path / "trips.csv"
    make: dict[str, Any] = {"model_path": model, "output": output, "num_gene": 6}
    generate(trained, search="shortest_path", **make)
    lines = output.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b",", b"\r,")
    output.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=r"trips\.csv.*cannot be resumed"):
        generate(trained, search="shortest_path", execution=Execution(resume=True), **make)
    assert output.read_bytes() == b"".join(lines)
