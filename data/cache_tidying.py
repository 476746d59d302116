"""What lies in a dataset's cache folder, and how much of it is kept.

Caches follow from data that may be edited; those of earlier versions would stay for ever. Of each
kind and split the ones used last are kept, the others are removed and that is said.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data import cache_files
from runtime.errors import UserError
from runtime.files import FolderLock, is_abandoned
from runtime.logs import get_logger

logger = get_logger("data")

_CACHE = re.compile(r"(trips|teacher)-(\w+)-[0-9a-f]{16,64}")
# A study searches several windows, each with a teacher's cache of its own.
KEPT = {"trips": 4, "teacher": 16}


@dataclass(frozen=True)
class CacheEntry:
    """One cache; an unfinished one has no manifest yet."""

    path: Path
    kind: str
    split: str
    num_bytes: int
    used: float
    finished: bool


def note_use(folder: Path) -> None:
    """Marks a cache as used now, where its folder can be written."""
    with contextlib.suppress(OSError):
        (folder / "manifest.json").touch(exist_ok=True)


def entries(cache_dir: Path) -> list[CacheEntry]:
    """The caches in a folder, those used last first."""
    found = []
    for path in cache_dir.iterdir() if cache_dir.is_dir() else ():
        name = _CACHE.fullmatch(path.name)
        if name is None or not path.is_dir():
            continue
        with contextlib.suppress(FileNotFoundError):  # another process removes it just now
            stats = [each for file in path.iterdir() if (each := _stat_of_ours(file)) is not None]
            if not stats and any(path.iterdir()):
                continue  # only what somebody else left in it
            manifest = path / "manifest.json"
            used = max((each.st_mtime for each in stats), default=path.stat().st_mtime)
            size = sum(each.st_blocks * 512 for each in stats)
            found.append(CacheEntry(path, name[1], name[2], size, used, manifest.exists()))
    return sorted(found, key=lambda entry: -entry.used)


def _stat_of_ours(file: Path) -> os.stat_result | None:
    """A file of the cache; None for somebody else's, and where it was renamed or removed since."""
    if file.name in cache_files.FILES or file.name.startswith("."):
        with contextlib.suppress(FileNotFoundError):
            found = file.stat()
            return found if stat.S_ISREG(found.st_mode) else None
    return None


def tidy(cache_dir: Path, kind: str, split: str, *, used: Path | None = None) -> int:
    """Removes what goes beyond the number of caches kept of a kind and split; returns its bytes.

    `used` is the cache that is being used: it stays, also where the clock was set back.
    """
    alike = [entry for entry in entries(cache_dir) if (entry.kind, entry.split) == (kind, split)]
    alike.sort(key=lambda entry: entry.path != used)
    return sum(_remove(entry) for entry in alike[KEPT[kind] :])


def clean(cache_dir: Path) -> int:
    """Removes all but the newest finished cache of each kind and split, and abandoned files."""
    freed = sum(_remove(entry) for entry in entries(cache_dir) if not entry.finished)
    newest: set[tuple[str, str]] = set()
    for entry in entries(cache_dir):
        if (entry.kind, entry.split) in newest:
            freed += _remove(entry)
        newest.add((entry.kind, entry.split))
    for file in list(_abandoned(cache_dir)):
        with contextlib.suppress(OSError):
            freed += file.stat().st_size
            file.unlink()
            logger.info("Removed %s, which a killed program had left.", file)
    return freed


def _abandoned(cache_dir: Path) -> Iterator[Path]:
    for file in cache_dir.rglob(".*.????????.tmp"):
        if is_abandoned(file):
            yield file


def _remove(entry: CacheEntry) -> int:
    """Removes a cache that nobody is building; who reads it just now keeps what is open."""
    try:
        with FolderLock(entry.path):
            cache_files.remove(entry.path)
    except (UserError, OSError):  # in use, or not ours to remove
        return 0
    logger.info(
        "Removed the cache %s (%.1f MiB), last used on %s.",
        entry.path,
        entry.num_bytes / 2**20,
        time.strftime("%Y-%m-%d", time.localtime(entry.used)),
    )
    return entry.num_bytes
