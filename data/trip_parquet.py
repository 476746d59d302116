"""Trips from Parquet, in pieces of bounded size: lists as such, or the text of the CSV format.

Only what the columns hold; what makes a good trip is the same for every format and is checked by
`data.trip_csv`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.tables import readable_by_polars
from data.text_rows import Place, Places, TextPiece
from runtime.errors import UserError, one_line

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("rid_list", "time_list")
FIRST_ROW = 1  # in messages


@dataclass(frozen=True)
class ListPiece:
    """Rows whose roads and times are numbers, laid end to end."""

    places: Sequence[Place]
    roads: NDArray[np.int64]  # [S] negative where it is missing
    times: NDArray[np.int64]  # [T] seconds since 1970, as the clock shows; negative where missing
    road_counts: NDArray[np.int64]  # [n]
    time_counts: NDArray[np.int64]  # [n]


def read_pieces(path: Path, rows_per_piece: int) -> Iterator[TextPiece | ListPiece]:
    """The rows of a Parquet file, piece by piece."""
    import polars as pl

    try:
        frame = pl.scan_parquet(readable_by_polars(path), glob=False)
        schema = frame.collect_schema()
        missing = [name for name in COLUMNS if name not in schema]
        if missing:
            raise UserError(
                f"{path}: the column {', '.join(missing)} is missing; "
                f"found {', '.join(schema)[:200] or 'nothing'}."
            )
        as_text = not all(_is_number_list(schema[name], name) for name in COLUMNS)
        wanted = frame.select(
            _column(path, name, schema[name], as_text=as_text) for name in COLUMNS
        )
        row = FIRST_ROW
        for batch in wanted.collect_batches(chunk_size=rows_per_piece, maintain_order=True):
            for part in batch.iter_slices(rows_per_piece):
                places = Places.following(row - FIRST_ROW, row, len(part))
                yield _text_piece(part, places) if as_text else _list_piece(part, places)
                row += len(part)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        message = one_line(error)[:200]
        raise UserError(f"{path} is no readable Parquet file ({message}).") from error


def _is_number_list(kind: pl.DataType, name: str) -> bool:
    import polars as pl

    inner = getattr(kind, "inner", None)
    if not isinstance(kind, pl.List | pl.Array) or inner is None:
        return False
    return inner.is_integer() or (name == "time_list" and inner in (pl.Datetime, pl.Datetime()))


def _column(path: Path, name: str, kind: pl.DataType, *, as_text: bool) -> pl.Expr:
    """The column as a list of whole numbers, or as text."""
    import polars as pl

    column = pl.col(name)
    if kind == pl.String:
        return column
    inner = getattr(kind, "inner", None)
    is_list = isinstance(kind, pl.List | pl.Array) and isinstance(inner, pl.DataType)
    if isinstance(kind, pl.Array):
        column = column.arr.to_list()
    if is_list and as_text and inner == pl.String:
        return column.list.join(",", ignore_nulls=False)
    if not is_list or not _is_number_list(kind, name):
        raise UserError(
            f"{path}: {name} is of the type {kind}; expected is text as in CSV, or a list of "
            + ("road ids." if name == "rid_list" else "times.")
        )
    if isinstance(inner, pl.Datetime):
        # The time that the clock shows, in whichever zone.
        shown = pl.element().dt.replace_time_zone(None)
        if as_text:
            return column.list.eval(shown.dt.strftime("%Y-%m-%dT%H:%M:%SZ")).list.join(",")
        return column.list.eval(shown.dt.epoch("s"))
    if name == "time_list" and as_text:  # seconds beside roads in text
        shown = pl.from_epoch(pl.element(), "s").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        return column.list.eval(shown).list.join(",")
    if as_text:
        return column.cast(pl.List(pl.String)).list.join(",")
    return column.cast(pl.List(pl.Int64))


def _text_piece(part: pl.DataFrame, places: Places) -> TextPiece:
    return TextPiece(places, [part[name].fill_null("") for name in COLUMNS])


def _list_piece(part: pl.DataFrame, places: Places) -> ListPiece:
    values, counts = [], []
    for name in COLUMNS:
        lists = part[name]
        # An empty list explodes to one null, which must not count.
        count = lists.list.len().fill_null(0)
        flat = lists.filter(count > 0).explode().fill_null(-1)
        values.append(flat.to_numpy().astype(np.int64))
        counts.append(count.to_numpy().astype(np.int64))
    return ListPiece(places, values[0], values[1], counts[0], counts[1])
