"""The folder of work in progress beside the trips: what a killed run goes on with."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError
from runtime.files import FolderLock, is_temporary, read_json, write_json
from runtime.logs import get_logger
from runtime.placing import make_way

logger = get_logger("match")

WORK_FOLDER = ".match"
_STATE_NAME = "job.json"


def work_lock(data_dir: Path) -> FolderLock:
    """Keeps a second run out of a dataset's folder."""
    return FolderLock(data_dir, name=".match.lock", guards=data_dir)


def open_work(data_dir: Path, fingerprint: str) -> Path:
    """The folder of work in progress; emptied where that was other work.

    What lies there and is no work of ours is moved aside.
    """
    work = data_dir / WORK_FOLDER
    state = work / _STATE_NAME
    is_ours = work.is_symlink() or state.is_file() or _is_bare(work)
    if state.exists() and not work.is_symlink():
        try:
            same = read_json(state) == fingerprint
        except UserError:
            same = False
        if same:
            logger.info("Going on with the work that was interrupted.")
            return work
    if is_ours:
        _remove(work)
    else:
        make_way(work)
    write_json(state, fingerprint)
    return work


def _is_bare(work: Path) -> bool:
    """Whether a run was killed before it wrote down what the work is."""
    return work.is_dir() and all(is_temporary(path) for path in work.iterdir())


def _remove(work: Path) -> None:
    """Removes the folder, or a link in its place; never what that leads to."""
    try:
        if work.is_symlink():
            work.unlink()
        elif work.exists():
            shutil.rmtree(work)
    except OSError as error:
        raise UserError(f"{work} cannot be removed: {error.strerror or error}.") from error


@dataclass(frozen=True)
class UnfinishedWork:
    """What an interrupted run left, to be gone on with or to be removed."""

    path: Path
    num_bytes: int


def unfinished_work(data_dir: Path) -> UnfinishedWork | None:
    """The work that lies in a dataset's folder, if any."""
    work = data_dir / WORK_FOLDER
    if not (work / _STATE_NAME).is_file():
        return None
    num_bytes = 0
    for file in work.rglob("*"):
        with contextlib.suppress(OSError):
            num_bytes += file.stat().st_blocks * 512
    return UnfinishedWork(work, num_bytes)


def remove_work(data_dir: Path) -> int:
    """Removes work that nobody is doing just now; returns its bytes."""
    work = unfinished_work(data_dir)
    if work is None:
        return 0
    try:
        with work_lock(data_dir):
            _remove(work.path)
    except UserError:  # in use, or not ours to remove
        return 0
    logger.info("Removed the unfinished matching in %s.", work.path)
    return work.num_bytes
