"""Generated trips read from CSV; anything wrong stops with file, line and reason.

Written by `gene.py`, or by the original program: then only the roads and times are there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.csv_reading import read_columns, read_header
from data.road_network import RoadNetwork
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

    def __len__(self) -> int:
        return len(self.trips)


@dataclass(frozen=True)
class _Chunk:
    road_ids: NDArray[np.int32]
    times: NDArray[np.int64]
    lengths: NDArray[np.int64]
    unjoined: NDArray[np.int64]


def read_generated(path: str | Path, network: RoadNetwork) -> GeneratedTrips:
    """Reads every row or raises `UserError` at the first bad one."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"The generated file {path} does not exist; make it with gene.py.")
    header = read_header(path)
    chunks: list[_Chunk] = []
    extras: dict[str, list[float]] = {name: [] for name in OPTIONAL if name in header}
    rows: list[tuple[int, str, str]] = []
    for line, fields in read_columns(path, REQUIRED, OPTIONAL):
        rows.append((line, fields[0], fields[1]))
        for name, text in zip(OPTIONAL, fields[2:], strict=True):
            if name in extras:
                extras[name].append(_parse_extra(path, line, name, text))
        if len(rows) == ROWS_PER_CHUNK:
            chunks.append(_parse_chunk(path, rows, network))
            rows = []
    if rows:
        chunks.append(_parse_chunk(path, rows, network))
    if not chunks:
        raise UserError(f"{path} has a header but no trips.")
    trips = Trips.from_lengths(
        np.concatenate([chunk.road_ids for chunk in chunks]),
        np.concatenate([chunk.times for chunk in chunks]),
        np.concatenate([chunk.lengths for chunk in chunks]),
    )
    columns = {name: np.array(values) for name, values in extras.items()}
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
    )


def _parse_extra(path: Path, line: int, name: str, text: str) -> float:
    """One value of an optional column as a number."""
    text = text.strip()
    if name == "reached":
        if text.lower() in ("true", "1"):
            return 1.0
        if text.lower() in ("false", "0"):
            return 0.0
        raise UserError(f"{path}:{line}: reached is {text[:40]!r}; expected True or False.")
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{path}:{line}: {name} is {text[:40]!r}, no number.") from error
    if math.isnan(value) or (name == "destination" and not value.is_integer()):
        raise UserError(f"{path}:{line}: {name} is {text[:40]!r}, which it cannot be.")
    return value


def _parse_chunk(path: Path, rows: list[tuple[int, str, str]], network: RoadNetwork) -> _Chunk:
    from metrics.generated_kernels import OK, parse_generated

    road_text, road_offsets = _concatenate([_unwrap(roads) for _, roads, _ in rows])
    time_text, time_offsets = _concatenate([times for _, _, times in rows])
    commas = np.count_nonzero(road_text == 44) + np.count_nonzero(time_text == 44)
    # A row holds at most one value more than separators, on whichever side has more.
    capacity = int(commas) + 2 * len(rows)
    road_ids = np.empty(capacity, dtype=np.int32)
    times = np.empty(capacity, dtype=np.int64)
    lengths = np.empty(len(rows), dtype=np.int64)
    unjoined = np.empty(len(rows), dtype=np.int64)
    status, row, detail = parse_generated(
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
    )
    if status != OK:
        line, roads, time_list = rows[row]
        reason = _explain(status, detail, _unwrap(roads), time_list, network.num_roads)
        raise UserError(f"{path}:{line}: {reason}")
    return _Chunk(road_ids[:detail].copy(), times[:detail].copy(), lengths, unjoined)


def _unwrap(roads: str) -> str:
    """Some published files hold "[np.int64(3), …]" instead of "[3, …]"."""
    if _WRAPPED_INTEGER in roads:
        return roads.replace(_WRAPPED_INTEGER, "").replace(")", "")
    return roads


def _concatenate(fields: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    # Characters outside ASCII become one '?' each, so that positions stay positions.
    text = np.frombuffer("".join(fields).encode("ascii", "replace"), dtype=np.uint8)
    lengths = np.fromiter(map(len, fields), dtype=np.int64, count=len(fields))
    return text, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _explain(status: int, detail: int, roads: str, times: str, num_roads: int) -> str:
    from metrics import generated_kernels as kernels

    if status == kernels.BAD_ROADS:
        found = _excerpt(roads, detail)
        return f'gene_trace_road_id is no list of road ids like "[1, 2]" (at {found}).'
    if status == kernels.BAD_TIMES:
        found = _excerpt(times, detail)
        return (
            "gene_trace_datetime is no list of times like \"['2015-11-05T23:29:48Z']\" "
            f"(at {found})."
        )
    if status == kernels.COUNTS_DIFFER:
        return f"there are {detail & 0xFFFFFFFF} roads but {detail >> 32} times."
    if status == kernels.UNKNOWN_ROAD:
        return f"road {detail} is unknown; the network has 0 to {num_roads - 1}."
    if status == kernels.TIME_BACKWARDS:
        return f"time {detail + 1} is before time {detail}."
    return "the trip is empty; it needs at least one road."


def _excerpt(text: str, position: int) -> str:
    part = text[max(position, 0) : max(position, 0) + 24]
    return repr(part) if part.strip() else "the end of the field"
