"""A road network made ready for matching: flat arrays, costs of turns, a grid over its streets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.csv_reading import read_columns
from data.geometry import EARTH_RADIUS_M
from data.match.arrays import Grid, Roads
from data.match.settings import TURN_M, UTURN_M
from data.roadmap_files import RoadTable, read_rel, read_roads
from runtime.errors import UserError
from runtime.files import sha256_of_arrays

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

METRES_PER_DEGREE = float(np.radians(1.0) * EARTH_RADIUS_M)
_CELL_M, _MAX_CELLS = 100.0, 4_000_000
_STRAIGHT_DEGREES, _BACK_DEGREES = 30.0, 170.0
_TYPICAL_KMH = {
    "motorway": 100.0,
    "trunk": 80.0,
    "primary": 50.0,
    "secondary": 45.0,
    "tertiary": 40.0,
    "residential": 30.0,
    "living_street": 15.0,
    "service": 15.0,
}
_OTHER_KMH = 35.0


@dataclass(frozen=True)
class MatchNetwork:
    """What the compiled loops need of a road network."""

    roads: Roads
    grid: Grid
    content_hash: str

    @property
    def num_roads(self) -> int:
        """The number of directed roads."""
        return len(self.roads.length_m)

    @classmethod
    def load(cls, folder: Path) -> MatchNetwork:
        """Reads `roadmap.geo` and `roadmap.rel`."""
        if not (folder / "roadmap.geo").is_file():
            raise UserError(
                f"{folder} has no roadmap.geo; make one from OpenStreetMap with: "
                f"python -m data.osm --pbf FILE --out {folder}"
            )
        table = read_roads(folder / "roadmap.geo")
        origin, destination = read_rel(folder / "roadmap.rel", table.num_roads)
        return cls.build(table, origin, destination, _speeds(folder / "roadmap.geo", table))

    @classmethod
    def build(
        cls, table: RoadTable, origin: IntArray, destination: IntArray, speed_kmh: FloatArray
    ) -> MatchNetwork:
        """The network of roads and the turns between them."""
        offsets = table.vertex_offsets
        lon, lat = table.vertex_lon, table.vertex_lat
        along = _along(offsets, lon, lat)
        length = along[offsets[1:] - 1]
        order = np.argsort(origin, kind="stable")
        reach = np.bincount(origin, minlength=table.num_roads)
        targets = destination[order].astype(np.int32)
        roads = Roads(
            vertex_offsets=offsets,
            x=lon * METRES_PER_DEGREE,
            y=lat * METRES_PER_DEGREE,
            along_m=along,
            length_m=length,
            start_x=lon[offsets[:-1]] * METRES_PER_DEGREE,
            start_y=lat[offsets[:-1]] * METRES_PER_DEGREE,
            free_s=np.maximum(length, 0.5) / (speed_kmh / 3.6),
            reach_offsets=np.concatenate([[0], np.cumsum(reach)]).astype(np.int64),
            reach_targets=targets,
            turn_m=_turn_costs(offsets, lon, lat, origin[order], targets),
            twin=_twins(offsets, lon, lat, length),
        )
        content = sha256_of_arrays(
            offsets, lon, lat, roads.free_s, roads.reach_offsets, roads.reach_targets
        )
        return cls(roads, _make_grid(roads), content)


def _speeds(path: Path, table: RoadTable) -> FloatArray:
    """Kilometres an hour by `maxspeed`, and where it is missing by the type of road."""
    speeds = np.array(
        [_TYPICAL_KMH.get(kind.removesuffix("_link"), _OTHER_KMH) for kind in table.highway]
    )
    for road, (_, (_, text)) in enumerate(read_columns(path, ["coordinates"], ["maxspeed"])):
        try:
            given = float(text)
        except ValueError:
            continue
        if 3.0 <= given <= 200.0:
            speeds[road] = given
    return speeds


def _along(offsets: IntArray, lon: FloatArray, lat: FloatArray) -> FloatArray:
    """Metres from the first vertex of each road."""
    stretch = np.cos(np.radians((lat[1:] + lat[:-1]) / 2))
    steps = np.zeros(len(lon))
    steps[1:] = np.hypot(np.diff(lon) * stretch, np.diff(lat)) * METRES_PER_DEGREE
    steps[offsets[:-1]] = 0.0
    total = np.cumsum(steps)
    along: FloatArray = total - np.repeat(total[offsets[:-1]], np.diff(offsets))
    return along


def _turn_costs(
    offsets: IntArray,
    lon: FloatArray,
    lat: FloatArray,
    origin: IntArray,
    target: NDArray[np.int32],
) -> NDArray[np.float32]:
    """Metres for each turn, by its angle between the last and the first piece of the roads."""
    start, end = offsets[:-1], offsets[1:] - 1
    leaving = _heading(lon, lat, start, start + 1)
    arriving = _heading(lon, lat, end - 1, end)
    angle = np.abs(np.angle(np.exp(1j * (leaving[target] - arriving[origin]))))
    degrees = np.degrees(angle)
    share = (degrees - _STRAIGHT_DEGREES) / (90.0 - _STRAIGHT_DEGREES)
    cost = np.where(degrees > _BACK_DEGREES, UTURN_M, TURN_M * np.clip(share, 0.0, None))
    return cost.astype(np.float32)


def _heading(lon: FloatArray, lat: FloatArray, a: IntArray, b: IntArray) -> FloatArray:
    stretch = np.cos(np.radians(lat[a]))
    heading: FloatArray = np.arctan2(lat[b] - lat[a], (lon[b] - lon[a]) * stretch)
    return heading


def _twins(
    offsets: IntArray, lon: FloatArray, lat: FloatArray, length: FloatArray
) -> NDArray[np.int32]:
    """For each road the one with its ends the other way round and its length; −1 without one."""
    first, last = offsets[:-1], offsets[1:] - 1
    ends = np.stack([lon[first], lat[first], lon[last], lat[last]], axis=1)
    by_ends: dict[tuple[float, ...], list[int]] = {}
    for road, key in enumerate(map(tuple, ends.tolist())):
        by_ends.setdefault(key, []).append(road)
    twins = np.full(len(length), -1, dtype=np.int32)
    for road, (a, b, c, d) in enumerate(ends.tolist()):
        for other in by_ends.get((c, d, a, b), ()):
            if other != road and abs(length[other] - length[road]) < 1.0:
                twins[road] = other
                break
    return twins


def _make_grid(roads: Roads) -> Grid:
    from data.match.grid_kernels import cells_of_pieces

    stretch = float(np.cos(np.radians(roads.y.mean() / METRES_PER_DEGREE)))
    x0, y0 = float(roads.x.min()) - 1.0, float(roads.y.min()) - 1.0
    width = (float(roads.x.max()) + 1.0 - x0) * stretch
    height = float(roads.y.max()) + 1.0 - y0
    cell = max(_CELL_M, (width * height / _MAX_CELLS) ** 0.5)
    columns, rows = int(width / cell) + 1, int(height / cell) + 1
    road_of_vertex = np.repeat(
        np.arange(len(roads.length_m), dtype=np.int32), np.diff(roads.vertex_offsets)
    )
    nothing = np.zeros(1, dtype=np.int32)
    offsets = np.zeros(columns * rows + 1, dtype=np.int64)
    grid = Grid(x0, y0, cell / stretch, cell, columns, rows, offsets, nothing, road_of_vertex)
    counts = np.zeros(columns * rows, dtype=np.int64)
    cells_of_pieces(roads, grid, counts, nothing, False)
    np.cumsum(counts, out=offsets[1:])
    pieces = np.empty(offsets[-1], dtype=np.int32)
    cells_of_pieces(roads, grid, offsets[:-1].copy(), pieces, True)
    return grid._replace(pieces=pieces)
