"""What makes two runs the same run: only then may one go on from the other's checkpoint."""

from __future__ import annotations

from typing import Any

from config.schema import Config
from critics.distill_hook import DistillationManager
from critics.own_loss import fingerprint, is_own_loss
from training.resources import Resources


def run_identity(
    config: Config, resources: Resources, teacher: DistillationManager | None
) -> dict[str, Any]:
    """Hashes of the data and the teacher, and every setting that changes what is computed."""
    identity = {
        "dataset": config.dataset,
        "seed": config.training.seed,
        "mode": run_mode(config),
        "road network": resources.network.content_hash,
        "zones": resources.network.require_zones().content_hash,
        "train.csv": resources.train.content_hash,
        "val.csv": resources.val.content_hash,
        "teacher": teacher.teacher.identity() if teacher is not None else "none",
        "candidate_top_k": config.data.candidate_top_k,
        "angle_convention": config.data.angle_convention,
        "bucket_by_length": config.dataloader.bucket_by_length,
        "road_network_encoder_config": config.road_network_encoder_config.model_dump(),
        "trajectory_encoder_config": config.trajectory_encoder_config.model_dump(
            exclude={"grad_checkpoint"}
        ),
        "optimizer_config": config.optimizer_config.model_dump(),
    }
    if teacher is not None and is_own_loss(config.distill.loss):
        identity["distill.loss"] = fingerprint(config.distill.loss)
    return identity


def run_mode(config: Config) -> str:
    """With or without a teacher."""
    return "distilled" if config.distilling else "vanilla"
