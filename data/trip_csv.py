"""Reading trips from CSV: every row checked against the format and the road network.

Bad rows are errors that name file, line and reason, or are skipped and counted, as the caller
decides. Caching what was read is `data.trip_cache`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.choices import OnBadRows
from data.csv_reading import read_columns
from data.road_network import RoadNetwork
from runtime.errors import UserError
from runtime.logs import get_logger

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
    """What was skipped and why."""

    total: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, message: str) -> None:
        """Counts one bad row and keeps the first few messages."""
        self.total += 1
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
    """Yields the trips of a CSV file in chunks of bounded size, in the file's order."""
    if on_bad_rows not in ("error", "skip"):
        raise UserError(f"data.on_bad_rows is {on_bad_rows!r}; allowed: 'error' or 'skip'.")
    if not path.exists():
        raise UserError(
            f"{path} does not exist; a dataset folder holds train.csv, val.csv and test.csv."
        )
    bad_rows = bad_rows if bad_rows is not None else BadRows()
    parser = RowParser(network)
    lines: list[int] = []
    roads: list[str] = []
    times: list[str] = []
    for line, (rid_list, time_list) in read_columns(path, ["rid_list", "time_list"]):
        lines.append(line)
        roads.append(rid_list)
        times.append(time_list)
        if len(lines) == ROWS_PER_CHUNK:
            yield parser.parse(path, lines, roads, times, on_bad_rows, bad_rows)
            lines, roads, times = [], [], []
    if lines:
        yield parser.parse(path, lines, roads, times, on_bad_rows, bad_rows)


class RowParser:
    """Turns rows of text into packed trips, checking them against a road network."""

    def __init__(self, network: RoadNetwork) -> None:
        self.network = network

    def parse(
        self,
        path: Path,
        lines: list[int],
        road_fields: list[str],
        time_fields: list[str],
        on_bad_rows: OnBadRows,
        bad_rows: BadRows,
    ) -> TripChunk:
        """Parses rows; a bad one raises or is added to `bad_rows`."""
        from data.trip_kernels import OK, parse_rows

        road_text, road_offsets = _concatenate(road_fields)
        time_text, time_offsets = _concatenate(time_fields)
        separators = np.count_nonzero(road_text == 44), np.count_nonzero(time_text == 44)
        # A row's steps are at most its separators plus one, on whichever side has more.
        capacity = int(sum(separators)) + 2 * len(lines)
        road_ids = np.empty(capacity, dtype=np.int32)
        times = np.empty(capacity, dtype=np.int64)
        lengths = np.empty(len(lines), dtype=np.int32)
        status = np.empty(len(lines), dtype=np.int8)
        detail = np.zeros(len(lines), dtype=np.int64)
        used = parse_rows(
            road_text,
            road_offsets,
            time_text,
            time_offsets,
            self.network.num_roads,
            self.network.reach_offsets,
            self.network.reach_targets,
            road_ids,
            times,
            lengths,
            status,
            detail,
        )
        for row in np.flatnonzero(status != OK):
            kind, reason = self._explain(
                int(status[row]), int(detail[row]), road_fields[row], time_fields[row]
            )
            message = f"{path}:{lines[row]}: {reason}"
            if on_bad_rows == "error":
                raise UserError(f"{message} Mend the row, or set data.on_bad_rows to skip.")
            bad_rows.add(kind, message)
        return TripChunk(road_ids[:used].copy(), times[:used].copy(), lengths[status == OK])

    def _explain(self, status: int, detail: int, roads: str, times: str) -> tuple[str, str]:
        """The kind of a bad row, and the reason in words."""
        from data import trip_kernels as kernels

        if status == kernels.BAD_ROAD_FIELD:
            found = _excerpt(roads, detail)
            return "unparsable road", f"rid_list is no list of road ids (at {found})."
        if status == kernels.UNKNOWN_ROAD:
            last = self.network.num_roads - 1
            return "unknown road", f"road {detail} is unknown; the network has 0 to {last}."
        if status == kernels.BAD_TIME_FIELD:
            found = _excerpt(times, detail)
            return "unparsable time", f"time_list is no list of times {TIME_FORMAT} (at {found})."
        if status == kernels.COUNTS_DIFFER:
            found_times, found_roads = detail >> 32, detail & 0xFFFFFFFF
            return "counts differ", f"there are {found_roads} roads but {found_times} times."
        if status == kernels.TIME_BACKWARDS:
            return "time runs backwards", f"time {detail + 1} is before time {detail}."
        if status == kernels.NOT_JOINED:
            pair = roads.strip(" []\t").split(",")
            first, second = pair[detail - 1].strip(), pair[detail].strip()
            return (
                "roads not joined",
                f"road {second} cannot be driven onto from road {first} (no row in roadmap.rel).",
            )
        return "too short", f"the trip has {detail} roads; it needs at least two."


def _excerpt(text: str, position: int) -> str:
    part = text[max(position, 0) : max(position, 0) + 24]
    return repr(part) if part.strip() else "the end of the field"


def _concatenate(fields: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    # Characters outside ASCII become one '?' each, so that positions stay positions.
    joined = "".join(fields).encode("ascii", "replace")
    lengths = np.fromiter(map(len, fields), dtype=np.int64, count=len(fields))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.frombuffer(joined, dtype=np.uint8), offsets
