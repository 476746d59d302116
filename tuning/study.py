"""The study in its store: created once, found again, and refused where it is another's."""

from __future__ import annotations

import uuid
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.schema import Config
from runtime.errors import UserError
from runtime.files import FolderLock
from training.folder import safe_name
from tuning.records import TrialRecord
from tuning.space import SEARCHED, Space, search_space
from tuning.storage import StorageAddress, open_storage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

FORMAT = "hoser_distil"
FORMAT_VERSION = 1
WHERE_NOT_WHAT = {"ckpt", "repo", "cache", "cache_dir", "teacher_report", "enable", "preset"}


@dataclass
class TuningStudy:
    """An Optuna study of ours, with what it was started with."""

    config: Config
    address: StorageAddress
    storage: BaseStorage
    optuna: Study
    identity: str  # tells a study from an earlier one of the same name
    folder: Path
    space: Space = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.config.optuna.study_name

    def lock(self) -> FolderLock:
        """Keeps workers from deciding at the same time; held for moments."""
        return FolderLock(self.folder, name=".study.lock", wait=True)

    def records(self) -> list[TrialRecord]:
        """All trials, oldest first."""
        base_seed = self.config.optuna.base_seed
        trials = self.optuna.get_trials(deepcopy=False)
        return [TrialRecord.of(trial, base_seed) for trial in trials]


def open_study(config: Config) -> TuningStudy:
    """Creates the configured study or finds it again."""
    import optuna

    from tuning.sampling import directions, make_pruner, make_sampler

    settings = config.optuna
    safe_name(settings.study_name, "optuna.study_name")
    space = search_space(config)
    check_space(config, space)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    address = StorageAddress.parse(settings.storage)
    storage = open_storage(address)
    folder = Path(settings.results_dir) / settings.study_name
    with FolderLock(folder, name=".study.lock", wait=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            study_name=settings.study_name,
            storage=storage,
            sampler=make_sampler(settings, space, 0),
            pruner=make_pruner(settings),
            directions=directions(settings.objectives),
            load_if_exists=True,
        )
        identity = _check_or_sign(study, config, address)
    return TuningStudy(config, address, storage, study, identity, folder, space)


def find_study(config: Config) -> TuningStudy | None:
    """The configured study where it exists already; nothing is created."""
    import optuna

    settings = config.optuna
    address = StorageAddress.parse(settings.storage)
    if address.kind == "memory" or (address.file is not None and not address.file.exists()):
        return None
    names = optuna.get_all_study_names(open_storage(address))
    return open_study(config) if settings.study_name in names else None


def check_space(config: Config, space: Space) -> None:
    """Refuses to search what has no effect."""
    convex = config.distill.combination == "convex"
    useless = "lambda" if convex else "alpha"
    if useless in space:
        raise UserError(
            f"optuna.search_space.{useless} has no effect with distill.combination="
            f"{config.distill.combination}; set it to null."
        )


def _check_or_sign(study: Study, config: Config, address: StorageAddress) -> str:
    """Marks a new study as ours; a foreign one or one of other settings is refused."""
    name = study.study_name
    signature = study.user_attrs.get(FORMAT)
    wanted = comparable_settings(config)
    if signature is None:
        if study.get_trials(deepcopy=False):
            raise UserError(
                f"The study {name!r} in {address.shown} was not made by tune_hoser.py; "
                "choose another --study_name."
            )
        identity = uuid.uuid4().hex
        study.set_user_attr("settings", wanted)
        study.set_user_attr("objectives", config.optuna.objectives)
        study.set_user_attr(FORMAT, {"version": FORMAT_VERSION, "identity": identity})
        return identity
    if not isinstance(signature, dict) or signature.get("version") != FORMAT_VERSION:
        raise UserError(
            f"The study {name!r} in {address.shown} is of another version of this program; "
            "choose another --study_name."
        )
    differences = _differences(study.user_attrs.get("settings", {}), wanted)
    if differences:
        raise UserError(
            f"The study {name!r} was started with other settings: {'; '.join(differences[:4])}"
            f"{' ...' if len(differences) > 4 else ''}. Its trials would not compare: give the "
            "same settings or another --study_name."
        )
    return str(signature["identity"])


def comparable_settings(config: Config) -> dict[str, Any]:
    """Every setting that two trials of one study must share, by its key."""
    tree = config.model_dump(mode="json", by_alias=True)
    searched = {
        name
        for name, field in SEARCHED.items()
        if getattr(config.optuna.search_space, field) is not None
    }
    left_out = {
        "optimizer_config": {"max_epoch"},
        "trajectory_encoder_config": {"grad_checkpoint"},
        "distill": WHERE_NOT_WHAT | searched,
        "data": {"cache_dir", "ram_fraction"},
    }
    sections = (
        "road_network_encoder_config",
        "trajectory_encoder_config",
        "navigator_config",
        "optimizer_config",
        "distill",
        "data",
    )
    flat: dict[str, Any] = {"dataset": tree["dataset"]}
    for section in sections:
        for key, value in tree[section].items():
            if key not in left_out.get(section, ()):
                flat[f"{section}.{key}"] = value
    for key in ("max_epochs", "base_seed", "search_space", "objectives"):
        flat[f"optuna.{key}"] = tree["optuna"][key]
    return flat


def check_data(study: TuningStudy, hashes: dict[str, str]) -> None:
    """Refuses to go on with other trips, roads or teacher than the study began with."""
    known = study.optuna.user_attrs.get("data") or {}
    changed = [name for name, value in hashes.items() if known.get(name, value) != value]
    if changed:
        raise UserError(
            f"The study {study.name!r} was started with other data: {', '.join(changed)} of "
            f"{study.config.data_dir} differ. Give the same data or another --study_name."
        )
    if hashes.keys() - known.keys():
        study.optuna.set_user_attr("data", {**known, **hashes})


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [
        f"{key} is {found.get(key)!r} there and {value!r} here"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
