"""Reading trips from CSV or Parquet: every row checked against the format and the road network.

Bad rows are errors that name file, line and reason, or are skipped and counted, as the caller
decides. Caching what was read is `data.trip_cache`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from config.choices import OnBadRows
from data.road_network import RoadNetwork
from data.text_rows import Place, TextPiece, packed, read_text
from data.trip_layout import Packed, Reach
from runtime.errors import UserError
from runtime.logs import get_logger

if TYPE_CHECKING:
    from data.trip_parquet import ListPiece

logger = get_logger("data")

ROWS_PER_CHUNK = 8192
TIME_FORMAT = "2015-11-05T23:29:48Z"
SHOWN_BAD_ROWS = 5


@dataclass(frozen=True)
class TripChunk:
    """Good trips of a piece of the file, packed: `lengths` delimits `road_ids` and `times`."""

    road_ids: NDArray[np.int32]  # [S]
    times: NDArray[np.int64]  # [S], seconds since 1970
    lengths: NDArray[np.int32]  # [n]


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

    def skip(place: Place, problem: str) -> None:
        parser.refuse(place, "wrong number of fields", problem)

    for piece in read_text(path, ["rid_list", "time_list"], on_wrong_count=skip):
        yield parser.parse(piece)


def _parquet_chunks(path: Path, parser: RowParser) -> Iterator[TripChunk]:
    from data.trip_parquet import read_pieces

    for piece in read_pieces(path, ROWS_PER_CHUNK):
        yield parser.parse(piece) if isinstance(piece, TextPiece) else parser.check(piece)


class RowParser:
    """Turns rows into packed trips, checking them against a road network."""

    def __init__(
        self, network: RoadNetwork, path: Path, on_bad_rows: OnBadRows, bad_rows: BadRows
    ) -> None:
        self.network = network
        self.path = path
        self.on_bad_rows = on_bad_rows
        self.bad_rows = bad_rows

    def parse(self, piece: TextPiece) -> TripChunk:
        """Parses rows of text; a bad one raises or is counted."""
        from data.trip_kernels import parse_rows

        road_fields, time_fields = piece.columns
        roads, times = packed(road_fields), packed(time_fields)
        out = Packed.of_text(roads, times)
        used = parse_rows(roads, times, Reach.of(self.network), out)
        for row in np.flatnonzero(out.status).tolist():
            status, detail = int(out.status[row]), int(out.detail[row])
            reason = self._explain(status, detail, road_fields[row], time_fields[row])
            self.refuse(piece.places[row], *reason)
        return _good(out, used)

    def check(self, piece: ListPiece) -> TripChunk:
        """Checks rows of numbers; a bad one raises or is counted."""
        from data.trip_kernels import BAD_TIME_FIELD, check_rows

        counts = piece.road_counts
        out = Packed.empty(len(counts), max(len(piece.roads), len(piece.times)))
        reach = Reach.of(self.network)
        used = check_rows(piece.roads, piece.times, counts, piece.time_counts, reach, out)
        ends = np.cumsum(counts)
        for row in np.flatnonzero(out.status).tolist():
            status, detail = int(out.status[row]), int(out.detail[row])
            if status == BAD_TIME_FIELD:
                text = f"time {detail + 1} is missing, or not in the years 1970 to 9999."
                reason = "unparsable time", text
            else:
                roads = ",".join(map(str, piece.roads[ends[row] - counts[row] : ends[row]]))
                reason = self._explain(status, detail, roads, "")
            self.refuse(piece.places[row], *reason)
        return _good(out, used)

    def refuse(self, place: Place, kind: str, reason: str) -> None:
        """Raises because of a bad row, or counts it."""
        where = f": row {place.line}" if self.path.suffix == ".parquet" else f":{place.line}"
        message = f"{self.path}{where}: {reason}"
        if self.on_bad_rows == "error":
            way_on = "set on_bad_rows (in a model's configuration data.on_bad_rows) to skip"
            raise UserError(f"{message} Mend the row, or {way_on}.")
        self.bad_rows.add(kind, message, place.number)

    def _explain(self, status: int, detail: int, roads: str, times: str) -> tuple[str, str]:
        """The kind of a bad row, and the reason in words."""
        from data import trip_kernels as kernels

        if status == kernels.BAD_ROAD_FIELD:
            found = excerpt(roads, detail)
            return "unparsable road", f"rid_list is no list of road ids (at {found})."
        if status == kernels.BAD_TIME_FIELD:
            found = excerpt(times, detail)
            return "unparsable time", f"time_list is no list of times {TIME_FORMAT} (at {found})."
        if status == kernels.LASTS_TOO_LONG:
            return "impossible times", "the trip lasts longer than 68 years."
        if status == kernels.NOT_JOINED:
            pair = roads.strip(" []\t").split(",")
            first, second = pair[detail - 1].strip(), pair[detail].strip()
            return (
                "roads not joined",
                f"road {second} cannot be driven onto from road {first} (no row in roadmap.rel).",
            )
        if status == kernels.TOO_SHORT:
            return "too short", f"the trip has {detail} roads; it needs at least two."
        return explain_steps(status, detail, self.network.num_roads)


def explain_steps(status: int, detail: int, num_roads: int) -> tuple[str, str]:
    """What is wrong with the steps of trips of every kind, and how it is said."""
    from data import trip_kernels as kernels

    if status == kernels.COUNTS_DIFFER:
        found_times, found_roads = detail >> 32, detail & 0xFFFFFFFF
        return "counts differ", f"there are {found_roads} roads but {found_times} times."
    if status == kernels.UNKNOWN_ROAD:
        return "unknown road", f"road {detail} is unknown; the network has 0 to {num_roads - 1}."
    assert status == kernels.TIME_BACKWARDS, status
    return "time runs backwards", f"time {detail + 1} is before time {detail}."


def _good(out: Packed, used: int) -> TripChunk:
    """The good trips, which take `used` steps."""
    lengths = out.lengths[out.status == 0]
    return TripChunk(out.road_ids[:used].copy(), out.times[:used].copy(), lengths)


def excerpt(text: str, position: int) -> str:
    """What stands at a position of a field, for an error."""
    part = text[max(position, 0) : max(position, 0) + 24]
    return repr(part) if part.strip() else "the end of the field"
