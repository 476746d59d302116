"""Reading the files of a road network: `roadmap.geo`, `roadmap.rel`, partition, zone counts.

Only text to arrays, with every field checked; what the arrays mean is `data.road_network`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.csv_reading import read_columns
from runtime.errors import UserError
from runtime.logs import get_logger
from runtime.names import refuse_idle_pipe

logger = get_logger("data")

MAX_LENGTH_M = 1e7  # a quarter of the way around the earth
MAX_ZONES = 10_000  # a matrix over all pairs of zones must fit into memory

_LIST_ENTRY = re.compile(r"'([^']*)'|\"([^\"]*)\"|([^,\[\]'\"\s][^,\[\]'\"]*)")


@dataclass(frozen=True)
class RoadTable:
    """The rows of `roadmap.geo`: polylines, types and lengths."""

    vertex_offsets: NDArray[np.int64]  # [R + 1]
    vertex_lon: NDArray[np.float64]  # [V]
    vertex_lat: NDArray[np.float64]  # [V]
    highway: list[str]
    length_m: NDArray[np.float64]  # [R]

    @property
    def num_roads(self) -> int:
        """The number of roads."""
        return len(self.highway)


def read_roads(path: Path) -> RoadTable:
    """Reads `roadmap.geo`; the row order is the road id."""
    flat: list[float] = []
    counts: list[int] = []
    highway: list[str] = []
    lengths: list[float] = []
    renumbered = False
    columns = ["coordinates", "highway", "length"]
    for line, (coordinates, kind, length, geo_id) in read_columns(path, columns, ["geo_id"]):
        where = f"{path}:{line}"
        vertices = _parse_coordinates(coordinates, where)
        for point in vertices:
            flat.extend(point)
        counts.append(len(vertices))
        renumbered |= geo_id not in ("", str(len(highway)))
        highway.append(parse_highway(kind))
        lengths.append(_parse_length(length, where))
    if not counts:
        raise UserError(f"{path} has no roads.")
    if renumbered:
        logger.warning("%s: geo_id differs from the row order; the row order counts.", path)
    points = np.array(flat, dtype=np.float64).reshape(-1, 2)
    bad = ~(np.isfinite(points).all(axis=1) & (np.abs(points) <= [180.0, 90.0]).all(axis=1))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if bad.any():
        vertex = int(np.flatnonzero(bad)[0])
        road = int(np.searchsorted(offsets, vertex, side="right")) - 1
        lon, lat = points[vertex]
        raise UserError(
            f"{path}: road {road} has the vertex [{lon}, {lat}], which is no [longitude, "
            "latitude] in degrees."
        )
    return RoadTable(
        vertex_offsets=offsets,
        vertex_lon=np.ascontiguousarray(points[:, 0]),
        vertex_lat=np.ascontiguousarray(points[:, 1]),
        highway=highway,
        length_m=np.array(lengths, dtype=np.float64),
    )


def _parse_coordinates(text: str, where: str) -> list[list[float]]:
    try:
        vertices = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: coordinates are not a JSON list of [lon, lat].") from error
    well_formed = isinstance(vertices, list) and all(
        isinstance(vertex, list)
        and len(vertex) == 2
        and type(vertex[0]) in (float, int)
        and type(vertex[1]) in (float, int)
        and abs(vertex[0]) <= 1e6
        and abs(vertex[1]) <= 1e6
        for vertex in vertices
    )
    if not well_formed:
        raise UserError(f"{where}: coordinates are not a JSON list of [lon, lat].")
    if len(vertices) < 2:
        raise UserError(f"{where}: coordinates have {len(vertices)} vertices; a road needs two.")
    return vertices


def _parse_length(text: str, where: str) -> float:
    try:
        length = float(text)
    except ValueError as error:
        raise UserError(f"{where}: length {text[:40]!r} is not a number of metres.") from error
    if not 0 <= length <= MAX_LENGTH_M:  # also where it is no number at all
        raise UserError(
            f"{where}: length {text[:40]!r} is not a number of metres from 0 to {MAX_LENGTH_M:.0f}."
        )
    return length


def parse_highway(text: str) -> str:
    """A road's type; of a list the first entry, or the second where the first is unclassified."""
    text = text.strip()
    if not text.startswith("["):
        return text
    entries = [
        (single or double or bare).strip() for single, double, bare in _LIST_ENTRY.findall(text)
    ]
    if not entries:
        return text
    if entries[0] == "unclassified" and len(entries) > 1:
        return entries[1]
    return entries[0]


def read_rel(path: Path, num_roads: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Reads `roadmap.rel`: origins and destinations, in the file's order."""
    pairs: list[int] = []
    for line, fields in read_columns(path, ["origin_id", "destination_id"]):
        for text in fields:
            road = int(text) if text.isascii() and text.isdigit() and len(text) < 18 else -1
            if not 0 <= road < num_roads:
                raise UserError(
                    f"{path}:{line}: {text[:40]!r} is not a road; "
                    f"roadmap.geo has the roads 0 to {num_roads - 1}."
                )
            pairs.append(road)
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return np.ascontiguousarray(array[:, 0]), np.ascontiguousarray(array[:, 1])


def read_partition(path: Path, num_roads: int) -> NDArray[np.int64]:
    """Reads `road_network_partition`: one zone id a line, one line a road."""
    try:
        refuse_idle_pipe(path)
        if path.stat().st_size > 16 * num_roads + 16:
            raise UserError(f"{path} is too large for the zones of {num_roads} roads.")
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    if len(lines) != num_roads:
        raise UserError(
            f"{path} has {len(lines)} zone ids, but there are {num_roads} roads; delete it to "
            "have it made anew."
        )
    for number, text in enumerate(lines, start=1):
        zone = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not 0 <= zone < MAX_ZONES:
            raise UserError(
                f"{path}:{number}: {text[:40]!r} is not a zone id (0 to {MAX_ZONES - 1})."
            )
    return np.array([int(text) for text in lines], dtype=np.int64)


def read_zone_counts(path: Path) -> NDArray[np.float64]:
    """Reads `zone_trans_mat.npy`: a square matrix of counts."""
    try:
        refuse_idle_pipe(path)
        with path.open("rb") as file:
            counts = np.load(file, allow_pickle=False)
            if file.read(1):
                raise ValueError("there is more in the file than its header says")
    except Exception as error:  # a damaged header can raise anything
        raise UserError(
            f"{path} is not a readable NumPy array ({type(error).__name__}); delete it to have "
            "it made anew."
        ) from error
    square = isinstance(counts, np.ndarray) and counts.ndim == 2 and len(set(counts.shape)) == 1
    if not square or counts.size == 0 or counts.dtype.kind not in "iuf":
        raise UserError(f"{path} is not a square matrix of counts.")
    counts = counts.astype(np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise UserError(f"{path} has counts that are negative or not finite.")
    return counts
