"""A tiny city with a tiny teacher, and studies on it, for the tests of tuning."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import Config, dump_config, load_config
from critics.teacher_training import TeacherOptions, train_teacher
from data.road_network import RoadNetwork
from dataset import TripDataset
from tests.programs import REPOSITORY, Program, start

WIDTHS = {
    "road_network_encoder_config.road_id_emb_dim": 16,
    "road_network_encoder_config.len_emb_dim": 4,
    "road_network_encoder_config.type_emb_dim": 4,
    "road_network_encoder_config.lon_emb_dim": 4,
    "road_network_encoder_config.lat_emb_dim": 4,
    "road_network_encoder_config.intersection_emb_dim": 32,
    "road_network_encoder_config.zone_id_emb_dim": 32,
    "trajectory_encoder_config.hidden_dim": 32,
    "navigator_config.hidden_dim": 32,
}


@dataclass(frozen=True)
class TinyCity:
    """The dataset folder and the teacher's weights."""

    data_dir: Path
    teacher: Path

    @classmethod
    def make(cls, source: Path, folder: Path) -> TinyCity:
        data_dir, teacher = folder / "city", folder / "teacher.pt"
        shutil.copytree(source, data_dir, ignore=shutil.ignore_patterns(".cache"))
        network = RoadNetwork.load(data_dir)
        train, val = (TripDataset.load(data_dir, split, network) for split in ("train", "val"))
        options = TeacherOptions(
            teacher, n_layer=1, n_head=2, n_embd=16, epochs=1, batch_size=16, progress=False
        )
        train_teacher(options, network, train, val)
        return cls(data_dir, teacher)

    def config(self, folder: Path, **changes: Any) -> Config:
        """A study of two epochs a trial; `changes` name keys with `__` for the dot."""
        settings = {
            **WIDTHS,
            "dataset": "tiny",
            "data_dir": str(self.data_dir),
            "trajectory_encoder_config.max_len": 64,
            "optimizer_config.batch_size": 32,
            "optimizer_config.accum_steps": 1,
            "dataloader.num_workers": 0,
            "training.device": "cpu",
            "training.torch_compile": False,
            "training.progress": False,
            "distill.ckpt": str(self.teacher),
            "distill.vocabulary": "road",
            "distill.destination_prefix": True,
            "optuna.storage": f"sqlite:///{folder}/study.db",
            "optuna.trials_dir": str(folder / "trials"),
            "optuna.results_dir": str(folder / "results"),
            "optuna.n_trials": 3,
            "optuna.max_epochs": 2,
            "optuna.plots": False,
            "optuna.search_space.window": {"low": 2, "high": 3},
            "optuna.final_run.max_epochs": 2,
            "optuna.final_run.seeds": [42, 43],
            "optuna.final_run.num_gene": 0,
        }
        return load_config(None, {**settings, **_dotted(changes)})


def _dotted(changes: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in changes.items()}


def trial_names(folder: Path) -> list[str]:
    """The trials' folders."""
    return sorted(path.name for path in (folder / "trials").iterdir() if path.is_dir())


def summary_of(folder: Path, study: str = "hoser-distill") -> dict[str, Any]:
    """What the study wrote last."""
    text = (folder / "results" / study / "study_summary.json").read_text()
    summary: dict[str, Any] = json.loads(text)
    return summary


def start_worker(config: Config, folder: Path, *arguments: str) -> Program:
    """The program itself, in a process of its own."""
    file = folder / "config.yaml"
    file.write_text(dump_config(config))
    command = [sys.executable, str(REPOSITORY / "tune_hoser.py"), "--config", str(file), *arguments]
    return start(command, folder)


def wait_until(condition: Callable[[], bool], worker: Program) -> None:
    """Polls until the condition holds; fails when the worker ends before."""
    deadline = time.monotonic() + 120
    while not condition():
        if worker.poll() is not None:
            raise AssertionError(f"the worker ended early: {worker.communicate()}")
        if time.monotonic() > deadline:
            worker.kill()
            raise AssertionError("the worker did not get there in time")
        time.sleep(0.02)


def epochs_done(run: Path) -> int:
    """How many epochs a run's folder shows."""
    try:
        return len(json.loads((run / "log" / "metrics.json").read_text())["epochs"])
    except (OSError, ValueError):
        return 0
