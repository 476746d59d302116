"""Generated trips read from CSV; a bad row stops with file, line and reason, or is counted.

Written by `gene.py`, or by the original program: then only the roads and times are there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.choices import OnBadRows
from data.csv_reading import read_columns, read_header
from data.generation_record import check_record
from data.road_network import RoadNetwork
from data.trip_csv import BadRows, excerpt, pack_text
from metrics.trips import Trips
from runtime.errors import UserError

REQUIRED = ["gene_trace_road_id", "gene_trace_datetime"]
OPTIONAL = ["destination", "reached", "log_prob", "seconds"]
ROWS_PER_CHUNK = 8192
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
class _Row:
    """A row as text, and its optional columns as numbers."""

    line: int
    roads: str
    times: str
    extras: list[float]


@dataclass(frozen=True)
class _Chunk:
    road_ids: NDArray[np.int32]
    times: NDArray[np.int64]
    lengths: NDArray[np.int64]
    unjoined: NDArray[np.int64]
    extras: NDArray[np.float64]  # [n, number of optional columns there are]


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
        rows: list[_Row] = []
        for line, fields in read_columns(self.path, REQUIRED, self.optional):
            try:
                named = zip(self.optional, fields[2:], strict=True)
                extras = [_parse_extra(name, text) for name, text in named]
            except ValueError as error:
                self._bad("unreadable column", line, str(error))
                continue
            rows.append(_Row(line, _unwrap(fields[0]), fields[1], extras))
            if len(rows) == ROWS_PER_CHUNK:
                yield self._parse(rows)
                rows = []
        if rows:
            yield self._parse(rows)

    def _bad(self, kind: str, line: int, reason: str) -> None:
        message = f"{self.path}:{line}: {reason}"
        if self.on_bad_rows == "error":
            raise UserError(message)
        self.bad_rows.add(kind, message)

    def _parse(self, rows: list[_Row]) -> _Chunk:
        from metrics.generated_kernels import OK, parse_generated

        network = self.network
        road_text, road_offsets = pack_text([row.roads for row in rows])
        time_text, time_offsets = pack_text([row.times for row in rows])
        commas = np.count_nonzero(road_text == 44) + np.count_nonzero(time_text == 44)
        # A row holds at most one value more than separators, on whichever side has more.
        capacity = int(commas) + 2 * len(rows)
        road_ids = np.empty(capacity, dtype=np.int32)
        times = np.empty(capacity, dtype=np.int64)
        lengths = np.empty(len(rows), dtype=np.int64)
        unjoined = np.empty(len(rows), dtype=np.int64)
        status = np.empty(len(rows), dtype=np.int8)
        detail = np.empty(len(rows), dtype=np.int64)
        used = parse_generated(
            road_text,
            road_offsets,
            time_text,
            time_offsets,
            network.num_roads,
            network.reach_offsets,
            network.reach_targets,
            road_ids,
            times,
            lengths,
            unjoined,
            status,
            detail,
        )
        for i in np.flatnonzero(status != OK):
            kind, reason = _explain(int(status[i]), int(detail[i]), rows[i], network.num_roads)
            self._bad(kind, rows[i].line, reason)
        good = status == OK
        extras = np.array([row.extras for row in rows], dtype=np.float64)
        return _Chunk(
            road_ids[:used].copy(),
            times[:used].copy(),
            lengths[good],
            unjoined[good],
            extras.reshape(len(rows), len(self.optional))[good],
        )


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


def _unwrap(roads: str) -> str:
    """Some published files hold "[np.int64(3), …]" instead of "[3, …]"."""
    if _WRAPPED_INTEGER in roads:
        return roads.replace(_WRAPPED_INTEGER, "").replace(")", "")
    return roads


def _explain(status: int, detail: int, row: _Row, num_roads: int) -> tuple[str, str]:
    """The kind of a bad row, and the reason in words."""
    from metrics import generated_kernels as kernels

    if status == kernels.BAD_ROADS:
        found = excerpt(row.roads, detail)
        reason = f'gene_trace_road_id is no list of road ids like "[1, 2]" (at {found}).'
        return "unparsable road", reason
    if status == kernels.BAD_TIMES:
        found = excerpt(row.times, detail)
        return "unparsable time", (
            "gene_trace_datetime is no list of times like \"['2015-11-05T23:29:48Z']\" "
            f"(at {found})."
        )
    if status == kernels.COUNTS_DIFFER:
        counts = f"there are {detail & 0xFFFFFFFF} roads but {detail >> 32} times."
        return "counts differ", counts
    if status == kernels.UNKNOWN_ROAD:
        reason = f"road {detail} is unknown; the network has 0 to {num_roads - 1}."
        return "unknown road", reason
    if status == kernels.TIME_BACKWARDS:
        return "time runs backwards", f"time {detail + 1} is before time {detail}."
    return "empty", "the trip is empty; it needs at least one road."
