"""What makes two runs the same run: only then may one go on from the other's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from config.agreement import by_dotted_key, disagreements
from config.schema import Config
from critics.distill_hook import DistillationManager
from critics.own_loss import fingerprint, is_own_loss
from runtime.errors import UserError
from training.checkpoint import RunState
from training.resources import Resources

MAX_SHOWN = 4


def run_identity(
    config: Config, resources: Resources, teacher: DistillationManager | None
) -> dict[str, Any]:
    """Hashes of the data and the teacher; which settings must agree is marked in the schema."""
    identity = {
        "mode": run_mode(config),
        "road network": resources.network.content_hash,
        "zones": resources.network.require_zones().content_hash,
        "train.csv": resources.train.content_hash,
        "val.csv": resources.val.content_hash,
        "teacher": teacher.teacher.identity() if teacher is not None else "none",
    }
    if teacher is not None and is_own_loss(config.distill.loss):
        identity["distill.loss"] = fingerprint(config.distill.loss)
    return identity


def run_mode(config: Config) -> str:
    """With or without a teacher."""
    return "distilled" if config.distilling else "vanilla"


def check_settings(state: RunState, config: Config, path: Path) -> None:
    """Refuses a checkpoint of other settings, of the teacher's as of all others."""
    mode = _differences(state.identity, {"mode": run_mode(config)})
    _refuse(mode + disagreements(by_dotted_key(state.config), config, "resuming"), path)


def check_inputs(state: RunState, identity: dict[str, Any], path: Path) -> None:
    """Refuses a checkpoint of another network, other zones, trips or another teacher."""
    _refuse(_differences(state.identity, identity), path)


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {_short(found.get(name))} there and {_short(value)} here"
        for name, value in expected.items()
        if found.get(name) != value
    ]


def _refuse(differences: list[str], path: Path) -> None:
    if differences:
        raise UserError(
            f"{path} belongs to another run: {'; '.join(differences[:MAX_SHOWN])}. Give the same "
            "settings, another save_dir, or start over with --fresh (the old run is moved aside)."
        )


def _short(value: Any) -> str:
    """A hash by its beginning, anything else within bounds."""
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else text[:80]
