"""Points sorted into pieces by vehicle, on disk, so that work and memory go piece by piece.

A piece has all points of its vehicles, some hundred thousand. Ten times the points are ten times
the pieces, not ten times the memory; the space on disk is 41 bytes a point.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from data.match.point_files import PointFiles
from data.match.records import POINT, Records
from runtime.errors import UserError
from runtime.files import read_json, write_json, writing_to
from runtime.logs import get_logger

if TYPE_CHECKING:
    import polars as pl

logger = get_logger("match")

POINTS_PER_PIECE = 250_000
_BYTES_PER_POINT_GUESS = 8
_MAX_PIECES = 512
_LIST_NAME = "pieces.json"


@dataclass(frozen=True)
class Pieces:
    """The pieces of a folder and the names of the vehicles in them."""

    folder: Path
    num_pieces: int
    num_points: int
    vehicles: list[str]

    def read(self, piece: int) -> Records:
        """The points of a piece, in the order of the files."""
        path = _piece_file(self.folder, piece)
        return np.fromfile(path, dtype=POINT) if path.exists() else np.empty(0, dtype=POINT)

    def size(self, piece: int) -> int:
        """How many points a piece has."""
        path = _piece_file(self.folder, piece)
        return path.stat().st_size // POINT.itemsize if path.exists() else 0


def _piece_file(folder: Path, piece: int) -> Path:
    return folder / f"points-{piece:04d}.bin"


def known_pieces(folder: Path) -> Pieces | None:
    """The pieces that were finished before, if any, and if all of them are still there."""
    if not (folder / _LIST_NAME).exists():
        return None
    try:
        known = read_json(folder / _LIST_NAME)
        pieces = Pieces(folder, known["num_pieces"], known["num_points"], known["vehicles"])
        found = sum(map(pieces.size, range(pieces.num_pieces)))
    except (UserError, TypeError, KeyError):
        found = -1
    if found < 0 or found != pieces.num_points:
        logger.warning("The work in %s is damaged; the points are read anew.", folder)
        return None
    return pieces


def make_pieces(
    files: PointFiles, folder: Path, progress: Callable[[int], object] | None = None
) -> Pieces:
    """Sorts all points into pieces in `folder`; `progress` hears of every batch's points."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("points-*.bin", "trips-*.npz"):
        for leftover in folder.glob(pattern):
            leftover.unlink()
    bytes_in_all = sum(file.stat().st_size for file in files.files)
    guess = bytes_in_all / _BYTES_PER_POINT_GUESS / POINTS_PER_PIECE
    num_pieces = int(min(max(1, round(guess)), _MAX_PIECES))
    numbers: dict[str, int] = {}
    total = 0
    with writing_to(folder), contextlib.ExitStack() as stack:
        out: dict[int, IO[bytes]] = {}
        for batch in files.batches():
            records = _records(batch, numbers)
            piece = records["vehicle"] % num_pieces
            order = np.argsort(piece, kind="stable")
            bounds = np.searchsorted(piece[order], np.arange(num_pieces + 1))
            for number in np.unique(piece).tolist():
                if number not in out:
                    path = _piece_file(folder, number)
                    out[number] = stack.enter_context(path.open("wb"))
                out[number].write(records[order[bounds[number] : bounds[number + 1]]].tobytes())
            total += len(records)
            if progress is not None:
                progress(len(records))
    if total == 0:
        raise UserError(
            f"{files.files[0]}{' and the other files' if len(files.files) > 1 else ''} "
            "have no points."
        )
    pieces = Pieces(folder, num_pieces, total, list(numbers))
    write_json(
        folder / _LIST_NAME,
        {"num_pieces": num_pieces, "num_points": total, "vehicles": pieces.vehicles},
    )
    return pieces


def _records(batch: pl.DataFrame, numbers: dict[str, int]) -> Records:
    """A batch as records; `numbers` learns new vehicles' names."""
    import polars as pl

    for name in batch["vehicle"].unique(maintain_order=True).to_list():
        numbers.setdefault(name, len(numbers))
    names = batch["vehicle"].unique()
    known = pl.DataFrame(
        {
            "vehicle": names,
            "number": pl.Series([numbers[name] for name in names.to_list()], dtype=pl.Int32),
        }
    )
    joined = batch.join(known, on="vehicle", how="left", maintain_order="left")
    records: Any = np.empty(len(batch), dtype=POINT)
    records["vehicle"] = joined["number"].to_numpy()
    for column in ("trip", "occupied"):
        records[column] = batch[column].to_numpy()
    for column in ("time_s", "lon", "lat", "heading"):
        records[column] = batch[column].fill_null(float("nan")).to_numpy()
    return records
