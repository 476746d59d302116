"""Where the trials' files lie, and what becomes of them when a trial ends.

`optuna_trials/trial_NNN_{vanilla|distilled}_{complete|pruned|failed}/{model,tensorboard_log,log}`;
while a trial runs, or waits to go on, its folder ends in `_running`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from runtime.errors import UserError
from runtime.files import (
    FolderLock,
    atomic_write_text,
    free_name,
    read_json,
    replace_atomically,
    write_json,
)
from runtime.logs import get_logger
from runtime.placing import make_way
from runtime.written import LOCK_NAME as RESULTS_LOCK
from training.folder import RunFolder
from tuning.records import Mode

logger = get_logger("tune")

OWNER_FILE = ".study.json"
LOCK_FILE = ".studies.lock"  # of the folder that studies share
Outcome = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class TrialFolder(RunFolder):
    """A run's files, sorted into model, TensorBoard events and logs."""

    @property
    def best(self) -> Path:
        return self.path / "model" / "best.pth"

    @property
    def latest(self) -> Path:
        return self.path / "model" / "checkpoint_latest.pth"

    @property
    def config(self) -> Path:
        return self.path / "model" / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "log" / "metrics.json"

    @property
    def log(self) -> Path:
        return self.path / "log" / "train.log"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard_log"

    @property
    def failure(self) -> Path:
        """Why the run failed, in full."""
        return self.path / "log" / "failure.txt"

    def drop_lock(self) -> None:
        """Removes what the run's lock leaves beside its folder."""
        self.path.with_name(f".{self.path.name}.lock").unlink(missing_ok=True)


class TrialFolders:
    """The folders of one study's trials.

    The first study owns `optuna_trials`; one of another name gets a folder of its own in it. What
    an earlier study of the same name left there is moved aside where its store was begun anew, and
    refused where it is kept in another store.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(
        cls, trials_dir: str | Path, study_name: str, identity: str, store: str = ""
    ) -> TrialFolders:
        """The study's folder; call it while holding the study's lock."""
        root = Path(trials_dir)
        with FolderLock(root, name=LOCK_FILE, wait=True):  # studies of other names begin, too
            owner = _owner(root)
            if owner is not None and owner.study_name != study_name:
                root = root / study_name
                owner = _owner(root)
            if owner is not None and owner.identity != identity:
                refuse_other_store(root, owner.store, store)
                _move_aside(root)
            if owner is None or owner.identity != identity:
                write_json(root / OWNER_FILE, asdict(_Owner(study_name, identity, store)))
            return cls(root)

    def running(self, number: int, mode: Mode) -> TrialFolder:
        """The folder of a trial that is not over."""
        return self._folder(number, mode, "running")

    def finish(self, number: int, mode: Mode, outcome: Outcome) -> TrialFolder:
        """Gives a trial's folder its final name; one that holds nothing yet is made."""
        target = self._folder(number, mode, outcome)
        source = self._existing(number, mode)
        try:
            if source is not None and source.path != target.path:
                target.set_aside()
                source.path.rename(target.path)
                source.drop_lock()
            for folder in (target.best.parent, target.log.parent, target.tensorboard):
                folder.mkdir(parents=True, exist_ok=True)
            if outcome != "failed":
                target.latest.unlink(missing_ok=True)  # large, and of no use from now on
        except OSError as error:
            message = f"{target.path} cannot be made: {error.strerror or error}."
            raise UserError(message) from error
        return target

    def inherit(self, number: int, mode: Mode, earlier: int) -> None:
        """Gives a second try what the first had done; harmless when it has it already.

        The state comes last, and as a whole: who is killed before has taken nothing over.
        """
        target = self.running(number, mode)
        source = self._existing(earlier, mode)
        if source is None or not source.latest.exists() or target.latest.exists():
            return
        try:
            shutil.copytree(
                source.path,
                target.path,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("wandb", "failure.txt", ".*.tmp", source.latest.name),
            )
            with replace_atomically(target.latest) as temporary:
                shutil.copyfile(source.latest, temporary)
        except (OSError, shutil.Error) as error:
            raise UserError(f"{source.path} cannot be copied to {target.path}: {error}") from error

    def _folder(self, number: int, mode: Mode, ending: str) -> TrialFolder:
        return TrialFolder(self.root / f"trial_{number:03d}_{mode}_{ending}")

    def _existing(self, number: int, mode: Mode) -> TrialFolder | None:
        """The trial's folder under whichever name it has, a running one first."""
        for ending in ("running", "complete", "pruned", "failed"):
            folder = self._folder(number, mode, ending)
            if folder.path.is_dir():
                return folder
        return None


@dataclass(frozen=True)
class _Owner:
    """The study that a folder belongs to, and where it is kept."""

    study_name: str
    identity: str
    store: str


def refuse_other_store(place: Path, found: str, store: str) -> None:
    """Refuses what belongs to a study of the same name that another store still holds."""
    if found not in ("", "memory", store):
        raise UserError(
            f"{place} belongs to a study of the same name in {found}; give another --study_name, "
            "or the study's own --storage."
        )


def _owner(root: Path) -> _Owner | None:
    """The study that owns a folder."""
    file = root / OWNER_FILE
    if not file.exists():
        return None
    content = read_json(file)
    try:
        return _Owner(
            str(content["study_name"]), str(content["identity"]), str(content.get("store", ""))
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not ours; give another optuna.trials_dir.") from error


def _move_aside(root: Path) -> None:
    """Makes room for a study of the same name, unless the earlier one is being worked on.

    Folders of studies of other names stay: they may be worked on, and their stores know them.
    """
    for lock in root.glob(".*_running.lock"):
        with FolderLock(root, name=lock.name, guards=root):
            pass
    stays = (LOCK_FILE, RESULTS_LOCK, OWNER_FILE)
    own = [path for path in root.iterdir() if path.name not in stays and not _is_study(path)]
    target = free_name(Path(os.path.realpath(root)))  # a link may lead to another disk
    try:
        target.mkdir()
        for path in (*own, root / OWNER_FILE):  # which comes last: a killed move is gone on with
            path.rename(target / path.name)
    except OSError as error:
        raise UserError(f"{root} cannot be moved aside: {error.strerror or error}.") from error
    logger.info("The trials of an earlier study of this name were moved to %s.", target)


def _is_study(path: Path) -> bool:
    return (path / OWNER_FILE).is_file()


def write_failure(folder: TrialFolder, text: str) -> None:
    """Keeps a failure's traceback with the run; a full disk must not hide the failure."""
    with contextlib.suppress(UserError):
        atomic_write_text(folder.failure, text)


def link(path: Path, target: Path) -> None:
    """Points `path` at `target` by a relative link, replacing an earlier one."""
    make_way(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        logger.warning("The link %s cannot be made: %s", path, error.strerror or error)


def drop_dangling(path: Path) -> None:
    """Removes a link whose target was moved aside."""
    if path.is_symlink() and not path.exists():
        path.unlink(missing_ok=True)
