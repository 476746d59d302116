"""Taking a folder for the results of one evaluation: never another's, never anybody's own files."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import read_json, timestamp
from runtime.inputs import Inputs

# What tells two evaluations apart beside their inputs; the rest of `metadata` says where they lay.
SETTINGS = (
    "real_trips_hash",
    "od_source",
    "grid_size",
    "edr_eps",
    "dtw",
    "bootstrap",
    "seed",
    "behaviour",
    "scenarios",
)
RESULTS = "results.json"
DETAILS = "trajectory_metrics.json"
DETAILS_BEGIN = (b'[\n{"real": ', b"[]")
COMPARISON = "comparison.json"
WRITTEN = (
    *(RESULTS, DETAILS, COMPARISON),
    *("comparison.md", "comparison.png", "report.html", "plots"),
)

# What a folder named after a model must not be called in a folder of results.
RESULT_NAMES = (*WRITTEN, "comparison.ledger.json", "ledger.json")


def fresh_folder(parent: Path) -> Path:
    """A new folder in `parent`, named after the time; of two at once each gets its own."""
    for attempt in range(1, 1000):
        folder = parent / (timestamp() if attempt == 1 else f"{timestamp()}_{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{folder} cannot be made: {error.strerror or error}.") from error
    raise UserError(f"{parent} has no room for another folder of results; give --output_dir.")


@contextlib.contextmanager
def discarded_if_unused(folder: Path | None) -> Iterator[None]:
    """Takes a fresh folder away again where nothing came of what it was made for."""
    try:
        yield
    except BaseException:
        if folder is not None:
            for place in (folder, folder.parent):
                with contextlib.suppress(OSError):  # unless there is something in it
                    place.rmdir()
        raise


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keeps other evaluations out of `folder` while this one writes its results there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UserError(
            f"{folder} is in use by another evaluation; wait for it or choose another --output_dir."
        ) from error
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # unless nothing was written into it
            folder.rmdir()


def refuse_other_results(folder: Path, metadata: dict[str, Any]) -> None:
    """Refuses a folder that holds results of anything but what `metadata` describes."""
    found = _content(folder / RESULTS)
    known = found.get("metadata") if isinstance(found, dict) else None
    if not isinstance(known, dict) or "generated_sha256" not in known:
        _refuse_foreign_files(folder)
        return
    differing = Inputs.read(known).differences(Inputs.read(metadata))
    # Earlier versions told less; what is not known is not compared.
    told = [name for name in SETTINGS if name in known]
    differing += [f"{name} differs" for name in told if known[name] != metadata.get(name)]
    if differing:
        raise UserError(
            f"{folder} holds the results of another evaluation, of {known.get('generated_file')} "
            f"({differing[0]}); choose another --output_dir, or give --force."
        )


def refuse_other_comparison(folder: Path, models: list[str], od_source: str) -> None:
    """Refuses a folder that holds anything but an earlier comparison of the same models."""
    found = _content(folder / COMPARISON)
    first = found[0] if isinstance(found, list) and found else None
    if not isinstance(first, dict) or "models" not in first:
        _refuse_foreign_files(folder)
    elif (first["models"], first.get("od_source")) != (models, od_source):
        raise UserError(
            f"{folder} holds the comparison of {first['models']}; choose another --output_dir, or "
            "give --force."
        )


def _refuse_foreign_files(folder: Path) -> None:
    for name in WRITTEN:
        path = folder / name
        if path.exists() and not (name == DETAILS and _begins_like_details(path)):
            raise UserError(
                f"{path} is in the way, and not of this evaluation; choose another --output_dir, "
                "or give --force."
            )


def _begins_like_details(path: Path) -> bool:
    """Whether a killed evaluation left the file, which is the first that is written."""
    with path.open("rb") as file:
        return file.read(16).startswith(DETAILS_BEGIN)


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except UserError:
        return None
