"""Input made to do harm: names that leave their folder, YAML that grows, pickles that run code."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config import load_config, load_evaluation_config
from critics.weights import load_weights
from data.road_network import RoadNetwork
from hoser import HOSER
from runtime.errors import UserError
from tests.robustness.damage import damaged_versions, read_or_refuse
from tests.robustness.programs import Programs, assert_refused, assert_succeeded
from tests.training_helpers import (
    REPOSITORY,
    command_line,
    distilled,
    random_teacher,
    tiny_config,
)
from training.checkpoint import load_run
from training.folder import RunFolder

SHIPPED = sorted((REPOSITORY / "config").glob("*.yaml"))

# Calls that run what a file says. YAML is read by a loader of ours derived from SafeLoader alone.
FORBIDDEN = {
    r"(?<![\w.])eval\(": [],
    r"(?<![\w.])exec\(": [],
    r"pickle\.loads?\(": [],
    r"allow_pickle\s*=\s*True": [],
    r"weights_only\s*=\s*False": [],
    r"yaml\.(unsafe_|full_)?(load|compose|construct)(_all)?\(": [],
    r"yaml\.\w*Loader": ["config/loading.py"],
    r"shell\s*=\s*True": [],
    r"os\.system\(": [],
}


def test_nothing_runs_what_a_file_says() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.split()
    names = tracked or [str(p.relative_to(REPOSITORY)) for p in REPOSITORY.rglob("[!.]*.py")]
    sources = [name for name in names if not name.startswith(("tests/", ".", "build/"))]
    assert len(sources) > 100
    found = []
    for name in sources:
        text = (REPOSITORY / name).read_text()
        for pattern, allowed in FORBIDDEN.items():
            if name not in allowed and re.search(pattern, text):
                found.append(f"{name}: {pattern}")
        for call in re.finditer(r"torch\.load\(([^)]*)\)", text):
            if "weights_only=True" not in call.group(1):
                found.append(f"{name}: torch.load without weights_only")
    assert not found
    loading = (REPOSITORY / "config" / "loading.py").read_text()
    assert "class _Loader(yaml.SafeLoader)" in loading
    assert re.findall(r"\w*Loader\b.*?\)", loading) == ["_Loader(yaml.SafeLoader)", "_Loader(text)"]


class Payload:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.args


def payloads(marker: Path) -> list[Payload]:
    code = f"open({str(marker)!r}, 'w').close()"
    return [
        Payload(os.system, f"touch {marker}"),
        Payload(builtins.exec, code),
        Payload(subprocess.Popen, ["touch", str(marker)]),
        Payload(Path.touch, marker),
        Payload(torch.serialization.load, str(marker)),
    ]


def hostile_files(marker: Path, folder: Path) -> list[Path]:
    """Malicious pickles in every wrapping that one of our readers might unwrap."""
    files = []
    for number, payload in enumerate(payloads(marker)):
        for kind, content in (("alone", payload), ("inside", {"model": {"a": payload}})):
            stem = folder / f"{kind}{number}"
            torch.save(content, stem.with_suffix(".zip.pth"))
            torch.save(content, stem.with_suffix(".old.pth"), _use_new_zipfile_serialization=False)
            stem.with_suffix(".pkl.pth").write_bytes(pickle.dumps(content))
            files += [stem.with_suffix(f".{end}.pth") for end in ("zip", "old", "pkl")]
    return files


def test_pickles_are_not_run_as_checkpoints(tiny_city: Path, tmp_path: Path) -> None:
    from tools.export_lmtad_weights import export_weights

    marker = tmp_path / "it-ran"
    network = RoadNetwork.load(tiny_city)
    config = tiny_config(tiny_city, tmp_path)
    for path in hostile_files(marker, tmp_path):
        for read in (
            lambda p: load_run(p),
            lambda p: load_weights(p),
            lambda p: HOSER.load(p, config, network),
            lambda p: export_weights(p, tmp_path / "exported.pt"),
        ):
            with pytest.raises(UserError, match=re.escape(path.name)):
                read(path)
        assert not marker.exists(), path


def test_pickles_are_not_run_as_arrays_or_caches(tiny_city: Path, tmp_path: Path) -> None:
    city, marker = tmp_path / "city", tmp_path / "it-ran"
    shutil.copytree(tiny_city, city)
    for payload in payloads(marker):
        buffer = io.BytesIO()
        np.save(buffer, np.array([[payload]], dtype=object), allow_pickle=True)
        for data in (buffer.getvalue(), pickle.dumps(payload)):
            (city / "zone_trans_mat.npy").write_bytes(data)
            with pytest.raises(UserError, match=r"zone_trans_mat\.npy"):
                RoadNetwork.load(city)
            assert not marker.exists()


def test_programs_do_not_run_pickles(programs: Programs, tiny_city: Path, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    config = tiny_config(tiny_city, tmp_path / "save")
    _, _, *arguments = command_line(config, tmp_path / "program")
    taught = ("--set", "distill.enable=true", "--set", "distill.vocabulary=road")
    latest = RunFolder.of(config).latest
    latest.parent.mkdir(parents=True)
    for path in hostile_files(marker, tmp_path)[:6]:
        shutil.copy(path, latest)
        assert_refused(programs.run("train_with_distill.py", *arguments), latest.name)
        latest.unlink()
        teacher = ("--set", f"distill.ckpt={path}")
        ended = programs.run("train_with_distill.py", *arguments, *taught, *teacher)
        assert_refused(ended, path.name)
        ended = programs.run("gene.py", *arguments, "--model_path", path, cwd=tmp_path)
        assert_refused(ended, path.name)
        assert not marker.exists(), path


YAML_ATTACKS = {
    "python object": "distill: !!python/object/apply:os.system ['touch it-ran']",
    "python name": "distill: !!python/name:os.system",
    "python module": "!!python/module:os",
    "python tuple": "dataset: !!python/tuple [1, 2]",
    "new object": "!!python/object/new:subprocess.Popen [[touch, it-ran]]",
    "billion laughs": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")),
    "merge bomb": "a: &a {x: 1}\n"
    + "\n".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 40)}]}}" for a, b in zip("abcd", "bcde")),
    "endless": "distill: &d {a: *d}",
    "deep": "distill: " + "[" * 5000 + "]" * 5000,
    "deep mappings": "distill: " + "{a: " * 3000 + "1" + "}" * 3000,
    "huge number": "training: {seed: " + "9" * 5000 + "}",
    "huge octal": "training: {seed: 0" + "7" * 9000 + "}",
    "sexagesimal": "training: {seed: 1" + ":59" * 3000 + "}",
    "twice": "dataset: a\ndataset: b",
    "nul": "dataset: a\0b",
    "set": "distill: !!set {a, b}",
    "timestamp": "training: {seed: 2001-01-01}",
    "two documents": "dataset: a\n---\ndataset: b",
    "not a number": "distill: {temperature: .nan}",
    "infinite": "distill: {temperature: .inf}",
    "long": "dataset: " + "x" * 2_000_000,
}


@pytest.mark.parametrize("name", sorted(YAML_ATTACKS))
def test_hostile_yaml(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.yaml"
    path.write_text(YAML_ATTACKS[name])
    for load in (load_config, load_evaluation_config):
        with pytest.raises(UserError, match=r"hostile\.yaml"):
            load(path)
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_damaged_configurations(path: Path, tmp_path: Path) -> None:
    load: Any = load_evaluation_config if path.stem == "evaluation" else load_config
    shutil.copytree(path.parent, tmp_path, dirs_exist_ok=True)  # others that it may extend
    copy = tmp_path / path.name
    for what, data in damaged_versions(path.read_bytes(), 0, cuts=15, flips=60, blocks=20):
        copy.write_bytes(data)
        read_or_refuse(what, copy, lambda: load(copy))


@pytest.mark.slow
def test_programs_refuse_hostile_configurations(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    for name in ("python object", "billion laughs", "deep", "nul", "twice"):
        path.write_text(YAML_ATTACKS[name])
        for program in ("train_with_distill.py", "gene.py", "tune_hoser.py", "python_pipeline.py"):
            ended = programs.run(program, "--config", path, cwd=tmp_path, timeout_s=20)
            assert_refused(ended, "hostile.yaml")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hostile.yaml"]


BAD_NAMES = ["..", "../evil", "a/../../evil", "/tmp/evil", "a\\b", " ", "", ".", "x" * 300, "a\0b"]
GOOD_NAMES = ["São Paulo", "東京 2", "with 'quotes', $HOME and %s {0}", "..hidden.b", "-rf"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_datasets_cannot_leave_the_output_folder(
    programs: Programs, tiny_city: Path, tmp_path: Path, name: str
) -> None:
    config = tiny_config(tiny_city, tmp_path / "out" / "save")
    _, _, *arguments = command_line(config, tmp_path / "program")
    (tmp_path / "program" / "config.yaml").write_text(
        (tmp_path / "program" / "config.yaml")
        .read_text()
        .replace("dataset: tiny", f"dataset: {_quoted(name)}")
    )
    before = set(tmp_path.parent.iterdir())
    for program in ("train_with_distill.py", "gene.py", "tune_hoser.py"):
        ended = programs.run(program, *arguments, cwd=tmp_path / "program")
        assert_refused(ended)
    assert set(tmp_path.parent.iterdir()) == before
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not written


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace("\0", "\\0") + '"'


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_unusual_names_work(programs: Programs, tiny_city: Path, tmp_path: Path, name: str) -> None:
    city = tmp_path / name / "the city"
    shutil.copytree(tiny_city, city)
    config = tiny_config(city, tmp_path / "out put", dataset=name, optimizer_config__max_epoch=1)
    _, _, *arguments = command_line(config, tmp_path / "program")
    assert_succeeded(programs.run("train_with_distill.py", *arguments, cwd=tmp_path))
    assert RunFolder.of(config).best.is_file()
    output = tmp_path / name / "generated [1] trips.csv"
    trips = ("--output", output, "--num_gene", "5", "--no-progress")
    assert_succeeded(programs.run("gene.py", *arguments, *trips, cwd=tmp_path))
    assert_succeeded(programs.run("gene.py", *arguments, *trips, "--resume", cwd=tmp_path))
    measured = ("--generated_file", output, "--data_dir", city, "--no_report", "--bootstrap", "9")
    evaluated = programs.run(
        "evaluation.py", *measured, "--output_dir", tmp_path / name / "eval", cwd=tmp_path
    )
    assert_succeeded(evaluated)


@pytest.mark.parametrize("name", ["..", "../evil", "a/b", "", "x" * 300])
def test_studies_cannot_leave_their_folders(
    programs: Programs, tiny_city: Path, tmp_path: Path, name: str
) -> None:
    config = tiny_config(tiny_city, tmp_path / "save", optuna__study_name=name)
    _, _, *arguments = command_line(config, tmp_path / "program")
    assert_refused(programs.run("tune_hoser.py", *arguments, cwd=tmp_path / "program"))
    assert [path.name for path in (tmp_path / "program").iterdir()] == ["config.yaml"]


def test_links_work_and_are_not_followed_by_bundles(
    programs: Programs, tiny_city: Path, tmp_path: Path
) -> None:
    (tmp_path / "linked").symlink_to(tiny_city)
    (tmp_path / "real").mkdir()
    (tmp_path / "save").symlink_to(tmp_path / "real")
    config = tiny_config(tmp_path / "linked", tmp_path / "save", optimizer_config__max_epoch=1)
    _, _, *arguments = command_line(config, tmp_path / "program")
    assert_succeeded(programs.run("train_with_distill.py", *arguments, cwd=tmp_path))
    run = RunFolder.of(config).path
    assert (tmp_path / "real" / "tiny" / "seed0" / "best.pth").is_file()
    secret = tmp_path / "secret.txt"
    secret.write_text("private")
    (run / "private.log").symlink_to(secret)
    (run / "eval").symlink_to(tmp_path)
    trips = ("--output", run / "trips.csv", "--num_gene", "5", "--no-progress")
    assert_succeeded(programs.run("gene.py", *arguments, *trips, cwd=tmp_path))
    bundle = ("--run_name", "b", "--run_dir", run, "--backup_root", tmp_path / "backup")
    files = ("--generated_csv", run / "trips.csv", "--data_dir", tiny_city)
    ended = programs.run("tools.collect_distill_artifacts", *bundle, *files, cwd=tmp_path)
    assert_succeeded(ended)
    copied = [path.name for path in (tmp_path / "backup").rglob("*")]
    assert "best.pth" in copied and "private.log" not in copied and "secret.txt" not in copied


@pytest.mark.parametrize("name", ["..", "../evil", "/abs", "", ".hidden", "a\nb", "x" * 300])
def test_bundles_cannot_leave_their_folder(
    programs: Programs, tiny_city: Path, tmp_path: Path, name: str
) -> None:
    places = ("--run_dir", tmp_path, "--backup_root", tmp_path / "backup")
    files = ("--generated_csv", tmp_path / "x.csv", "--data_dir", tiny_city)
    ended = programs.run(
        "tools.collect_distill_artifacts", "--run_name", name, *places, *files, cwd=tmp_path
    )
    assert_refused(ended)
    assert not list(tmp_path.iterdir())


def test_links_that_lead_in_circles_or_nowhere(
    programs: Programs, tiny_city: Path, tmp_path: Path
) -> None:
    for name, target in (("circle", "circle"), ("nowhere", "missing")):
        (tmp_path / name).symlink_to(tmp_path / target)
        config = tiny_config(tmp_path / name, tmp_path / "save")
        _, _, *arguments = command_line(config, tmp_path / f"program-{name}")
        assert_refused(programs.run("train_with_distill.py", *arguments), name)
        taught = distilled(tiny_city, distill__ckpt=str(tmp_path / name))
        config = tiny_config(tiny_city, tmp_path / "save", **taught)
        _, _, *arguments = command_line(config, tmp_path / f"program-{name}")
        assert_refused(programs.run("train_with_distill.py", *arguments), name)
        model = ("--model_path", tmp_path / name)
        assert_refused(programs.run("gene.py", *arguments, *model, cwd=tmp_path), name)
    assert random_teacher(tiny_city).is_file()
