"""What comes of a piece, as a file: its trips, its counts, and a few trips for the map."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.match.records import Records
from runtime.files import replace_atomically

if TYPE_CHECKING:
    from data.match.legs import Trips
    from data.match.network import MatchNetwork
    from data.match.piece_work import PieceResult

LENGTH_EDGES_KM = np.array([0, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 1e9])
_SHOWN_TRIPS = 24
_SHOWN_POINTS = 400


@dataclass(frozen=True)
class PieceFile:
    """The file of a matched piece."""

    folder: Path
    piece: int

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.folder / f"trips-{self.piece:04d}.npz"

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Its arrays by name, read when asked for."""
        with np.load(self.path, allow_pickle=False) as arrays:
            yield arrays


@dataclass(frozen=True)
class Sample:
    """A few trips to look at: lines along the roads, and the points they were made from."""

    lines: list[list[tuple[float, float]]] = field(default_factory=list)
    points: list[list[tuple[float, float]]] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str) -> Sample:
        """What `asdict` and JSON made of one."""
        return cls(**json.loads(text))


def is_whole(file: PieceFile) -> bool:
    """Whether the piece was matched before, and is not damaged."""
    try:
        with zipfile.ZipFile(file.path) as parts:
            return parts.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error):
        return False


def write_piece(file: PieceFile, result: PieceResult, sample: Sample) -> None:
    """Writes the piece's results, atomically."""
    trips = result.trips
    lengths, _ = np.histogram(trips.length_m / 1000.0, LENGTH_EDGES_KM)
    arrays: dict[str, Any] = {
        "vehicle": trips.vehicle,
        "offsets": trips.offsets,
        "roads": trips.roads,
        "entry_s": trips.entry_s,
        "distances": result.distances,
        "length_histogram": lengths,
        "counts": _bytes(json.dumps(result.counts)),
        "sample": _bytes(json.dumps(asdict(sample))),
    }
    if result.places is not None:
        arrays |= {f"point_{name}": value for name, value in vars(result.places).items()}
    with replace_atomically(file.path) as temporary, temporary.open("wb") as out:
        np.savez(out, **arrays)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def draw_sample(records: Records, trips: Trips, network: MatchNetwork) -> Sample:
    """Trips spread over the piece, with the raw points of their vehicles and times."""
    from data.match.network import METRES_PER_DEGREE

    sample = Sample()
    roads = network.roads
    for trip in np.unique(np.linspace(0, len(trips) - 1, _SHOWN_TRIPS).astype(int)).tolist():
        if not len(trips):
            break
        steps = slice(trips.offsets[trip], trips.offsets[trip + 1])
        line: list[tuple[float, float]] = []
        for road in trips.roads[steps].tolist():
            vertices = slice(roads.vertex_offsets[road], roads.vertex_offsets[road + 1])
            lon, lat = roads.x[vertices], roads.y[vertices]
            line += zip(
                (lon / METRES_PER_DEGREE).round(6).tolist(),
                (lat / METRES_PER_DEGREE).round(6).tolist(),
            )
        begin, end = trips.entry_s[steps][0], trips.entry_s[steps][-1]
        of_trip = (
            (records["vehicle"] == trips.vehicle[trip])
            & (records["time_s"] >= begin - 1)
            & (records["time_s"] <= end + 60)
        )
        near = records[of_trip][:_SHOWN_POINTS]
        sample.lines.append(line)
        sample.points.append(list(zip(near["lon"].tolist(), near["lat"].tolist())))
    return sample
