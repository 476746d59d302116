"""The file of generated trips: whole rows appended as they come, readable after any kill.

The first two columns are those of the original program; the others are ours. Not by polars, which
writes a file at a time: rows are appended as trips come, and searching for one takes far longer.
"""

from __future__ import annotations

import csv
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from runtime.errors import UserError
from runtime.files import writing_to
from search.od import ODSource
from search.trips import GeneratedTrip

COLUMNS = [
    "gene_trace_road_id",
    "gene_trace_datetime",
    "origin",
    "destination",
    "reached",
    "log_prob",
    "seconds",
]
HEADER = (",".join(COLUMNS) + "\n").encode()
_FLUSH_SECONDS = 1.0
ORPHAN_PATIENCE_S = 60.0  # for a process whose run was killed to notice and end
_FLUSH_BYTES = 1 << 20


@dataclass
class Tally:
    """Sums over generated trips."""

    trips: int = 0
    reached: int = 0
    roads: int = 0
    trip_seconds: int = 0
    log_prob: float = 0.0

    def add(self, other: Tally) -> None:
        """Adds another tally to this one."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


def tally_of(trip: GeneratedTrip) -> Tally:
    """The tally of one trip."""
    return Tally(1, int(trip.reached), len(trip.road_ids), trip.seconds, trip.log_prob)


def format_row(trip: GeneratedTrip) -> bytes:
    """The trip's line of the file."""
    roads = ", ".join(map(str, trip.road_ids.tolist()))
    clock = np.datetime_as_string(trip.times.astype("datetime64[s]")).tolist()
    times = "Z', '".join(clock)
    reached = "True" if trip.reached else "False"
    tail = f"{trip.origin},{trip.destination},{reached},{trip.log_prob:.4f},{trip.seconds}"
    return f'"[{roads}]","[\'{times}Z\']",{tail}\n'.encode()


class TripWriter:
    """Appends trips to a file that no other process may write at the same time.

    Rows reach the disk's cache at least every second and always whole, unless the process is
    killed within the write; such a torn row is cut off when the file is opened again.
    """

    def __init__(
        self, path: Path, *, append: bool, header: bool = True, patience_s: float = 0.0
    ) -> None:
        self.path, self.header = path, header
        with writing_to(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if not self._lock(patience_s):
            os.close(self._descriptor)
            raise UserError(
                f"{path} is being written by another run; wait for it or choose another --output."
            )
        if not append:
            os.ftruncate(self._descriptor, 0)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._last_flush = time.monotonic()

    def _lock(self, patience_s: float) -> bool:
        """Whether the file is ours now; waits at most `patience_s` for another process."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.05)

    def existing_rows(self, source: ODSource, first: int) -> Tally:
        """Cuts off a torn last row, checks all others and goes to the end of the file.

        The rows must be those of the requests from number `first` on.
        """
        tally = Tally()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        end = 0
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            expected = _expected(source, first)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                if end or not self.header:
                    row = parse_row(self.path, line, tally.trips + 1)
                    _check_pair(self.path, row, next(expected, None), tally.trips + 1)
                    tally.add(row.tally)
                elif line != HEADER:
                    raise UserError(f"{self.path} is not a file of generated trips; remove it.")
                end += len(line)
        with writing_to(self.path):
            os.ftruncate(self._descriptor, end)
        os.lseek(self._descriptor, end, os.SEEK_SET)
        return tally

    def begin(self) -> None:
        """Writes the header where the file is empty."""
        if self.header and os.fstat(self._descriptor).st_size == 0:
            self._waiting.append(HEADER)
            self.flush()

    def add(self, row: bytes) -> bool:
        """Adds a row; True when the rows so far have been written."""
        self._waiting.append(row)
        self._waiting_bytes += len(row)
        late = time.monotonic() - self._last_flush > _FLUSH_SECONDS
        if late or self._waiting_bytes > _FLUSH_BYTES:
            self.flush()
            return True
        return False

    def flush(self) -> None:
        """Writes the rows that wait."""
        data = memoryview(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        self._last_flush = time.monotonic()
        with writing_to(self.path):
            while len(data):
                data = data[os.write(self._descriptor, data) :]

    def sync(self) -> None:
        """Writes what waits and makes sure that it is on the disk."""
        self.flush()
        with writing_to(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Ends the writing; all rows are on the disk."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> TripWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _expected(source: ODSource, first: int) -> Iterator[tuple[int, int]]:
    for block in source.requests(first, len(source)):
        yield from zip(block.origin.tolist(), block.destination.tolist(), strict=True)


@dataclass(frozen=True)
class Row:
    """What a finished row says."""

    pair: tuple[int, int]
    tally: Tally


_HINT = "it cannot be resumed; choose another --output, or leave out --resume to start over"


def parse_row(path: Path, line: bytes, number: int) -> Row:
    """Reads row `number` (from 1) of a file of generated trips."""
    try:
        (fields,) = csv.reader([line.decode()])
        roads, _, origin, destination, reached, log_prob, seconds = fields
        pair = int(origin), int(destination)
        num_roads = roads.count(",") + 1
        tally = Tally(1, int(reached == "True"), num_roads, int(seconds), float(log_prob))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: row {number} is damaged; {_HINT}.") from error
    return Row(pair, tally)


def _check_pair(path: Path, row: Row, pair: tuple[int, int] | None, number: int) -> None:
    if pair is None:
        raise UserError(f"{path} has more rows than trips were asked for; {_HINT}.")
    if row.pair != pair:
        found, asked = (f"from {p[0]} to {p[1]}" for p in (row.pair, pair))
        raise UserError(f"{path}: row {number} goes {found}, not {asked}; {_HINT}.")
