"""Folders whose files a program places by its own structure: a run, a study, an evaluation.

Nobody names these files on the command line, and a program that refused to replace one would be
stuck half-way, at every start. So what is in the way there and was not written by a program of
ours, or was changed since, is moved aside, beside its place, and a line says so; `--force`, where
a program has it, replaces. This holds for whatever is written below such a folder, by whichever
function. (Where a user names the file, the program refuses before any work: `runtime.results`.)

A file's hash is in the folder's record before the file is in its place, beside the hash of what
it replaces: a program that is killed in between knows either one again. Caches (`.cache`) have
checks of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.files import before_replacing, move_aside, sha256_of_file, writing_to
from runtime.logs import get_logger
from runtime.written import (
    LOCK_NAME,
    RECORD_NAME,
    changed_record,
    is_as_written,
    is_written_hash,
    known_files,
)

logger = get_logger("files")

CACHE = ".cache"


@dataclass(frozen=True)
class _Place:
    """A folder of a program's own, or a single file."""

    root: Path
    program: str
    force: bool

    def covers(self, path: Path) -> bool:
        if path == self.root:
            return True
        return self.root in path.parents and CACHE not in path.relative_to(self.root).parts


_places: list[_Place] = []


@contextmanager
def placing(program: str, *roots: Path, force: bool = False) -> Iterator[None]:
    """While inside, files below `roots` are the program's to place; the outermost call decides."""
    places = [_Place(root.absolute(), program, force) for root in roots]
    _places.extend(places)
    try:
        yield
    finally:
        for place in places:
            _places.remove(place)


def clear(path: Path, *, force: bool = False) -> None:
    """Takes a file of a program's own away; somebody else's is moved aside."""
    place = _place_of(path)
    ours = force or path.is_symlink() or (place is not None and place.force)
    with writing_to(path):
        if not path.exists() and not path.is_symlink():
            return
        if ours or is_as_written(known_files(path.parent).get(path.name), path):
            path.unlink()
        else:
            _keep(path)


def make_way(path: Path) -> None:
    """Moves aside what lies where a link of ours belongs; links are ours to replace."""
    if path.exists() and not path.is_symlink():
        _keep(path)


def adopt(*files: Path, only_without_record: bool = False) -> None:
    """Takes files for ours that something else vouches for: earlier versions kept no record."""
    for folder in dict.fromkeys(file.parent for file in files):
        known = known_files(folder)
        ours = [file for file in files if file.parent == folder and file.is_file()]
        unknown = [file for file in ours if file.name not in known]
        if unknown and not (known and only_without_record):
            with changed_record(folder) as known:
                known |= {file.name: {"sha256": sha256_of_file(file)} for file in unknown}


def _place_of(path: Path) -> _Place | None:
    path = path.absolute()
    return next((place for place in _places if place.covers(path)), None)


def _note(path: Path, real: Path, finished: Path) -> None:
    """Makes way for a finished file that is about to go to `path`, which leads to `real`."""
    place = _place_of(path)
    if place is None or path.name in (RECORD_NAME, LOCK_NAME):
        return
    with changed_record(path.parent) as known:
        entry = {"program": place.program, "sha256": sha256_of_file(finished)}
        if real.exists():
            before = sha256_of_file(real)
            if place.force or is_written_hash(known.get(path.name), before):
                entry["before"] = before
            else:
                _keep(real)
        known[path.name] = entry


def _keep(path: Path) -> None:
    target = move_aside(path)
    logger.warning(
        "%s was not written by this program, or was changed since; it is kept as %s.", path, target
    )


before_replacing.append(_note)
