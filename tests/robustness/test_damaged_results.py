"""Generated trips, figures, ledgers and studies with random damage: refused, redone or ignored."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import Config, dump_config
from config.generation import Execution
from data.road_network import RoadNetwork
from evaluation import evaluate
from gene import generate
from metrics.generated import read_generated
from metrics.reference import Settings
from report.inputs import learning_curves
from runtime.errors import UserError
from search.od import ListedOD
from tests.robustness.damage import damaged_versions, read_or_refuse
from tests.robustness.programs import Programs, assert_refused, assert_succeeded
from tests.robustness.survival import contents
from tests.training_helpers import tiny_config
from training.folder import RunFolder


def some_trips(config: Config, output: Path, **changes: Any) -> Path:
    """A few generated trips."""
    execution = Execution(**changes)
    options: dict[str, Any] = {"search": "shortest_path", "execution": execution}
    return generate(config, num_gene=12, output=output, **options).output


@pytest.mark.parametrize("seed", range(3))
def test_generated_trips(trained: Config, tmp_path: Path, seed: int) -> None:
    network = RoadNetwork.load(trained.data_dir)
    path = some_trips(trained, tmp_path / "trips.csv")
    original = path.read_bytes()
    for what, data in damaged_versions(original, seed, cuts=10, flips=60, blocks=20):
        path.write_bytes(data)
        found = read_or_refuse(what, path, lambda: read_generated(path, network))
        if found is not None:
            assert 0 < len(found) <= 12
            assert (found.trips.road_ids < network.num_roads).all()


def test_evaluation_of_damaged_trips(programs: Programs, trained: Config, tmp_path: Path) -> None:
    path = some_trips(trained, tmp_path / "trips.csv")
    for what, data in damaged_versions(path.read_bytes(), 7, cuts=1, flips=2, blocks=1):
        path.write_bytes(data)
        measured = ("--generated_file", path, "--data_dir", trained.data_dir, "--no_report")
        ended = programs.run("evaluation.py", *measured, "--bootstrap", "0", cwd=tmp_path)
        if ended.code != 0:
            assert_refused(ended, "trips.csv")
        assert path.read_bytes() == data, what


@pytest.mark.parametrize("seed", range(2))
def test_lists_of_od_pairs(trained: Config, tmp_path: Path, seed: int) -> None:
    network = RoadNetwork.load(trained.data_dir)
    path = tmp_path / "pairs.csv"
    rows = [f"{n},{(7 * n) % network.num_roads},2015-11-05T23:29:{n:02d}Z\n" for n in range(40)]
    path.write_text("origin,destination,start\n" + "".join(rows))
    for what, data in damaged_versions(path.read_bytes(), seed, cuts=10, flips=80, blocks=30):
        path.write_bytes(data)
        found = read_or_refuse(what, path, lambda: ListedOD.read(path, network, None))
        assert found is None or 0 < len(found) <= 40


def test_resuming_damaged_output(trained: Config, tmp_path: Path) -> None:
    path = some_trips(trained, tmp_path / "trips.csv")
    figures = path.with_suffix(".json")
    expected, description = path.read_bytes(), figures.read_bytes()
    for damaged in (path, figures):
        for what, data in damaged_versions(damaged.read_bytes(), 3, cuts=6, flips=16, blocks=5):
            path.write_bytes(expected)
            figures.write_bytes(description)
            damaged.write_bytes(data)
            try:
                some_trips(trained, path, resume=True)
            except UserError as error:
                assert path.stem in str(error), what
                assert damaged.read_bytes() == data, f"{what}: the user's file was changed"
                continue
            assert path.read_bytes().count(b"\n") == 13, what


def test_learning_curves(trained: Config, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.json"
    content = RunFolder.of(trained).metrics.read_bytes()
    for what, data in damaged_versions(content, 0, cuts=8, flips=60, blocks=20):
        metrics.write_bytes(data)
        for curve in learning_curves(tmp_path):
            assert curve.epochs, what
    trips = some_trips(trained, tmp_path / "trips.csv")
    for junk in (b'{"epochs": 3}', b'{"epochs": [{"epoch": 1e999}]}', b"[]", b'{"epochs": [[]]}'):
        metrics.write_bytes(junk)
        evaluate(trips, trained.data_dir, run_dir=tmp_path, settings=Settings(bootstrap=0))
    assert Settings().bootstrap > 0


@pytest.mark.slow
def test_pipeline_with_damaged_records(programs: Programs, trained: Config, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(RunFolder.of(trained).best, tmp_path / "models" / "student.pth")
    settings = {
        "dataset": "tiny",
        "data_dir": trained.data_dir,
        "eval_dir": str(tmp_path),
        "od_sources": ["test"],
        "num_gene": 12,
        "search": "shortest_path",
        "bootstrap": 0,
        "report": False,
    }
    (tmp_path / "evaluation.yaml").write_text(yaml.safe_dump(settings))
    command = ("python_pipeline.py", "--config", tmp_path / "evaluation.yaml")
    assert_succeeded(programs.run(*command, cwd=tmp_path))
    trips = contents(tmp_path / "gene", "*.csv")
    records = [path for path in tmp_path.rglob("*.json") if ".cache" not in path.parts]
    assert len(records) >= 6
    for path in records:
        original = path.read_bytes()
        for what, data in damaged_versions(original, 1, cuts=1, flips=1, blocks=0):
            if what in ("text", "zeros", "last byte missing"):
                continue
            path.write_bytes(data)
            ended = programs.run(*command, cwd=tmp_path)
            assert_succeeded(ended)
            assert contents(tmp_path / "gene", "*.csv") == trips, (path, what)
    (tmp_path / "eval" / "seed42" / "comparison.json").write_text('[{"od_source": 1}]')
    ended = programs.run(*command, "--skip-eval", cwd=tmp_path)
    assert "Traceback" not in ended.stderr, ended.stderr


def study_command(city: Path, folder: Path, storage: str) -> tuple[str | Path, ...]:
    """The smallest study, which keeps everything in `folder`."""
    config = tiny_config(
        city,
        folder / "save",
        optuna__storage=storage,
        optuna__n_trials=1,
        optuna__max_epochs=1,
        optuna__trials_dir=str(folder / "trials"),
        optuna__results_dir=str(folder / "results"),
        optuna__plots=False,
        # A damaged store may hide who began a trial; nobody waits long for such a worker.
        optuna__heartbeat_interval=1,
    )
    (folder / "config.yaml").write_text(dump_config(config))
    return ("tune_hoser.py", "--config", folder / "config.yaml", "--skip-phase2")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_damaged_studies(programs: Programs, tiny_city: Path, tmp_path: Path, kind: str) -> None:
    store = tmp_path / ("study.db" if kind == "sqlite" else "study.log")
    storage = f"sqlite:///{store}" if kind == "sqlite" else f"journal://{store}"
    command = study_command(tiny_city, tmp_path, storage)
    assert_succeeded(programs.run(*command, cwd=tmp_path))
    original = store.read_bytes()
    for what, data in damaged_versions(original, 2, cuts=3, flips=5, blocks=3):
        store.write_bytes(data)
        ended = programs.run(*command, cwd=tmp_path, timeout_s=60)
        assert "Traceback" not in ended.stderr, f"{what}: {ended.stderr[-3000:]}"
        assert ended.code in (0, 1, 2), (what, ended.stderr)
        if ended.code == 2:
            assert ended.error_line.startswith("error: "), what
        assert store.exists(), what
    store.write_bytes(original)


@dataclass(frozen=True)
class Study:
    """A finished study, and a copy of all that it left."""

    command: tuple[str | Path, ...]
    folder: Path
    copy: Path


@pytest.fixture(scope="module")
def study(programs: Programs, tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("study")
    folder = root / "work"
    folder.mkdir()
    command = study_command(tiny_city, folder, f"sqlite:///{folder}/study.db")
    assert_succeeded(programs.run(*command, cwd=folder))
    return Study(command, folder, Path(shutil.copytree(folder, root / "copy", symlinks=True)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["study_summary.json", ".study.json", "metrics.json"])
def test_damaged_records_of_a_study(programs: Programs, study: Study, name: str) -> None:
    shutil.rmtree(study.folder)
    shutil.copytree(study.copy, study.folder, symlinks=True)
    found = [path for path in study.folder.rglob("*.json") if path.name == name]
    assert found
    for path in found:
        for what, data in damaged_versions(path.read_bytes(), 4, cuts=1, flips=2, blocks=1):
            path.write_bytes(data)
            ended = programs.run(*study.command, cwd=study.folder, timeout_s=60)
            assert "Traceback" not in ended.stderr, f"{what}: {ended.stderr[-3000:]}"
            assert ended.code in (0, 2), (what, ended.stderr)
