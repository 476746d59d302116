"""What makes two runs the same run: only then may one go on from the other's checkpoint."""

from __future__ import annotations

from pathlib import Path

from config.agreement import by_dotted_key, disagreements
from config.schema import Config
from critics.distill_hook import DistillationManager
from critics.own_loss import fingerprint, is_own_loss
from runtime.errors import UserError
from runtime.inputs import MAX_SHOWN, Inputs, content_hash, short
from training.checkpoint import RunState
from training.resources import Resources


def run_inputs(config: Config, resources: Resources, teacher: DistillationManager | None) -> Inputs:
    """Hashes of the data and the teacher; which settings must agree is marked in the schema."""
    own_loss = teacher is not None and is_own_loss(config.distill.loss)
    return Inputs(
        network=resources.network.content_hash,
        zones=resources.network.require_zones().content_hash,
        train=resources.train.content_hash,
        val=resources.val.content_hash,
        teacher=content_hash(teacher.teacher.identity()) if teacher is not None else "none",
        code=fingerprint(config.distill.loss) if own_loss else None,
    )


def run_mode(config: Config) -> str:
    """With or without a teacher."""
    return "distilled" if config.distilling else "vanilla"


def check_settings(state: RunState, config: Config, path: Path) -> None:
    """Refuses a checkpoint of other settings, of the teacher's as of all others."""
    mode = run_mode(config)
    other = [] if state.mode == mode else [f"mode is {short(state.mode)} there and {mode} here"]
    _refuse(other + disagreements(by_dotted_key(state.config), config, "resuming"), path)


def check_inputs(state: RunState, inputs: Inputs, path: Path) -> None:
    """Refuses a checkpoint of another network, other zones, trips or another teacher."""
    _refuse(state.inputs.differences(inputs, {"code": "the code of distill.loss"}), path)


def _refuse(differences: list[str], path: Path) -> None:
    if differences:
        raise UserError(
            f"{path} belongs to another run: {'; '.join(differences[:MAX_SHOWN])}. Give the same "
            "settings, another save_dir, or start over with --fresh (the old run is moved aside)."
        )
