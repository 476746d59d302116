"""Reading CSV files row by row, with errors that name file, line and reason.

Fields stay text: what they mean is up to the caller, and nothing is ever evaluated.
By the csv module, line by line: for the large files of trips there is `data.text_rows`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from runtime.errors import UserError
from runtime.names import refuse_idle_pipe

MAX_FIELD_CHARS = 1 << 24
MAX_LINE_CHARS = 1 << 26


class Row(NamedTuple):
    """One data row: the line it ends on and the wanted fields, in the order asked for."""

    line: int
    fields: list[str]


def read_header(path: Path) -> list[str]:
    """The column names of a CSV file."""
    for row in _rows(path):
        return [name.strip().lstrip("\ufeff") for name in row.fields]
    raise UserError(f"{path} is empty; a header line was expected.")


def require_columns(path: Path, required: list[str]) -> list[str]:
    """All column names, if those that are required are among them."""
    header = read_header(path)
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(
            f"{path}:1: the column {', '.join(missing)} is missing; "
            f"found {', '.join(header)[:200] or 'nothing'}."
        )
    return header


def read_columns(
    path: Path,
    required: list[str],
    optional: list[str] | None = None,
    on_wrong_count: Callable[[int, str], None] | None = None,
) -> Iterator[Row]:
    """Yields the wanted columns of every data row; absent optional columns are empty texts.

    A row with another number of fields is an error, or left out where `on_wrong_count` is told its
    line and what is wrong.
    """
    header = require_columns(path, required)
    wanted = required + (optional or [])
    positions = [header.index(name) if name in header else -1 for name in wanted]
    needed = max((header.index(name) for name in required), default=0) + 1
    rows = _rows(path)
    next(rows, None)
    for row in rows:
        if not row.fields:
            continue
        count = len(row.fields)
        if count < needed or count > len(header):
            problem = f"the row has {count} fields, the header has {len(header)}."
            if on_wrong_count is None:
                raise UserError(f"{path}:{row.line}: {problem}")
            on_wrong_count(row.line, problem)
            continue
        yield Row(row.line, [row.fields[i] if 0 <= i < count else "" for i in positions])


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a text, none of them larger than memory, as in a file that is no text."""
    if path.is_file() and path.stat().st_size < MAX_LINE_CHARS:
        return file
    return _bounded_lines(path, file)


def _bounded_lines(path: Path, file: TextIO) -> Iterator[str]:
    while line := file.readline(MAX_LINE_CHARS):
        if len(line) == MAX_LINE_CHARS:
            raise UserError(f"{path} has a line of more than {MAX_LINE_CHARS} characters.")
        yield line


def _rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_FIELD_CHARS)
    try:
        refuse_idle_pipe(path)
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(_lines(path, file))
            try:
                for fields in reader:
                    yield Row(reader.line_num, fields)
            except csv.Error as error:
                raise UserError(f"{path}:{reader.line_num}: not valid CSV ({error}).") from error
            except UnicodeDecodeError as error:
                line = reader.line_num + 1
                raise UserError(f"{path}:{line}: not UTF-8 text ({error.reason}).") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
