"""Generated trips read from CSV; a bad row stops with file, line and reason, or is counted.

Written by `gene.py`, or by the original program: then only the roads and times are there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from config.choices import OnBadRows
from data.csv_reading import read_header
from data.generation_record import check_record
from data.road_network import RoadNetwork
from data.text_rows import Place, TextPiece, packed, read_text
from data.trip_csv import BadRows, excerpt, explain_steps
from data.trip_layout import Packed, Reach
from metrics.trips import Trips
from runtime.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from data.text_rows import TextColumn

REQUIRED = ["gene_trace_road_id", "gene_trace_datetime"]
GENERATED_COLUMN = REQUIRED[0]  # which no trips of a dataset have
OPTIONAL = ["destination", "reached", "log_prob", "seconds"]
_WRAPPED_INTEGER = "np.int64("


@dataclass(frozen=True)
class GeneratedTrips:
    """Generated trips and what the file says of them; a column it lacks is None."""

    trips: Trips
    unjoined: NDArray[np.int64]  # [n], transitions that the road network does not have
    reached: NDArray[np.bool_] | None  # [n]
    log_prob: NDArray[np.float64] | None  # [n]
    seconds: NDArray[np.float64] | None  # [n], from the first road to the last
    skipped: int = 0  # bad rows of the file that were left out

    def __len__(self) -> int:
        return len(self.trips)


@dataclass(frozen=True)
class _Chunk:
    road_ids: NDArray[np.int32]
    times: NDArray[np.int64]
    lengths: NDArray[np.int32]
    unjoined: NDArray[np.int64]
    extras: NDArray[np.float64]  # [n, number of optional columns there are]


def is_generated(file: Path) -> bool:
    """Whether a file holds generated trips; in Parquet datasets alone may be."""
    return file.suffix != ".parquet" and GENERATED_COLUMN in read_header(file)


def read_generated(
    path: str | Path, network: RoadNetwork, on_bad_rows: OnBadRows = "error"
) -> GeneratedTrips:
    """Reads every row; a bad one raises `UserError`, or is left out and counted."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"The generated file {path} does not exist; make it with gene.py.")
    check_record(path, network)
    reader = _Reader(path, network, on_bad_rows)
    chunks = list(reader.chunks())
    reader.bad_rows.log(path)
    if not sum(len(chunk.lengths) for chunk in chunks):
        raise UserError(
            f"{path} has a header but no trips."
            if not reader.bad_rows.total
            else f"{path} has no usable trips: all {reader.bad_rows.total} rows are bad."
        )
    trips = Trips.from_lengths(
        np.concatenate([chunk.road_ids for chunk in chunks]),
        np.concatenate([chunk.times for chunk in chunks]),
        np.concatenate([chunk.lengths for chunk in chunks]),
    )
    extras = np.concatenate([chunk.extras for chunk in chunks])
    columns = {name: extras[:, i] for i, name in enumerate(reader.optional)}
    reached = None
    if "reached" in columns:
        reached = columns["reached"] > 0
    elif "destination" in columns:
        reached = trips.destination == columns["destination"]
    return GeneratedTrips(
        trips=trips,
        unjoined=np.concatenate([chunk.unjoined for chunk in chunks]),
        reached=reached,
        log_prob=columns.get("log_prob"),
        seconds=columns.get("seconds"),
        skipped=reader.bad_rows.total,
    )


class _Reader:
    """Goes through a file in chunks of bounded size and judges its rows."""

    def __init__(self, path: Path, network: RoadNetwork, on_bad_rows: OnBadRows) -> None:
        self.path, self.network, self.on_bad_rows = path, network, on_bad_rows
        header = read_header(path)
        self.optional = [name for name in OPTIONAL if name in header]
        self.bad_rows = BadRows()

    def chunks(self) -> Iterator[_Chunk]:
        """The good rows, packed."""

        def skip(place: Place, problem: str) -> None:
            self._bad("wrong number of fields", place, problem)

        for piece in read_text(self.path, REQUIRED, self.optional, skip):
            yield self._parse(*self._with_extras(piece))

    def _bad(self, kind: str, place: Place, reason: str) -> None:
        message = f"{self.path}:{place.line}: {reason}"
        if self.on_bad_rows == "error":
            raise UserError(message)
        self.bad_rows.add(kind, message)

    def _with_extras(self, piece: TextPiece) -> tuple[TextPiece, NDArray[np.float64]]:
        """The rows whose optional columns can be read, and what these say."""
        extras = np.empty((len(piece.places), len(self.optional)))
        bad: dict[int, str] = {}
        for i, name in enumerate(self.optional):
            extras[:, i], reasons = _parse_extras(name, piece.columns[2 + i])
            bad = reasons | bad
        for row in sorted(bad):
            self._bad("unreadable column", piece.places[row], bad[row])
        if not bad:
            return piece, extras
        good = [row for row in range(len(extras)) if row not in bad]
        columns = [[column[row] for row in good] for column in piece.columns]
        return TextPiece([piece.places[row] for row in good], columns), extras[good]

    def _parse(self, piece: TextPiece, extras: NDArray[np.float64]) -> _Chunk:
        from metrics.generated_kernels import parse_generated

        road_fields, time_fields = _unwrapped(piece.columns[0]), piece.columns[1]
        roads, times = packed(road_fields), packed(time_fields)
        out = Packed.of_text(roads, times)
        unjoined = np.zeros(len(piece.places), dtype=np.int64)
        used = parse_generated(roads, times, Reach.of(self.network), out, unjoined)
        for row in np.flatnonzero(out.status).tolist():
            status, detail = int(out.status[row]), int(out.detail[row])
            reason = self._explain(status, detail, road_fields[row], time_fields[row])
            self._bad(reason[0], piece.places[row], reason[1])
        good = out.status == 0
        return _Chunk(
            out.road_ids[:used].copy(),
            out.times[:used].copy(),
            out.lengths[good],
            unjoined[good],
            extras[good],
        )

    def _explain(self, status: int, detail: int, roads: str, times: str) -> tuple[str, str]:
        """The kind of a bad row, and the reason in words."""
        from data import trip_kernels as kernels

        if status == kernels.BAD_ROAD_FIELD:
            found = excerpt(roads, detail)
            reason = f'gene_trace_road_id is no list of road ids like "[1, 2]" (at {found}).'
            return "unparsable road", reason
        if status == kernels.BAD_TIME_FIELD:
            found = excerpt(times, detail)
            return "unparsable time", (
                "gene_trace_datetime is no list of times like \"['2015-11-05T23:29:48Z']\" "
                f"(at {found})."
            )
        if status == kernels.TOO_SHORT:
            return "empty", "the trip is empty; it needs at least one road."
        return explain_steps(status, detail, self.network.num_roads)


def _parse_extras(name: str, column: TextColumn) -> tuple[NDArray[np.float64], dict[int, str]]:
    """An optional column as numbers, and why which rows are none."""
    values = np.full(len(column), np.nan)
    if not isinstance(column, list):
        values = _parsed_by_polars(name, column)
    reasons = {}
    is_number = np.isfinite(values)
    odd = ~is_number
    if name == "destination":
        odd[is_number] = values[is_number] % 1 != 0
    for row in np.flatnonzero(odd).tolist():  # infinity is a number, too
        try:
            values[row] = _parse_extra(name, column[row])
        except ValueError as error:
            reasons[row] = str(error)
    return values, reasons


def _parsed_by_polars(name: str, column: pl.Series) -> NDArray[np.float64]:
    """What is written plainly; NaN where `_parse_extra` has to decide."""
    import polars as pl

    text = column.str.strip_chars()
    if name == "reached":
        written = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}
        text = text.str.to_lowercase().replace_strict(written, default=None)
    return text.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy().copy()


def _parse_extra(name: str, text: str) -> float:
    """One value of an optional column as a number; a `ValueError` says what is wrong."""
    text = text.strip()
    if name == "reached":
        if text.lower() in ("true", "1"):
            return 1.0
        if text.lower() in ("false", "0"):
            return 0.0
        raise ValueError(f"reached is {text[:40]!r}; expected True or False.")
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text[:40]!r}, no number.") from error
    if math.isnan(value) or (name == "destination" and not value.is_integer()):
        raise ValueError(f"{name} is {text[:40]!r}, which it cannot be.")
    return value


def _unwrapped(column: TextColumn) -> TextColumn:
    """Some published files hold "[np.int64(3), …]" instead of "[3, …]"."""
    if not isinstance(column, list):
        if not column.str.contains(_WRAPPED_INTEGER, literal=True).any():
            return column
        column = column.to_list()
    return [
        roads.replace(_WRAPPED_INTEGER, "").replace(")", "") if _WRAPPED_INTEGER in roads else roads
        for roads in column
    ]
