"""What programs wrote into a folder: its record, `.results.json`, with each file's SHA-256.

A file without an entry, or one that was changed since, is somebody's own. Who may replace what
then is for `runtime.results` and `runtime.placing` to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import FolderLock, read_json, sha256_of_file, write_json

RECORD_NAME = ".results.json"
LOCK_NAME = ".results.lock"
BEGUN = "begun"  # in the place of a hash: whatever is there was written by the program just then


def known_files(folder: Path) -> dict[str, Any]:
    """The folder's record; without one, or with a damaged one, nothing is known to be ours."""
    try:
        content = read_json(folder / RECORD_NAME)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def changed_record(folder: Path) -> Iterator[dict[str, Any]]:
    """The folder's record to be changed, while nobody else does."""
    with FolderLock(folder, name=LOCK_NAME, wait=True):
        known = known_files(folder)
        yield known
        write_json(folder / RECORD_NAME, known)


def is_as_written(entry: Any, path: Path) -> bool:
    """Whether a file is as its entry says, of the last writing or of the one that it followed."""
    return isinstance(entry, dict) and is_written_hash(entry, sha256_of_file(path))


def is_written_hash(entry: Any, checksum: str) -> bool:
    """The same of a file whose SHA-256 is known already."""
    if not isinstance(entry, dict):
        return False
    hashes = (entry.get("sha256"), entry.get("before"))
    return BEGUN in hashes or checksum in hashes
