"""Training that is killed again and again ends with the weights of an undisturbed run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from config import dump_config
from tests.robustness.programs import Programs
from tests.robustness.survival import Survival
from tests.training_helpers import distilled, tiny_config
from training.folder import RunFolder


def digest(content: Any) -> Any:
    """Nested content with tensors as bytes, so that it can be compared."""
    if isinstance(content, torch.Tensor):
        return content.dtype, tuple(content.shape), content.numpy().tobytes()
    if isinstance(content, dict):
        return {key: digest(value) for key, value in content.items() if key != "seconds"}
    if isinstance(content, list | tuple):
        return [digest(value) for value in content]
    return content


@pytest.mark.slow
@pytest.mark.parametrize("teacher", [False, True], ids=["vanilla", "distilled"])
def test_training(programs: Programs, tiny_city: Path, tmp_path: Path, teacher: bool) -> None:
    def configure(folder: Path) -> Any:
        extra = distilled(tiny_city, distill__cache_dir=str(folder / "cache")) if teacher else {}
        settings = {
            "training__checkpoint_interval_steps": 1,
            "optimizer_config__max_epoch": 2,
            "trajectory_encoder_config__dropout": 0.1,
            **extra,
        }
        return tiny_config(tiny_city, Path("save"), **settings)

    def prepare(folder: Path) -> None:
        (folder / "config.yaml").write_text(dump_config(configure(folder)))

    def result(folder: Path) -> Any:
        run = folder / RunFolder.of(configure(folder)).path
        latest = torch.load(run / "checkpoint_latest.pth", weights_only=True)
        best = torch.load(run / "best.pth", weights_only=True)
        assert latest["progress"]["finished"]
        assert not list(run.glob(".*.tmp")), "a killed run's leftovers stay for ever"
        metrics = json.loads((run / "metrics.json").read_text())
        parts = ("model", "optimization", "progress", "rng")
        return digest([[latest[name] for name in parts], best["model"], metrics["epochs"]])

    survival = Survival(
        programs,
        lambda folder: ["train_with_distill.py", "--config", folder / "config.yaml"],
        prepare,
        result,
        tmp_path,
    )
    survival.endure(kills=9, seed=4 + teacher)
