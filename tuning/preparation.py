"""What a study checks before its first trial: data and teacher are there and are the same."""

from __future__ import annotations

from config.schema import Config
from critics.registry import require_teacher, teacher_path
from runtime.files import sha256_of_file
from training.demo import DATASET, ensure_demo_city
from training.resources import ResourcePool
from tuning.queue import num_planned
from tuning.study import TuningStudy, check_data


def prepare(study: TuningStudy, pool: ResourcePool, search: bool) -> None:
    """Loads what all trials share, so that a mistake ends the study before it has a trial."""
    config = study.config
    if search and _distilled_trials_ahead(study) and config.dataset != DATASET:
        require_teacher(config)  # the demo's is made by its first distilled run
    ensure_demo_city(config)
    resources = pool.get(config)
    hashes = {
        "roads": resources.network.content_hash,
        "zones": resources.network.require_zones().content_hash,
        "train.csv": resources.train.content_hash,
        "val.csv": resources.val.content_hash,
        **_teacher_hash(config),
    }
    with study.lock():
        check_data(study, hashes)


def _distilled_trials_ahead(study: TuningStudy) -> bool:
    records = study.records()
    open_ones = [record for record in records if record.state in ("waiting", "running")]
    distilled = any(record.mode == "distilled" for record in open_ones)
    begun, planned = num_planned(records), study.config.optuna.n_trials
    return distilled or planned > max(begun, 1)


def _teacher_hash(config: Config) -> dict[str, str]:
    path = teacher_path(config)
    return {"teacher": sha256_of_file(path)} if path.is_file() else {}
