"""Columns of text from CSV, in pieces of bounded size: by polars where they are regular.

Regular is a file whose every line is a row of as many fields as the header, none of them empty,
with quotes only around whole fields. Polars cuts, fills or joins what is not, without a word: from
there on the exact reader goes on, row by row, and says what is wrong.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from data.csv_reading import MAX_LINE_CHARS, read_columns, require_columns
from data.trip_layout import Text
from runtime.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    TextColumn = list[str] | pl.Series

POLARS_FROM_BYTES = 1 << 24  # importing it takes as long as reading this much without it
_ROWS_A_PIECE = 8192
_BLOCK_BYTES = 1 << 20


class Place(NamedTuple):
    """Where a row stands: which data row it is, from 0, and the line that messages name."""

    number: int
    line: int


@dataclass(frozen=True)
class Places(Sequence[Place]):
    """Where many rows stand; a place is made only where somebody asks for it."""

    numbers: Sequence[int]
    lines: Sequence[int]

    @classmethod
    def following(cls, number: int, line: int, count: int) -> Places:
        """Those of rows that follow each other and take a line each."""
        return cls(range(number, number + count), range(line, line + count))

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, row: int) -> Place: ...

    @overload
    def __getitem__(self, row: slice) -> Places: ...

    def __getitem__(self, row: int | slice) -> Place | Places:
        if isinstance(row, slice):
            return Places(self.numbers[row], self.lines[row])
        return Place(self.numbers[row], self.lines[row])


@dataclass(frozen=True)
class TextPiece:
    """Some rows of a file, the wanted columns as text."""

    places: Sequence[Place]
    columns: Sequence[TextColumn]


OnWrongCount = Callable[[Place, str], None]


def read_text(
    path: Path,
    required: list[str],
    optional: list[str] | None = None,
    on_wrong_count: OnWrongCount | None = None,
    polars_from_bytes: int = POLARS_FROM_BYTES,
) -> Iterator[TextPiece]:
    """The rows of a CSV file; what is missing or wrong is judged as by `read_columns`."""
    header = require_columns(path, required)
    wanted = required + (optional or [])
    done = 0
    if all(name in header for name in wanted) and path.stat().st_size >= polars_from_bytes:
        try:
            for frame in _regular_frames(path, header):
                columns = [frame.to_series(header.index(name)) for name in wanted]
                yield TextPiece(Places.following(done, done + 2, len(frame)), columns)
                done += len(frame)
        except _IrregularError:
            pass
        else:
            return
    yield from _exact_pieces(path, required, optional, on_wrong_count, done)


def packed(column: TextColumn) -> Text:
    """The bytes of a column, in which every character takes one."""
    if isinstance(column, list):
        # Characters outside ASCII become one '?' each, so that positions stay positions.
        content = "".join(column).encode("ascii", "replace")
        lengths = np.fromiter(map(len, column), dtype=np.int64, count=len(column))
    else:
        content = (column.str.join("").item() or "").encode("ascii", "replace")
        lengths = column.str.len_chars().to_numpy().astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Text(np.frombuffer(content, dtype=np.uint8), offsets)


class _IrregularError(Exception):
    """Not a file that polars reads as the exact reader does."""


def _regular_frames(path: Path, header: list[str]) -> Iterator[pl.DataFrame]:
    """All columns, since polars notices a field too many only where none is left out."""
    import polars as pl

    if any("\n" in name or "\r" in name for name in header):
        raise _IrregularError
    schema = {str(place): pl.String for place in range(len(header))}
    errors = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
    try:
        for block in _blocks(path):
            if _is_odd(block):
                raise _IrregularError
            frame = pl.read_csv(block, has_header=False, schema=schema)
            if any(frame.null_count().row(0)):
                raise _IrregularError
            yield frame
    except errors as error:
        raise _IrregularError from error


def _blocks(path: Path) -> Iterator[bytes]:
    """The lines after the header, which is one of them, many at a time."""
    with path.open("rb") as file:
        if _is_odd(file.readline(MAX_LINE_CHARS).removeprefix(BOM_UTF8)):
            raise _IrregularError
        begun = b""
        while read := file.read(_BLOCK_BYTES):
            lines, end, rest = (begun + read).rpartition(b"\n")
            begun = rest
            if len(begun) > MAX_LINE_CHARS:
                raise _IrregularError
            if end:
                yield lines + end
        if begun:
            yield begun


def _is_odd(block: bytes) -> bool:
    """Whether polars might read it otherwise than the csv module; it leaves out a mark ahead."""
    from data.text_kernels import has_odd_lines

    return block.startswith(BOM_UTF8) or has_odd_lines(np.frombuffer(block, dtype=np.uint8))


def _exact_pieces(
    path: Path,
    required: list[str],
    optional: list[str] | None,
    on_wrong_count: OnWrongCount | None,
    done: int,
) -> Iterator[TextPiece]:
    """All rows but the first `done`, which were read before, by the csv module."""
    number = -1

    def refuse(line: int, problem: str) -> None:
        nonlocal number
        number += 1
        if on_wrong_count is None:
            raise UserError(f"{path}:{line}: {problem}")
        on_wrong_count(Place(number, line), problem)

    numbers: list[int] = []
    lines: list[int] = []
    rows: list[list[str]] = []
    for line, fields in read_columns(path, required, optional, refuse):
        number += 1
        if number < done:
            continue
        numbers.append(number)
        lines.append(line)
        rows.append(fields)
        if len(rows) == _ROWS_A_PIECE:
            yield TextPiece(Places(numbers, lines), [list(c) for c in zip(*rows, strict=True)])
            numbers, lines, rows = [], [], []
    if rows:
        yield TextPiece(Places(numbers, lines), [list(c) for c in zip(*rows, strict=True)])
