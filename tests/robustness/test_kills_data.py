"""Killed while making cities, zones, caches and teachers: the next start ends in the same files."""

from __future__ import annotations

import shutil
from pathlib import Path

from config import dump_config
from critics.teacher_training.state import run_path
from critics.weights import load_weights
from tests.robustness.programs import Programs
from tests.robustness.survival import Survival, contents
from tests.training_helpers import distilled, tiny_config

TRIP_FILES = ("*.csv", "roadmap.*", "demo_city.json")


def copy_city(city: Path, target: Path, *without: str) -> None:
    """Copies a city without its caches and the named files."""
    shutil.copytree(city, target, ignore=shutil.ignore_patterns(".*", *without))


def test_demo_city(programs: Programs, tmp_path: Path) -> None:
    Survival(
        programs,
        lambda folder: [
            "data.demo_city",
            *("--out", folder / "city", "--roads", "200", "--trips", "300", "--quiet"),
        ],
        lambda folder: None,
        lambda folder: contents(folder / "city", *TRIP_FILES),
        tmp_path,
    ).endure(kills=8, seed=0)


def test_zones_and_trip_cache(programs: Programs, tiny_city: Path, tmp_path: Path) -> None:
    names = ("road_network_partition", "zone_trans_mat.npy")
    survival = Survival(
        programs,
        lambda folder: ["data.preprocess", "--data_dir", folder / "city"],
        lambda folder: copy_city(tiny_city, folder / "city", *names),
        lambda folder: contents(folder / "city", *names, "*.bin", "trips-*/manifest.json"),
        tmp_path,
    )
    assert len(survival.expected) == 7
    survival.endure(kills=8, seed=1)


def test_trip_and_teacher_caches(programs: Programs, tiny_city: Path, tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        copy_city(tiny_city, folder / "city")
        settings = distilled(tiny_city, distill__window=3)
        config = tiny_config(folder / "city", folder / "save", **settings)
        (folder / "config.yaml").write_text(dump_config(config))

    survival = Survival(
        programs,
        lambda folder: [
            "tools.precompute_distill_tokens",
            *("--config", folder / "config.yaml", "--no-progress"),
        ],
        prepare,
        lambda folder: contents(folder, "*.bin", "*.f16", "manifest.json"),
        tmp_path,
    )
    assert len([name for name in survival.expected if name.endswith(".f16")]) == 2
    survival.endure(kills=12, seed=2)


def test_teacher_training(programs: Programs, tiny_city: Path, tmp_path: Path) -> None:
    def result(folder: Path) -> str:
        return load_weights(folder / "teacher.pt").fingerprint()

    def is_over(folder: Path) -> bool:
        return (folder / "teacher.pt").exists() and not run_path(folder / "teacher.pt").exists()

    sizes = ("--n_layer", "1", "--n_head", "2", "--n_embd", "16", "--epochs", "6")
    Survival(
        programs,
        lambda folder: [
            "tools.train_lmtad",
            *("--data_dir", tiny_city, "--output", folder / "teacher.pt", *sizes),
            *("--no-report", "--no-progress"),
        ],
        lambda folder: None,
        result,
        tmp_path,
        is_over,
    ).endure(kills=6, seed=3)
