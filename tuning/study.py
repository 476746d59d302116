"""The study in its store: created once, found again, and refused where it is another's."""

from __future__ import annotations

import uuid
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.agreement import disagreements, shared_settings
from config.schema import Config
from runtime.errors import UserError
from runtime.files import FolderLock, read_json
from runtime.inputs import KEY, Inputs
from runtime.logs import get_logger
from runtime.names import safe_name
from tuning.artifacts import refuse_other_store
from tuning.records import SUMMARY_NAME, TrialRecord
from tuning.space import Space, search_space
from tuning.storage import StorageAddress, open_storage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

logger = get_logger("tune")

FORMAT = "hoser_distil"
FORMAT_VERSION = 1


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
        _refuse_results_of_another(folder, identity, address)
    return TuningStudy(config, address, storage, study, identity, folder, space)


def _refuse_results_of_another(folder: Path, identity: str, address: StorageAddress) -> None:
    """The results in a folder stay with their study for as long as its store may hold it."""
    try:
        content = read_json(folder / SUMMARY_NAME)
    except UserError:  # none yet, or a damaged one, which is written anew
        return
    if isinstance(content, dict) and content.get("identity", identity) != identity:
        refuse_other_store(folder, str(content.get("store", "")), address.place)


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
    """Refuses to search what has no effect; a study that was begun with it may go on."""
    convex = config.distill.combination == "convex"
    useless = "lambda" if convex else "alpha"
    if useless in space:
        raise UserError(
            f"optuna.search_space.{useless} has no effect with distill.combination="
            f"{config.distill.combination}; set it to null."
        )
    if "window" in space and config.distill.teacher == "hoser":
        logger.warning(
            "optuna.search_space.window has no effect with distill.teacher=hoser, which reads "
            "whole trips; set it to null."
        )


def _check_or_sign(study: Study, config: Config, address: StorageAddress) -> str:
    """Marks a new study as ours; a foreign one or one of other settings is refused."""
    name = study.study_name
    signature = study.user_attrs.get(FORMAT)
    if signature is None:
        if study.get_trials(deepcopy=False):
            raise UserError(
                f"The study {name!r} in {address.shown} was not made by tune_hoser.py; "
                "choose another --study_name."
            )
        identity = uuid.uuid4().hex
        study.set_user_attr("settings", comparable_settings(config))
        study.set_user_attr("objectives", config.optuna.objectives)
        study.set_user_attr(FORMAT, {"version": FORMAT_VERSION, "identity": identity})
        return identity
    if not isinstance(signature, dict) or signature.get("version") != FORMAT_VERSION:
        raise UserError(
            f"The study {name!r} in {address.shown} is of another version of this program; "
            "choose another --study_name."
        )
    found = study.user_attrs.get("settings", {})
    differences = disagreements(found, config, "comparing", without=_searched(config))
    if differences:
        raise UserError(
            f"The study {name!r} was started with other settings: {'; '.join(differences[:4])}"
            f"{' ...' if len(differences) > 4 else ''}. Its trials would not compare: give the "
            "same settings or another --study_name."
        )
    return str(signature["identity"])


def comparable_settings(config: Config) -> dict[str, Any]:
    """Every setting that two trials of one study must share, by its key."""
    searched = _searched(config)
    settings = shared_settings(config, "comparing").items()
    return {key: value for key, value in settings if key not in searched}


def _searched(config: Config) -> frozenset[str]:
    """The keys that each trial has a value of its own for."""
    return frozenset(f"distill.{name}" for name in search_space(config))


def check_data(study: TuningStudy, inputs: Inputs) -> None:
    """Refuses to go on with other trips, roads or teacher than the study began with."""
    known = known_inputs(study)
    place = f"The study {study.name!r}"
    known.refuse_others(inputs, place, "Give the same data or another --study_name.")
    together = {**inputs.to_json(), **known.to_json()}
    if together != study.optuna.user_attrs.get(KEY):
        study.optuna.set_user_attr(KEY, together)


def known_inputs(study: TuningStudy) -> Inputs:
    """What the study's trials are made from, as far as it is known."""
    attributes = study.optuna.user_attrs
    return Inputs.read({KEY: attributes.get(KEY) or attributes.get("data") or {}})
