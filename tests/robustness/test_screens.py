"""Screens that know ASCII alone, names beyond ASCII, and Ctrl-C before anything is loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config import Config
from tests.robustness.programs import Programs, assert_succeeded
from tests.robustness.test_arguments import PROGRAMS
from tests.training_helpers import REPOSITORY, environment, random_teacher
from training.folder import RunFolder

ODD = "caf\u00e9 \u4e2d [1]* \udce9"  # letters of no screen, a pattern, a byte that is no text

# Every import of a package that is not the project's own is as slow as can be: it never ends.
INTERRUPTED = """
import runpy, sys
class Endless:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "numpy", "pydantic", "polars", "scipy", "yaml"):
            raise KeyboardInterrupt
sys.meta_path.insert(0, Endless())
sys.path.insert(0, sys.argv[1])
if sys.argv[2].endswith(".py"):
    runpy.run_path(sys.argv[2], run_name="__main__")
else:
    runpy.run_module(sys.argv[2], run_name="__main__")
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_interrupted_start_is_one_line(tmp_path: Path, program: str) -> None:
    script = REPOSITORY / f"{program}.py"
    name = str(script) if "." not in program else program.removesuffix(".__main__")
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(REPOSITORY), name],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == "Interrupted.\n" and ended.returncode not in (0, 1), ended.stderr


@pytest.fixture(scope="module")
def odd(trained: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city, a student, a teacher and trips in a folder of an odd name."""
    folder = tmp_path_factory.mktemp("odd") / ODD
    shutil.copytree(trained.data_dir, folder / "city")
    shutil.copytree(RunFolder.of(trained).path, folder / "run")
    shutil.copy(random_teacher(Path(trained.data_dir)), folder / "teacher.pt")
    shutil.copy(Path(trained.save_dir).parent / "config.yaml", folder / "plain.yaml")
    return folder


def test_all_programs_run_on_an_ascii_screen_beyond_ascii(programs: Programs, odd: Path) -> None:
    city, best, trips = odd / "city", odd / "run" / "best.pth", odd / "trips.csv"
    plain = ("--config", odd / "plain.yaml", "--data_dir", city)
    small = ("--n_layer", "1", "--n_head", "2", "--n_embd", "16", "--epochs", "1", "--no-report")
    study = ("--set", "optuna.final_run.enabled=false", "--n_trials", "1", "--max_epochs", "1")
    stores = ("--results_dir", odd / "results", "--trials_dir", odd / "trials")
    commands: list[tuple[str | Path, ...]] = [
        ("train_with_distill.py", *plain, "--save_dir", odd / "save", "--no-distill"),
        ("gene.py", *plain, "--model_path", best, "--output", trips, "--num_gene", "20"),
        (
            "evaluation.py",
            *("--generated_file", trips, "--data_dir", city, "--output_dir", odd / "eval"),
            *("--bootstrap", "9", "--run_dir", odd / "run"),
        ),
        ("tune_hoser.py", *plain, *stores, "--storage", "memory", *study),
        ("data.demo_city", "--out", odd / "new", "--roads", "200", "--trips", "30", "--quiet"),
        ("data.demo_city.gps", "--data_dir", city, "--out", odd / "points.csv"),
        ("data.osm.export", "--data_dir", city, "--out", odd / "map.osm"),
        ("data.osm", "--pbf", odd / "map.osm", "--out", odd / "own"),
        (
            *("data.match", "--gps", odd / "points.csv", "--data_dir", odd / "own", "--quiet"),
            *("--format", "parquet", "--keep_points"),
        ),
        ("data.preprocess", "--data_dir", odd / "own", "--zones", "9"),
        ("tools.baselines", "--data_dir", city, "--num_gene", "9", "--output_dir", odd / "base"),
        ("tools.cache", "--data_dir", city, "--clean"),
        (
            *("tools.convert_trips", "--trips", trips, "--data_dir", city, "--to", "kepler"),
            *("--output", odd / "kepler.json"),
        ),
        ("tools.export_hoser", "--checkpoint", best, "--output", odd / "hoser.pth"),
        ("tools.fit_detour_cost", *plain, "--model", best, "--num_trips", "5"),
        (
            *("tools.fit_way", "--ckpt", odd / "teacher.pt", "--data_dir", city),
            *("--output", odd / "way.pt"),
        ),
        ("tools.fit_times", *plain, "--model", best, "--output", odd / "times.pth"),
        (
            *("tools.leakage", "--generated_file", trips, "--data_dir", city),
            *("--output", odd / "leaks.json"),
        ),
        (
            *("tools.teacher_report", "--ckpt", odd / "teacher.pt", "--data_dir", city),
            *("--json", odd / "teacher.json"),
        ),
        ("tools.train_lmtad", "--data_dir", city, "--output", odd / "own.pt", *small),
        (
            "tools.collect_distill_artifacts",
            *("--run_name", "bundle", "--run_dir", odd / "run", "--generated_csv", trips),
            *("--backup_root", odd / "bundles", "--data_dir", city, "--archive"),
        ),
    ]
    for command in commands:
        print(command[0])
        assert_succeeded(programs.run(*command, cwd=odd, encoding="ascii"))
