"""Tiny runs for the tests of the training program: a small city, a narrow student, a teacher."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from config import Config, load_config
from critics.lmtad import LMTAD, LMTADConfig
from critics.weights import TeacherWeights, save_weights
from data.road_network import RoadNetwork
from tests.programs import REPOSITORY, environment, run
from training.folder import RunFolder

NARROW: dict[str, Any] = {
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


def tiny_config(city: Path, save_dir: Path, **overrides: Any) -> Config:
    """A run of two short epochs on `city`; keyword `section__key` overrides `section.key`."""
    settings = {
        **NARROW,
        "dataset": "tiny",
        "data_dir": str(city),
        "save_dir": str(save_dir),
        "trajectory_encoder_config.max_len": 24,
        "optimizer_config.max_epoch": 2,
        "optimizer_config.batch_size": 8,
        "optimizer_config.accum_steps": 2,
        "distill.enable": False,
        "dataloader.num_workers": 1,
        "training.torch_compile": False,
        "training.progress": False,
        "training.device": "cpu",
        "training.log_interval": 1,
    }
    settings.update({name.replace("__", "."): value for name, value in overrides.items()})
    return load_config(None, settings)


def distilled(city: Path, **overrides: Any) -> dict[str, Any]:
    """Overrides that make `tiny_config` distil from a random road teacher, written beside."""
    return {
        "distill__enable": True,
        "distill__ckpt": str(random_teacher(city)),
        "distill__vocabulary": "road",
        "distill__window": "full",
        "distill__lambda": 0.5,
        "distill__teacher_report": False,
        **overrides,
    }


def replayed(city: Path, **overrides: Any) -> dict[str, Any]:
    """Overrides that add trips which teacher and student drive between near roads.

    The student's roads begin where the teacher's are.
    """
    pairs = city / "pairs.csv"
    if not pairs.exists():
        ends = near_pairs(RoadNetwork.load(city), 300)
        pairs.write_text("origin,destination\n" + "".join(f"{a},{b}\n" for a, b in ends.tolist()))
    return distilled(
        city,
        distill__ckpt=str(random_teacher(city, destination_prefix=True)),
        distill__destination_prefix=True,
        distill__first_embeddings="teacher",
        distill__replay__trips=40,
        distill__replay__driver="both",
        distill__replay__od="file",
        distill__replay__od_file=str(pairs),
        distill__replay__detour_quantile=1.0,
        **overrides,
    )


def near_pairs(network: RoadNetwork, count: int) -> np.ndarray:
    """Origins and destinations [count, 2], one to three steps apart."""
    generator = np.random.default_rng(0)
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        first = road = int(generator.integers(network.num_roads))
        for _ in range(int(generator.integers(1, 4))):
            begin, end = network.reach_offsets[road : road + 2]
            if begin == end:
                break
            road = int(network.reach_targets[generator.integers(begin, end)])
        if road != first:
            pairs.append((first, road))
    return np.array(pairs)


def random_teacher(city: Path, destination_prefix: bool = False) -> Path:
    """A small LM-TAD over the roads of `city` with random weights, made once."""
    path = city / ("prefix_teacher.pt" if destination_prefix else "teacher.pt")
    if not path.exists():
        num_roads = RoadNetwork.load(city).num_roads
        torch.manual_seed(1)
        config = LMTADConfig(num_roads + 3, 80, 1, 2, 16)
        dataset_config = {
            "vocabulary": "road",
            "destination_prefix": destination_prefix,
            "grip_size": [1, num_roads],
        }
        model = LMTAD(config)
        with torch.no_grad():
            model.lm_head.weight.mul_(20.0)  # so that its opinions are far from even
        weights = TeacherWeights(model.state_dict(), config.to_dict(), dataset_config)
        save_weights(path, weights)
    return path


def copy_run(run: Path, config: Config) -> RunFolder:
    """A finished run where that of `config` is looked for."""
    folder = RunFolder.of(config)
    shutil.copytree(run, folder.path, dirs_exist_ok=True)
    return folder


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters in a run's newest checkpoint."""
    content = torch.load(folder / "checkpoint_latest.pth", weights_only=True)
    assert content["progress"]["finished"]
    return content["model"]


def assert_same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def command_line(config: Config, folder: Path, *arguments: str) -> list[str]:
    """A `train_with_distill.py` command for `config`, which is written to a file in `folder`."""
    from config import dump_config

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(dump_config(config))
    script = str(REPOSITORY / "train_with_distill.py")
    return [sys.executable, script, "--config", str(path), *arguments]


def run_program(
    command: list[str], cwd: Path, timeout: float = 120, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, with `extra` in its environment."""
    return run(command, cwd, timeout, environment(**extra))
