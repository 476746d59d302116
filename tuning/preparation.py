"""What a study checks before its first trial: data and teacher are there and are the same."""

from __future__ import annotations

from config.schema import Config
from critics.registry import require_teachers, teacher_paths
from runtime.device import resolve_device
from runtime.files import sha256_of_file
from runtime.inputs import Inputs
from training.demo import DATASET, ensure_demo_city, ensure_demo_teacher
from training.resources import ResourcePool
from tuning.queue import num_planned
from tuning.study import TuningStudy, check_data


def prepare(study: TuningStudy, pool: ResourcePool, search: bool) -> None:
    """Loads what all trials share, so that a mistake ends the study before it has a trial."""
    config = study.config
    needs_teacher = search and _distilled_trials_ahead(study)
    if needs_teacher and config.dataset != DATASET:
        require_teachers(config)
    ensure_demo_city(config)
    resources = pool.get(config)
    if needs_teacher:
        device = resolve_device(device=config.training.device)
        ensure_demo_teacher(_distilled(config), resources.network, device)
        require_teachers(config)
    inputs = Inputs(
        network=resources.network.content_hash,
        zones=resources.network.require_zones().content_hash,
        train=resources.train.content_hash,
        val=resources.val.content_hash,
        teacher=_teacher_hash(config),
    )
    with study.lock():
        check_data(study, inputs)


def _distilled_trials_ahead(study: TuningStudy) -> bool:
    records = study.records()
    open_ones = [record for record in records if record.state in ("waiting", "running")]
    distilled = any(record.mode == "distilled" for record in open_ones)
    begun, planned = num_planned(records), study.config.optuna.n_trials
    return distilled or planned > max(begun, 1)


def _distilled(config: Config) -> Config:
    """The configuration as distilled trials have it, whatever it says of vanilla runs."""
    result = config.model_copy(deep=True)
    result.distill.enable = True
    result.distill.lambda_ = result.distill.lambda_ or 1.0
    return result


def _teacher_hash(config: Config) -> str | None:
    hashes = [sha256_of_file(file) for file in teacher_paths(config) if file.is_file()]
    return ",".join(hashes) or None
