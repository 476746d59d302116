"""Where trips begin and end, and when: drawn from a split's trips, or listed in a file.

A draw depends on the seed and the trip's number alone, so any part of a request can be generated
anywhere. Drawing a trip of the split and taking its ends gives pairs by their frequency.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.csv_reading import read_columns
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.errors import UserError
from runtime.files import sha256_of_arrays
from runtime.hashing import draw
from search.trips import TripRequests

REQUESTS_A_BLOCK = 4096
_COLUMNS = ["origin", "destination", "start"]
# Clock times of trips stay printable: years 1 to 9998.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_370_764_800


class ODSource(Protocol):
    """Requests by number: the same ones whenever they are asked for."""

    def __len__(self) -> int: ...

    def identity(self) -> dict[str, object]:
        """What the requests depend on, as plain data."""

    def requests(self, begin: int, end: int) -> Iterator[TripRequests]:
        """The requests begin:end, in blocks."""


class SampledOD:
    """`count` pairs drawn by their frequency in a split, with start times of its trips."""

    def __init__(self, dataset: TripDataset, count: int, seed: int) -> None:
        self.dataset, self.count, self.seed = dataset, count, seed

    def __len__(self) -> int:
        return self.count

    def identity(self) -> dict[str, object]:
        """Seed and split."""
        return {
            "od_source": self.dataset.split,
            "trips": self.dataset.content_hash,
            "seed": self.seed,
        }

    def requests(self, begin: int, end: int) -> Iterator[TripRequests]:
        """The requests begin:end, drawn as they are needed."""
        data = self.dataset
        for first in range(begin, end, REQUESTS_A_BLOCK):
            numbers = np.arange(first, min(first + REQUESTS_A_BLOCK, end))
            trip = draw(self.seed, numbers, len(data))
            yield TripRequests(
                first=first,
                origin=data.road_ids[data.offsets[trip]].astype(np.int64),
                destination=data.road_ids[data.offsets[trip + 1] - 1].astype(np.int64),
                start=np.asarray(data.starts[trip], dtype=np.int64),
            )


class ListedOD:
    """The pairs of a CSV file, in its order."""

    def __init__(
        self,
        origin: NDArray[np.int32],
        destination: NDArray[np.int32],
        start: NDArray[np.int64],
    ) -> None:
        self.origin, self.destination, self.start = origin, destination, start

    @classmethod
    def read(cls, path: str | Path, network: RoadNetwork, count: int | None) -> ListedOD:
        """The first `count` rows (all, where it is None); a bad one is a `UserError`."""
        path = Path(path)
        if not path.is_file():
            raise UserError(f"The OD file {path} does not exist; give a CSV file with --od_file.")
        roads: list[NDArray[np.int32]] = []
        starts: list[NDArray[np.int64]] = []
        rows: list[tuple[int, int, int]] = []
        for number, (line, fields) in enumerate(read_columns(path, _COLUMNS)):
            if number == count:
                break
            where = f"{path}:{line}"
            origin = _road(where, "origin", fields[0], network.num_roads)
            destination = _road(where, "destination", fields[1], network.num_roads)
            rows.append((origin, destination, parse_time(where, fields[2])))
            if len(rows) == REQUESTS_A_BLOCK:
                _flush(rows, roads, starts)
        _flush(rows, roads, starts)
        both = np.concatenate(roads, axis=1)
        start = np.concatenate(starts)
        if not len(start):
            raise UserError(f"{path} has no rows; expected origin,destination,start.")
        if count is not None and len(start) < count:
            raise UserError(f"{path} has {len(start)} rows, --num_gene asks for {count}.")
        return cls(both[0], both[1], start)

    def __len__(self) -> int:
        return len(self.start)

    def identity(self) -> dict[str, object]:
        """The file's content."""
        digest = sha256_of_arrays(self.origin, self.destination, self.start)
        return {"od_source": "file", "od_file": digest}

    def requests(self, begin: int, end: int) -> Iterator[TripRequests]:
        """The requests begin:end."""
        for first in range(begin, end, REQUESTS_A_BLOCK):
            rows = slice(first, min(first + REQUESTS_A_BLOCK, end))
            yield TripRequests(
                first=first,
                origin=self.origin[rows].astype(np.int64),
                destination=self.destination[rows].astype(np.int64),
                start=self.start[rows],
            )


class RepeatedOD:
    """Every pair of another source several times, one after the other."""

    def __init__(self, source: ODSource, times: int) -> None:
        self.source, self.times = source, times

    def __len__(self) -> int:
        return len(self.source) * self.times

    def identity(self) -> dict[str, object]:
        """The other source's, and how often."""
        return {**self.source.identity(), "routes_per_od": self.times}

    def requests(self, begin: int, end: int) -> Iterator[TripRequests]:
        """The requests begin:end."""
        number = begin
        for block in self.source.requests(begin // self.times, -(-end // self.times)):
            last = min((block.first + len(block)) * self.times, end)
            pair = np.arange(number, last) // self.times - block.first
            yield TripRequests(
                number, block.origin[pair], block.destination[pair], block.start[pair]
            )
            number = last


def parse_time(where: str, text: str) -> int:
    """Seconds since 1970 of an ISO time, whose zone is dropped.

    Trips are wall time, whatever zone is written after it: 08:00 is the morning.
    """
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UserError(
            f"{where}: start is {text[:40]!r}; expected a time such as 2015-11-05T23:29:48Z."
        ) from error
    parsed = parsed.replace(tzinfo=UTC)
    seconds = int((parsed - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 1)
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise UserError(f"{where}: start is {text[:40]!r}; expected a year from 1 to 9998.")
    return seconds


def _road(where: str, name: str, text: str, num_roads: int) -> int:
    try:
        road = int(text)
    except ValueError as error:
        raise UserError(f"{where}: {name} is {text[:40]!r}, not a road id.") from error
    if not 0 <= road < num_roads:
        raise UserError(f"{where}: {name} is road {road}; the network has 0 to {num_roads - 1}.")
    return road


def _flush(
    rows: list[tuple[int, int, int]],
    roads: list[NDArray[np.int32]],
    starts: list[NDArray[np.int64]],
) -> None:
    block = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    roads.append(block[:2].astype(np.int32))
    starts.append(block[2].copy())
    rows.clear()
