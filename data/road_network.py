"""The road network of a city as arrays: geometry, attributes, reachability, adjacency, zones.

Everything is proportional to roads or edges; there is no roads × roads matrix anywhere. What a
trip looks like on the network is `data.features`; making zones is `data.preprocess`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from config.choices import AngleConvention
from data.geometry import bearing, fold_angle, polyline_centroids, segment_means
from data.roadmap_files import RoadTable, read_partition, read_rel, read_roads, read_zone_counts
from data.zone_record import check_zone_record
from runtime.errors import UserError
from runtime.files import sha256_of_arrays

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """A rectangle in degrees."""

    min_lat: float
    max_lat: float
    min_lon: float
    max_lon: float


@dataclass(frozen=True)
class ZoneGraph:
    """Which zone each road lies in, and how often trips change between zones."""

    road2zone: IntArray  # [R]
    num_zones: int
    edge_index: IntArray  # [2, Ez]
    edge_weight: NDArray[np.float32]  # [Ez]
    content_hash: str

    @classmethod
    def from_counts(cls, road2zone: IntArray, counts: FloatArray) -> ZoneGraph:
        """Edges are the non-zero counts, weighted by count · D^-½[i] · D^-½[j]."""
        degree = np.maximum(counts.sum(axis=1), 1.0)
        scale = 1.0 / np.sqrt(degree)
        edge_index = np.stack(np.nonzero(counts)).astype(np.int64)
        origin, destination = edge_index
        weight = counts[origin, destination] * scale[origin] * scale[destination]
        edge_weight = weight.astype(np.float32)
        return cls(
            road2zone=road2zone,
            num_zones=len(counts),
            edge_index=edge_index,
            edge_weight=edge_weight,
            content_hash=sha256_of_arrays(road2zone, edge_index, edge_weight),
        )


@dataclass(frozen=True)
class RoadNetwork:
    """R roads; road ids are row numbers of `roadmap.geo`."""

    folder: Path
    angle_convention: AngleConvention
    num_roads: int
    content_hash: str
    bounds: Bounds

    vertex_offsets: IntArray  # [R + 1]
    vertex_lon: FloatArray  # [V]
    vertex_lat: FloatArray  # [V]
    center_lon: FloatArray  # [R], length-weighted centroid
    center_lat: FloatArray  # [R]
    vertex_mean_lon: FloatArray  # [R]
    vertex_mean_lat: FloatArray  # [R]
    start_lon: FloatArray  # [R], first vertex
    start_lat: FloatArray  # [R]
    end_lon: FloatArray  # [R], last vertex
    end_lat: FloatArray  # [R]
    bearing: FloatArray  # [R], first to last vertex
    length_m: FloatArray  # [R]

    type_names: list[str]
    road_attr_len: NDArray[np.float32]  # [R]
    road_attr_type: IntArray  # [R]
    road_attr_lon: NDArray[np.float32]  # [R]
    road_attr_lat: NDArray[np.float32]  # [R]

    reach_offsets: IntArray  # [R + 1]
    reach_targets: IntArray  # [E], in the file's order within a road
    road_edge_index: IntArray  # [2, E2], sorted
    intersection_attr: NDArray[np.float32]  # [E2, 2]

    zones: ZoneGraph | None

    @classmethod
    def load(
        cls,
        folder: str | Path,
        angle_convention: AngleConvention = "hoser",
        *,
        with_zones: bool = True,
    ) -> RoadNetwork:
        """Reads `roadmap.geo` and `roadmap.rel`, and the zones where their files exist.

        Without `with_zones` the zones' files are not looked at (they are about to be made).
        """
        folder = Path(folder)
        if angle_convention not in ("hoser", "geographic"):
            raise UserError(
                f"angle_convention is {angle_convention!r}; allowed: 'hoser' or 'geographic'."
            )
        if not folder.is_dir():
            raise UserError(
                f"The dataset folder {folder} does not exist; give it with --data_dir, "
                "or make the demo city with: python -m data.demo_city --out data/demo"
            )
        roads = read_roads(folder / "roadmap.geo")
        origin, destination = read_rel(folder / "roadmap.rel", roads.num_roads)
        zones = _load_zones(folder, roads.num_roads) if with_zones else None
        network = _assemble(folder, angle_convention, roads, origin, destination, zones)
        if zones is not None:
            check_zone_record(folder, network.content_hash)
        return network

    def candidates(self, road_id: int) -> IntArray:
        """The roads that can be driven onto from the end of `road_id`, in the file's order."""
        return self.reach_targets[self.reach_offsets[road_id] : self.reach_offsets[road_id + 1]]

    @property
    def out_degree(self) -> IntArray:
        """How many candidates each road has. [R]"""
        return np.diff(self.reach_offsets)

    @property
    def followed(self) -> Followed:
        """Whom each road follows."""
        return reversed_reach(self.reach_offsets, self.reach_targets)

    @property
    def max_candidates(self) -> int:
        """The largest number of candidates of any road."""
        return int(self.out_degree.max(initial=0))

    def require_zones(self) -> ZoneGraph:
        """The zones; a `UserError` that says how to make them where they are missing."""
        if self.zones is None:
            raise UserError(
                f"{self.folder} has no road_network_partition and zone_trans_mat.npy; make them "
                f"with: python -m data.preprocess --data_dir {self.folder}"
            )
        return self.zones


def _assemble(
    folder: Path,
    angle_convention: AngleConvention,
    roads: RoadTable,
    origin: IntArray,
    destination: IntArray,
    zones: ZoneGraph | None,
) -> RoadNetwork:
    offsets, lon, lat = roads.vertex_offsets, roads.vertex_lon, roads.vertex_lat
    first, last = offsets[:-1], offsets[1:] - 1
    center_lon, center_lat = polyline_centroids(offsets, lon, lat)
    direction = bearing(lon[first], lat[first], lon[last], lat[last])
    type_names, type_index = np.unique(np.array(roads.highway, dtype=object), return_inverse=True)
    reach_offsets, reach_targets = _to_csr(origin, destination, roads.num_roads)
    edge_index = _shared_end_points(lon[first], lat[first], lon[last], lat[last])
    return RoadNetwork(
        folder=folder,
        angle_convention=angle_convention,
        num_roads=roads.num_roads,
        content_hash=sha256_of_arrays(
            offsets, lon, lat, roads.length_m, type_index, reach_offsets, reach_targets
        ),
        bounds=Bounds(float(lat.min()), float(lat.max()), float(lon.min()), float(lon.max())),
        vertex_offsets=offsets,
        vertex_lon=lon,
        vertex_lat=lat,
        center_lon=center_lon,
        center_lat=center_lat,
        vertex_mean_lon=segment_means(offsets, lon),
        vertex_mean_lat=segment_means(offsets, lat),
        start_lon=lon[first],
        start_lat=lat[first],
        end_lon=lon[last],
        end_lat=lat[last],
        bearing=direction,
        length_m=roads.length_m,
        type_names=[str(name) for name in type_names],
        road_attr_len=_z_score(np.log1p(roads.length_m.astype(np.float32))),
        road_attr_type=type_index.astype(np.int64).reshape(-1),
        road_attr_lon=_z_score(center_lon.astype(np.float32)),
        road_attr_lat=_z_score(center_lat.astype(np.float32)),
        reach_offsets=reach_offsets,
        reach_targets=reach_targets,
        road_edge_index=edge_index,
        intersection_attr=_intersection_attr(edge_index, direction, origin, destination),
        zones=zones,
    )


def _z_score(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # In float32 throughout, as published: a degree's float32 rounding is visible in the result.
    std = values.std()
    centred = values - values.mean()
    return centred / std if std > 0 else centred


class Followed(NamedTuple):
    """Whom each road follows."""

    offsets: IntArray  # [R + 1]
    sources: IntArray  # [E]
    edge: IntArray  # [E], which edge of the reachability each is


def reversed_reach(offsets: IntArray, targets: IntArray) -> Followed:
    """Whom each road follows, where `offsets` and `targets` say who follows it."""
    source = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    back_offsets, edge = _to_csr(targets, np.arange(len(targets)), len(offsets) - 1)
    return Followed(back_offsets, source[edge], edge)


def _to_csr(origin: IntArray, destination: IntArray, num_roads: int) -> tuple[IntArray, IntArray]:
    order = np.argsort(origin, kind="stable")
    counts = np.bincount(origin, minlength=num_roads)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, destination[order]


def _shared_end_points(
    start_lon: FloatArray, start_lat: FloatArray, end_lon: FloatArray, end_lat: FloatArray
) -> IntArray:
    """All ordered pairs of different roads with an end point in common, sorted. [2, E2]"""
    num_roads = len(start_lon)
    points = np.empty(2 * num_roads, dtype=np.complex128)
    points.real = np.concatenate([start_lon, end_lon])
    points.imag = np.concatenate([start_lat, end_lat])
    _, node = np.unique(points, return_inverse=True)
    road = np.tile(np.arange(num_roads, dtype=np.int64), 2)
    incidence = np.unique(node.reshape(-1).astype(np.int64) * num_roads + road)
    node_of, road_of = incidence // num_roads, incidence % num_roads
    start = np.searchsorted(node_of, node_of, side="left")
    degree = np.searchsorted(node_of, node_of, side="right") - start
    first = np.repeat(road_of, degree)
    within = np.arange(len(first)) - np.repeat(np.cumsum(degree) - degree, degree)
    second = road_of[np.repeat(start, degree) + within]
    pairs = np.unique((first * num_roads + second)[first != second])
    return np.stack([pairs // num_roads, pairs % num_roads]).astype(np.int64)


def _intersection_attr(
    edge_index: IntArray, direction: FloatArray, origin: IntArray, destination: IntArray
) -> NDArray[np.float32]:
    num_roads = len(direction)
    first, second = edge_index
    angle = fold_angle(direction[first] - direction[second]) / np.pi
    drivable = np.isin(first * num_roads + second, origin * num_roads + destination)
    return np.stack([angle, drivable.astype(np.float64)], axis=1).astype(np.float32)


def _load_zones(folder: Path, num_roads: int) -> ZoneGraph | None:
    partition_file, counts_file = folder / "road_network_partition", folder / "zone_trans_mat.npy"
    if not (partition_file.exists() and counts_file.exists()):
        return None
    road2zone = read_partition(partition_file, num_roads)
    counts = read_zone_counts(counts_file)
    if road2zone.max(initial=-1) >= len(counts):
        raise UserError(
            f"{partition_file} has zone {road2zone.max()}, but {counts_file} has only "
            f"{len(counts)} zones; make both anew with: python -m data.preprocess "
            f"--data_dir {folder} --force"
        )
    return ZoneGraph.from_counts(road2zone, counts)
