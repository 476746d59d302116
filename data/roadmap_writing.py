"""Writing the files of a road network, `roadmap.geo` and `roadmap.rel`, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.files import replace_atomically

GEO_COLUMNS = (
    *("geo_id", "type", "coordinates", "highway", "lanes", "tunnel", "bridge", "roundabout"),
    *("oneway", "length", "maxspeed", "u", "v"),
)
REL_COLUMNS = ("rel_id", "type", "origin_id", "destination_id")
_ROWS_PER_WRITE = 20_000


@dataclass(frozen=True)
class RoadRows:
    """R directed roads with every column of `roadmap.geo`, and E pairs of `roadmap.rel`."""

    vertex_offsets: NDArray[np.int64]  # [R + 1]
    vertex_lon: NDArray[np.float64]  # [V]
    vertex_lat: NDArray[np.float64]  # [V]
    highway: list[str]
    lanes: NDArray[np.int64]  # [R]
    tunnel: NDArray[np.bool_]  # [R]
    bridge: NDArray[np.bool_]  # [R]
    roundabout: NDArray[np.bool_]  # [R]
    oneway: NDArray[np.bool_]  # [R]
    length_m: NDArray[np.float64]  # [R]
    maxspeed_kmh: NDArray[np.float64]  # [R] 0 where nobody knows
    from_node: NDArray[np.int64]  # [R]
    to_node: NDArray[np.int64]  # [R]
    origin: NDArray[np.int64]  # [E]
    target: NDArray[np.int64]  # [E]

    @property
    def num_roads(self) -> int:
        """The number of directed roads."""
        return len(self.highway)


def write_road_rows(folder: Path, rows: RoadRows) -> None:
    """Writes both files; they take the place of old ones together.

    The old roadmap.geo goes first and the new one comes last, so that a kill in between leaves
    half a network, which nothing reads, and never the halves of two.
    """
    with (
        replace_atomically(folder / "roadmap.geo") as geo,
        replace_atomically(folder / "roadmap.rel") as rel,
    ):
        with geo.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(GEO_COLUMNS)
            for first in range(0, rows.num_roads, _ROWS_PER_WRITE):
                writer.writerows(_geo_rows(rows, first, first + _ROWS_PER_WRITE))
        with rel.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(REL_COLUMNS) + "\n")
            pairs = zip(rows.origin.tolist(), rows.target.tolist())
            file.writelines(f"{number},geo,{a},{b}\n" for number, (a, b) in enumerate(pairs))
        (folder / "roadmap.geo").unlink(missing_ok=True)


def _geo_rows(rows: RoadRows, first: int, stop: int) -> Iterable[tuple[object, ...]]:
    piece = slice(first, min(stop, rows.num_roads))
    offsets = rows.vertex_offsets[first : piece.stop + 1]
    vertices = slice(int(offsets[0]), int(offsets[-1]))
    points = np.stack([rows.vertex_lon[vertices], rows.vertex_lat[vertices]], axis=1).tolist()
    bounds = (offsets - offsets[0]).tolist()
    flags = (rows.tunnel, rows.bridge, rows.roundabout, rows.oneway)
    return zip(
        range(first, piece.stop),
        ["LineString"] * (piece.stop - first),
        [json.dumps(points[start:end]) for start, end in pairwise(bounds)],
        rows.highway[piece],
        rows.lanes[piece].tolist(),
        *(flag[piece].astype(int).tolist() for flag in flags),
        rows.length_m[piece].tolist(),
        rows.maxspeed_kmh[piece].tolist(),
        rows.from_node[piece].tolist(),
        rows.to_node[piece].tolist(),
    )
