"""Which files a cache's folder is made of: strangers among them are neither built over nor removed.

A cache that is stale or damaged is built anew in its place, and that is said; a folder that bears
no sign of a cache of ours (a mark, or a manifest or journal of earlier versions) is somebody's own.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from runtime.errors import UserError
from runtime.files import read_json, writing_to
from runtime.placing import make_way

MANIFEST = "manifest.json"
JOURNAL = "journal.json"
VALUES = "values.f16"
TRIP_COLUMNS = ("road_ids", "seconds", "starts", "lengths")
FILES = (MANIFEST, JOURNAL, VALUES, *(f"{name}.bin" for name in TRIP_COLUMNS))
_MARK = ".cache"


def claim(folder: Path) -> None:
    """Makes the folder of a cache that is about to be built; for the one who holds its lock."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / _MARK
        if not mark.exists() and not _is_described(folder):
            for name in FILES:
                make_way(folder / name)
        mark.touch()


def remove(folder: Path) -> None:
    """Removes a cache, the manifest first, and its folder unless there is something else in it."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for file in folder.glob(".*"):
        file.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _is_described(folder: Path) -> bool:
    for name in (MANIFEST, JOURNAL):
        with contextlib.suppress(UserError):
            content = read_json(folder / name)
            if isinstance(content, dict) and ("source" in content or "key" in content):
                return True
    return False
