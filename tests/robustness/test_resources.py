"""Full disks, folders that cannot be written, two runs in one place, and memory that runs out."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import Config, dump_config
from runtime.files import read_json
from tests.robustness.programs import Programs, assert_refused, assert_succeeded
from tests.robustness.survival import contents
from tests.training_helpers import distilled, random_teacher, tiny_config
from train_with_distill import train
from training.folder import RunFolder

Arguments = list[str | Path]


@dataclass(frozen=True)
class Bench:
    """A city with a student, a teacher and generated trips, to try the programs on."""

    folder: Path
    config: Config

    @property
    def city(self) -> Path:
        return Path(self.config.data_dir)

    @property
    def best(self) -> Path:
        return RunFolder.of(self.config).best

    def configured(self, folder: Path, **changes: Any) -> Path:
        """A configuration file in `folder` for runs that are kept there."""
        folder.mkdir(parents=True, exist_ok=True)
        save_dir = Path(changes.pop("save_dir", folder / "save"))
        config = tiny_config(self.city, save_dir, optimizer_config__max_epoch=1, **changes)
        path = folder / "config.yaml"
        path.write_text(dump_config(config))
        return path


@pytest.fixture(scope="module")
def bench(tiny_city: Path, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(tiny_city, folder / "city")
    config = tiny_config(folder / "city", folder / "save", optimizer_config__max_epoch=1)
    train(config)
    random_teacher(folder / "city")
    made = Bench(folder, config)
    trips = ("--config", made.configured(folder), "--output", folder / "trips.csv")
    assert_succeeded(programs.run("gene.py", *trips, "--num_gene", "40", "--no-progress"))
    return made


def commands(bench: Bench, target: Path, scratch: Path) -> dict[str, Arguments]:
    """Every program that writes something, with its output at `target`."""
    trips = bench.folder / "trips.csv"
    study = {
        **distilled(bench.city),
        "optuna__search_space__window": None,
        "optuna__final_run__enabled": False,
        "optuna__n_trials": 1,
        "optuna__max_epochs": 1,
        "optuna__storage": f"sqlite:///{target}/study.db",
        "optuna__results_dir": str(target / "results"),
        "optuna__trials_dir": str(target / "trials"),
    }
    taught = distilled(bench.city, distill__cache_dir=str(target / "cache"))
    cached = {"data__cache_dir": str(target / "cache")}
    journal = {**study, "optuna__storage": f"journal://{target}/study.log"}
    plain = bench.configured(scratch / "plain")
    few = ("--trips", "60")
    sizes = ("--n_layer", "1", "--n_head", "2", "--n_embd", "16", "--epochs", "1")
    return {
        "city": ["data.demo_city", "--out", target / "city", "--roads", "200", *few, "--quiet"],
        "training": [
            "train_with_distill.py",
            *("--config", bench.configured(scratch / "t", save_dir=str(target / "save"))),
        ],
        "trip cache": [
            "train_with_distill.py",
            *("--config", bench.configured(scratch / "c", **cached)),
        ],
        "teacher cache": [
            "tools.precompute_distill_tokens",
            *("--config", bench.configured(scratch / "p", **taught), "--no-progress"),
        ],
        "teacher": [
            "tools.train_lmtad",
            *("--data_dir", bench.city, "--output", target / "teacher.pt", *sizes),
            *("--no-report", "--no-progress"),
        ],
        "generation": [
            "gene.py",
            *("--config", plain, "--model_path", bench.best, "--output", target / "trips.csv"),
            *("--num_gene", "200", "--no-progress"),
        ],
        "evaluation": [
            "evaluation.py",
            *("--generated_file", trips, "--data_dir", bench.city),
            *("--output_dir", target / "eval", "--no_report", "--bootstrap", "20"),
        ],
        "study": ["tune_hoser.py", "--config", bench.configured(scratch / "s", **study)],
        "journal": ["tune_hoser.py", "--config", bench.configured(scratch / "j", **journal)],
        "student's export": [
            "tools.export_hoser",
            *("--checkpoint", bench.best, "--output", target / "original.pth"),
        ],
        "bundle": [
            "tools.collect_distill_artifacts",
            *("--run_name", "bundle", "--run_dir", RunFolder.of(bench.config).path),
            *("--generated_csv", trips, "--backup_root", target, "--data_dir", bench.city),
        ],
    }


NAMES = [
    "city",
    "training",
    "trip cache",
    "teacher cache",
    "teacher",
    "generation",
    "evaluation",
    "study",
    "journal",
    "student's export",
    "bundle",
]


@pytest.mark.parametrize("name", NAMES)
def test_output_that_cannot_be_written(
    programs: Programs, bench: Bench, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    for blocked in (tmp_path / "file" / "below", Path("/proc/nowhere")):
        command = commands(bench, blocked, tmp_path / "scratch")[name]
        assert_refused(programs.run(*command, cwd=tmp_path), str(blocked))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", NAMES)
def test_full_disk_and_going_on_after_it(
    programs: Programs, bench: Bench, tmp_path: Path, name: str
) -> None:
    command = commands(bench, tmp_path / "out", tmp_path / "scratch")[name]
    for limit in (0, 2_000, 20_000):
        ended = programs.run(*command, cwd=tmp_path, file_limit=limit)
        if ended.code == 0:
            continue
        assert_refused(ended, str(tmp_path))
        assert not contents(tmp_path / "out", "best.pth", "teacher.pt", "original.pth")
    extra = {"generation": ["--resume"]}.get(name, [])
    assert_succeeded(programs.run(*command, *extra, cwd=tmp_path))
    if name in ("study", "journal"):  # the disk's fault is no trial's
        (summary,) = (tmp_path / "out" / "results").rglob("study_summary.json")
        assert read_json(summary)["counts"] == {"complete": 1}


def test_a_full_disk_leaves_no_half_archive(
    programs: Programs, bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(RunFolder.of(bench.config).path, run)
    for number in range(3):  # so that the archive is larger than any file in it
        (run / f"{number}.log").write_bytes(os.urandom(300_000))
    command = [*commands(bench, tmp_path / "out", tmp_path / "scratch")["bundle"], "--archive"]
    command[command.index("--run_dir") + 1] = run
    assert_succeeded(programs.run(*command, cwd=tmp_path))
    packed = tmp_path / "out" / "bundle.tar.gz"
    size = packed.stat().st_size
    files = [file for file in (tmp_path / "out" / "bundle").rglob("*") if file.is_file()]
    room = (size + max(file.stat().st_size for file in files)) // 2  # for every file, not for all
    shutil.rmtree(tmp_path / "out")
    assert_refused(programs.run(*command, cwd=tmp_path, file_limit=room), str(packed))
    assert not list((tmp_path / "out").glob("*.tar*")) and not list((tmp_path / "out").glob(".*"))
    assert_succeeded(programs.run(*command, cwd=tmp_path))
    assert packed.stat().st_size > 0


def test_matching_on_a_full_disk_names_its_work_and_goes_on(
    programs: Programs, bench: Bench, tmp_path: Path
) -> None:
    points, roads = tmp_path / "points.csv", tmp_path / "roads"
    roads.mkdir()
    for name in ("roadmap.geo", "roadmap.rel"):
        shutil.copy(bench.city / name, roads)
    made = ("data.demo_city.gps", "--data_dir", bench.city, "--out", points, "--interval", "20")
    assert_succeeded(programs.run(*made))
    command = ("data.match", "--gps", points, "--data_dir", roads, "--processes", "1", "--quiet")
    assert_refused(programs.run(*command, file_limit=20_000), str(roads))
    assert not (roads / "train.csv").exists()
    assert_succeeded(programs.run(*command))


@pytest.mark.parametrize("name", ["training", "teacher", "generation", "study"])
def test_the_second_run_in_the_same_place_is_refused(
    programs: Programs, bench: Bench, tmp_path: Path, name: str
) -> None:
    place = tmp_path / "out"
    long = {
        "training": {"optimizer_config.max_epoch": 200},
        "study": {"optuna.max_epochs": 200, "optuna.n_trials": 1},
    }
    command = commands(bench, place, tmp_path / "scratch")[name]
    for key, value in long.get(name, {}).items():
        command += ["--set", f"{key}={value}"]
    command += {"teacher": ["--epochs", "500"], "generation": ["--num_gene", "50000"]}.get(name, [])
    signs = {
        "training": "save/tiny/seed0/checkpoint_latest.pth",
        "teacher": ".teacher.pt.training",
        "generation": "trips.csv",
        "study": "trials/*/model/checkpoint_latest.pth",
    }
    first = programs.start(*command, cwd=tmp_path)
    try:
        programs.wait_until(first, lambda: any(place.glob(signs[name])))
        if name == "study":  # workers share a study, but not another study's folder of trials
            command += ["--set", f"optuna.storage='sqlite:///{tmp_path}/other.db'"]
        refused = programs.run(*command, cwd=tmp_path)
        assert_refused(refused, str(place))
        reasons = ("is in use by another run", "being written", "belongs to a study of")
        assert any(reason in refused.error_line for reason in reasons)
    finally:
        assert programs.stop(first).code == -9, "the first run did not go on"


def test_the_second_pipeline_in_the_same_folder_is_refused(
    programs: Programs, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(bench.best, tmp_path / "models" / "student.pth")
    settings = {
        "dataset": "tiny",
        "data_dir": str(bench.city),
        "eval_dir": str(tmp_path),
        "num_gene": 50_000,
    }
    (tmp_path / "evaluation.yaml").write_text(yaml.safe_dump(settings))
    command = ("python_pipeline.py", "--config", tmp_path / "evaluation.yaml")
    first = programs.start(*command, cwd=tmp_path)
    try:
        programs.wait_until(first, (tmp_path / ".pipeline.lock").exists)
        assert_refused(programs.run(*command, cwd=tmp_path), str(tmp_path), "in use")
    finally:
        assert programs.stop(first).code == -9


MEBIBYTE = 1 << 20


def test_training_without_memory_names_the_settings(
    programs: Programs, bench: Bench, tmp_path: Path
) -> None:
    wide = {
        "road_network_encoder_config__road_id_emb_dim": 2032,
        "road_network_encoder_config__intersection_emb_dim": 2048,
        "road_network_encoder_config__zone_id_emb_dim": 2048,
        "trajectory_encoder_config__hidden_dim": 2048,
        "navigator_config__hidden_dim": 2048,
    }
    config = bench.configured(tmp_path, **wide)
    ended = programs.run(
        "train_with_distill.py", "--config", config, memory_limit=400 * MEBIBYTE, cwd=tmp_path
    )
    assert_refused(ended, "ran out of memory", "optimizer_config.batch_size")


def test_generation_without_memory_names_the_settings(
    programs: Programs, bench: Bench, tmp_path: Path
) -> None:
    ended = programs.run(
        "gene.py",
        *("--config", bench.configured(tmp_path), "--model_path", bench.best),
        *("--output", tmp_path / "trips.csv", "--num_gene", "200000", "--no-progress"),
        *("--batch_size", "200000", "--beam_width", "64"),
        memory_limit=400 * MEBIBYTE,
        cwd=tmp_path,
    )
    assert_refused(ended, "ran out of memory", "--batch_size")
