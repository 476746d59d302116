"""The state of an unfinished teacher training, from which a killed run goes on bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from runtime.errors import UserError
from runtime.logs import get_logger
from runtime.torch_files import DamagedFile, load_plain, save_plain

logger = get_logger("train_lmtad")


@dataclass
class RunState:
    """Everything the next step depends on."""

    step: int
    best_loss: float
    best_state: dict[str, Tensor]
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    random: dict[str, Any]


def run_path(output: Path) -> Path:
    """Where the unfinished run of a weights file is kept."""
    return output.with_name(f".{output.name}.training")


def save_run(path: Path, identity: dict[str, Any], state: RunState) -> None:
    """Writes the state atomically."""
    content = {"identity": identity, **{f.name: getattr(state, f.name) for f in fields(state)}}
    save_plain(path, content)


def load_run(path: Path, identity: dict[str, Any]) -> RunState | None:
    """The state of a run of the same identity; None without one, an error with another's."""
    if not path.exists():
        return None
    try:
        content = load_plain(path)
        theirs = content.pop("identity")
        state = RunState(**content)
    except (DamagedFile, AttributeError, KeyError, TypeError, ValueError):
        logger.warning("The unfinished training %s is damaged: starting anew.", path)
        return None
    if theirs != identity:
        names = sorted(n for n in {*theirs, *identity} if theirs.get(n) != identity.get(n))
        raise UserError(
            f"{path} is an unfinished training with other settings ({', '.join(names)}); "
            "delete it to start anew."
        )
    return state
