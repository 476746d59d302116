"""Replayed trips in a file: named by what they depend on, written whole, checked when read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from critics.replay.trips import ReplayedTrips
from runtime.errors import UserError
from runtime.files import FolderLock, replace_atomically, sha256_of_json
from runtime.logs import get_logger

logger = get_logger("replay")

FORMAT_VERSION = 1
Arrays = dict[str, NDArray[Any]]


def open_or_drive(
    folder: Path, key: dict[str, Any], drive: Callable[[], ReplayedTrips]
) -> ReplayedTrips:
    """The trips of this key, driven first where they are missing or damaged."""
    path = folder / f"replay-{sha256_of_json(key)[:16]}.npz"
    arrays = read_arrays(path, key)
    if arrays is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FolderLock(folder, name=f".{path.name}.lock", wait=True):
            arrays = read_arrays(path, key)  # driven while we waited?
            if arrays is None:
                arrays = vars(drive())
                write_arrays(path, key, arrays)
    return ReplayedTrips(**arrays)


def write_arrays(path: Path, key: dict[str, Any], arrays: Arrays) -> None:
    """Writes named arrays and the key they belong to."""
    described = np.frombuffer(_text(key), dtype=np.uint8)
    try:
        with replace_atomically(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, **{"key": described, **arrays})
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error


def read_arrays(path: Path, key: dict[str, Any]) -> Arrays | None:
    """The arrays, or None where the file is absent, damaged or of another key."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:  # checks every array's CRC-32
            arrays = {name: file[name] for name in file.files}
        if arrays.pop("key").tobytes() != _text(key):
            return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zipfile.error) as error:
        logger.warning("The replayed trips in %s are damaged (%s); making them anew.", path, error)
        return None
    return arrays


def _text(key: dict[str, Any]) -> bytes:
    return json.dumps({"format_version": FORMAT_VERSION, **key}, sort_keys=True).encode()
