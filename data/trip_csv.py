"""Reading trips from CSV or Parquet: every row checked against the format and the road network.

Bad rows are errors that name file, line and reason, or are skipped and counted, as the caller
decides. Caching what was read is `data.trip_cache`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from config.choices import OnBadRows
from data.csv_reading import read_columns
from data.road_network import RoadNetwork
from runtime.errors import UserError
from runtime.logs import get_logger

if TYPE_CHECKING:
    from data.trip_parquet import ListPiece

logger = get_logger("data")

ROWS_PER_CHUNK = 8192
TIME_FORMAT = "2015-11-05T23:29:48Z"
SHOWN_BAD_ROWS = 5
FIRST_PARQUET_ROW = 1  # its rows are numbered from 1 in messages


@dataclass(frozen=True)
class TripChunk:
    """Good trips of a piece of the file, packed: `lengths` delimits `road_ids` and `times`."""

    road_ids: NDArray[np.int32]  # [S]
    times: NDArray[np.int64]  # [S], seconds since 1970
    lengths: NDArray[np.int32]  # [n]


class Place(NamedTuple):
    """Where a trip stands: which data row it is, from 0, and the line or row that messages name."""

    number: int
    line: int


@dataclass
class BadRows:
    """What was skipped and why; `rows` are numbers of data rows, from 0."""

    total: int = 0
    rows: list[int] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, message: str, row: int | None = None) -> None:
        """Counts one bad row and keeps the first few messages."""
        self.total += 1
        if row is not None:
            self.rows.append(row)
        self.reasons[kind] += 1
        if len(self.examples) < SHOWN_BAD_ROWS:
            self.examples.append(message)

    def log(self, path: Path) -> None:
        """Says how many rows were dropped, by reason."""
        if not self.total:
            return
        counts = ", ".join(f"{count} × {kind}" for kind, count in self.reasons.most_common())
        logger.warning("%s: skipped %d bad rows (%s).", path, self.total, counts)
        for example in self.examples:
            logger.warning("Skipped: %s", example)


def read_trips(
    path: Path, network: RoadNetwork, on_bad_rows: OnBadRows, bad_rows: BadRows | None = None
) -> Iterator[TripChunk]:
    """Yields the trips of a CSV or Parquet file in chunks of bounded size, in the file's order."""
    if on_bad_rows not in ("error", "skip"):
        raise UserError(f"data.on_bad_rows is {on_bad_rows!r}; allowed: 'error' or 'skip'.")
    if not path.exists():
        raise UserError(f"{path} does not exist; it was expected to hold trips.")
    bad_rows = bad_rows if bad_rows is not None else BadRows()
    parser = RowParser(network, path, on_bad_rows, bad_rows)
    if path.suffix == ".parquet":
        yield from _parquet_chunks(path, parser)
        return
    numbers = itertools.count()

    def skip(line: int, problem: str) -> None:
        parser.refuse(Place(next(numbers), line), "wrong number of fields", problem)

    places: list[Place] = []
    roads: list[str] = []
    times: list[str] = []
    for line, (rid_list, time_list) in read_columns(
        path, ["rid_list", "time_list"], on_wrong_count=skip
    ):
        places.append(Place(next(numbers), line))
        roads.append(rid_list)
        times.append(time_list)
        if len(places) == ROWS_PER_CHUNK:
            yield parser.parse(places, roads, times)
            places, roads, times = [], [], []
    if places:
        yield parser.parse(places, roads, times)


def _parquet_chunks(path: Path, parser: RowParser) -> Iterator[TripChunk]:
    from data.trip_parquet import ListPiece, read_pieces

    for piece in read_pieces(path, ROWS_PER_CHUNK):
        if isinstance(piece, ListPiece):
            yield parser.check(piece)
        else:
            numbers = range(piece.first_row, piece.first_row + len(piece.roads))
            yield parser.parse([_in_parquet(n) for n in numbers], piece.roads, piece.times)


def _in_parquet(number: int) -> Place:
    return Place(number - FIRST_PARQUET_ROW, number)


class RowParser:
    """Turns rows into packed trips, checking them against a road network."""

    def __init__(
        self, network: RoadNetwork, path: Path, on_bad_rows: OnBadRows, bad_rows: BadRows
    ) -> None:
        self.network = network
        self.path = path
        self.on_bad_rows = on_bad_rows
        self.bad_rows = bad_rows

    def parse(
        self, places: Sequence[Place], road_fields: list[str], time_fields: list[str]
    ) -> TripChunk:
        """Parses rows of text; a bad one raises or is counted."""
        from data.trip_kernels import OK, parse_rows

        road_text, road_offsets = pack_text(road_fields)
        time_text, time_offsets = pack_text(time_fields)
        separators = np.count_nonzero(road_text == 44), np.count_nonzero(time_text == 44)
        # A row's steps are at most its separators plus one, on whichever side has more.
        out = _Packed.empty(len(places), int(sum(separators)) + 2 * len(places))
        network = self.network
        used = parse_rows(
            road_text,
            road_offsets,
            time_text,
            time_offsets,
            network.num_roads,
            network.reach_offsets,
            network.reach_targets,
            out.road_ids,
            out.times,
            out.lengths,
            out.status,
            out.detail,
        )
        for row in np.flatnonzero(out.status != OK).tolist():
            status, detail = int(out.status[row]), int(out.detail[row])
            self.refuse(
                places[row], *self._explain(status, detail, road_fields[row], time_fields[row])
            )
        return out.good(used)

    def check(self, piece: ListPiece) -> TripChunk:
        """Checks rows of numbers; a bad one raises or is counted."""
        from data.trip_kernels import BAD_TIME_FIELD, OK, check_rows

        road_ends = np.cumsum(piece.road_counts)
        out = _Packed.empty(len(road_ends), max(len(piece.roads), len(piece.times)))
        network = self.network
        used = check_rows(
            piece.roads,
            piece.times,
            piece.road_counts,
            piece.time_counts,
            network.num_roads,
            network.reach_offsets,
            network.reach_targets,
            out.road_ids,
            out.times,
            out.lengths,
            out.status,
            out.detail,
        )
        for row in np.flatnonzero(out.status != OK).tolist():
            status, detail = int(out.status[row]), int(out.detail[row])
            if status == BAD_TIME_FIELD:
                reason = f"time {detail + 1} is missing, or not in the years 1970 to 9999."
                self.refuse(_in_parquet(piece.first_row + row), "unparsable time", reason)
                continue
            first = int(road_ends[row] - piece.road_counts[row])
            roads = ",".join(map(str, piece.roads[first : road_ends[row]].tolist()))
            self.refuse(
                _in_parquet(piece.first_row + row), *self._explain(status, detail, roads, "")
            )
        return out.good(used)

    def refuse(self, place: Place, kind: str, reason: str) -> None:
        """Raises because of a bad row, or counts it."""
        where = f": row {place.line}" if self.path.suffix == ".parquet" else f":{place.line}"
        message = f"{self.path}{where}: {reason}"
        if self.on_bad_rows == "error":
            raise UserError(f"{message} Mend the row, or set data.on_bad_rows to skip.")
        self.bad_rows.add(kind, message, place.number)

    def _explain(self, status: int, detail: int, roads: str, times: str) -> tuple[str, str]:
        """The kind of a bad row, and the reason in words."""
        from data import trip_kernels as kernels

        if status == kernels.BAD_ROAD_FIELD:
            found = excerpt(roads, detail)
            return "unparsable road", f"rid_list is no list of road ids (at {found})."
        if status == kernels.UNKNOWN_ROAD:
            last = self.network.num_roads - 1
            return "unknown road", f"road {detail} is unknown; the network has 0 to {last}."
        if status == kernels.BAD_TIME_FIELD:
            found = excerpt(times, detail)
            return "unparsable time", f"time_list is no list of times {TIME_FORMAT} (at {found})."
        if status == kernels.COUNTS_DIFFER:
            found_times, found_roads = detail >> 32, detail & 0xFFFFFFFF
            return "counts differ", f"there are {found_roads} roads but {found_times} times."
        if status == kernels.TIME_BACKWARDS:
            return "time runs backwards", f"time {detail + 1} is before time {detail}."
        if status == kernels.LASTS_TOO_LONG:
            return "impossible times", "the trip lasts longer than 68 years."
        if status == kernels.NOT_JOINED:
            pair = roads.strip(" []\t").split(",")
            first, second = pair[detail - 1].strip(), pair[detail].strip()
            return (
                "roads not joined",
                f"road {second} cannot be driven onto from road {first} (no row in roadmap.rel).",
            )
        return "too short", f"the trip has {detail} roads; it needs at least two."


@dataclass(frozen=True)
class _Packed:
    """Room for what the kernels write: packed trips, and what is wrong with each row."""

    road_ids: NDArray[np.int32]
    times: NDArray[np.int64]
    lengths: NDArray[np.int32]  # [n]
    status: NDArray[np.int8]  # [n]
    detail: NDArray[np.int64]  # [n]

    @classmethod
    def empty(cls, rows: int, steps: int) -> _Packed:
        return cls(
            road_ids=np.empty(steps, dtype=np.int32),
            times=np.empty(steps, dtype=np.int64),
            lengths=np.empty(rows, dtype=np.int32),
            status=np.empty(rows, dtype=np.int8),
            detail=np.zeros(rows, dtype=np.int64),
        )

    def good(self, used: int) -> TripChunk:
        """The good trips, which take `used` steps."""
        lengths = self.lengths[self.status == 0]
        return TripChunk(self.road_ids[:used].copy(), self.times[:used].copy(), lengths)


def excerpt(text: str, position: int) -> str:
    """What stands at a position of a field, for an error."""
    part = text[max(position, 0) : max(position, 0) + 24]
    return repr(part) if part.strip() else "the end of the field"


def pack_text(fields: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of many fields one after the other, and where each begins."""
    # Characters outside ASCII become one '?' each, so that positions stay positions.
    joined = "".join(fields).encode("ascii", "replace")
    lengths = np.fromiter(map(len, fields), dtype=np.int64, count=len(fields))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.frombuffer(joined, dtype=np.uint8), offsets
