"""Checkpoints of a run: everything it needs to go on as if it had never stopped.

Files are written atomically and hold tensors and plain values only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runtime.errors import UserError, one_line
from runtime.inputs import KEY, Inputs
from runtime.random_state import random_state
from runtime.torch_files import DamagedFile, load_plain, save_plain

FORMAT = "hoser-distil-run"
FORMAT_VERSION = 1


@dataclass
class Progress:
    """How far a run is: `group` optimizer steps of `epoch` are done, `step` in all.

    The sums belong to the unfinished epoch.
    """

    epoch: int = 0
    group: int = 0
    step: int = 0
    best_val_acc: float = -1.0
    best_epoch: int = -1
    nonfinite_steps: int = 0
    nonfinite_in_a_row: int = 0
    seconds: float = 0.0
    epoch_sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False

    @property
    def best(self) -> dict[str, Any]:
        """The best epoch's figures; none before the first epoch ends."""
        return self.history[self.best_epoch] if self.best_epoch >= 0 else {}

    @classmethod
    def read(cls, content: dict[str, Any]) -> Progress:
        """A checkpoint's progress; a `ValueError` says what of it cannot be."""
        progress = cls(**content)
        counts = (progress.epoch, progress.group, progress.step, progress.nonfinite_in_a_row)
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError(f"epoch, group or step is not a count: {counts}")
        if len(progress.history) != progress.epoch:
            raise ValueError(f"{len(progress.history)} epochs are recorded, {progress.epoch} done")
        if not -1 <= progress.best_epoch < max(progress.epoch, 1):
            raise ValueError(f"the best epoch is {progress.best_epoch}")
        return progress


@dataclass
class RunState:
    """A loaded checkpoint."""

    inputs: Inputs
    mode: str  # with or without a teacher
    config: dict[str, Any]
    progress: Progress
    model: dict[str, torch.Tensor]
    optimization: dict[str, Any]
    rng: dict[str, Any]


def save_run(
    path: Path,
    *,
    inputs: Inputs,
    mode: str,
    config: dict[str, Any],
    progress: Progress,
    model: nn.Module,
    optimization: dict[str, Any],
) -> None:
    """Writes the state of a run; on failure the old file stays as it was."""
    save_plain(
        path,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            KEY: inputs.to_json(),
            "mode": mode,
            "config": config,
            "progress": asdict(progress),
            "model": model.state_dict(),
            "optimization": optimization,
            "rng": random_state(),
        },
    )


def save_student(
    path: Path,
    model: nn.Module,
    *,
    inputs: Inputs,
    mode: str,
    config: dict[str, Any],
    metrics: dict[str, Any],
    trained_on: dict[str, Any],
) -> None:
    """Writes the student alone, with the configuration and the travel times it belongs to."""
    content = {
        KEY: inputs.to_json(),
        "mode": mode,
        "config": config,
        "metrics": metrics,
        "trained_on": trained_on,
    }
    save_plain(path, {"format": "hoser-distil-student", **content, "model": model.state_dict()})


def calibrated_at(path: Path) -> float | None:
    """The temperature by which the logits of a student's file are divided already, if any."""
    temperature = load_plain(path)["metrics"].get("calibration_temperature")
    return None if temperature is None else float(temperature)


def load_run(path: Path) -> RunState:
    """Reads a checkpoint; a damaged or foreign file is a `UserError`, and stays where it is."""
    hint = "choose another file, or start over with --fresh (the old run is moved aside)"
    try:
        content = load_plain(path)
    except FileNotFoundError as error:
        raise UserError(f"There is no checkpoint {path}.") from error
    except DamagedFile as error:
        raise UserError(f"{path} is damaged or not a checkpoint ({error}); {hint}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of a training run; {hint}.")
    if content.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {content.get('format_version')}, this program reads "
            f"{FORMAT_VERSION}; {hint}."
        )
    try:
        if not content["config"]["distill"] or not content["progress"]:
            raise ValueError("its configuration or progress is empty")
        return RunState(
            inputs=Inputs.read({KEY: dict(content.get(KEY) or content["identity"])}),
            mode=str((content.get("identity") or content)["mode"]),
            config=dict(content["config"]),
            progress=Progress.read(content["progress"]),
            model=dict(content["model"]),
            optimization=dict(content["optimization"]),
            rng=dict(content["rng"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} lacks parts of a checkpoint ({error}); {hint}.") from error


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """What a checkpoint's content cannot be used for is an error that names the file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} holds a state that does not fit ({one_line(error)[:200]}); choose another "
            "file, or start over with --fresh (the old run is moved aside)."
        ) from error
