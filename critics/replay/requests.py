"""Where replayed trips begin and end: pairs of roads at the distances of real trips."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.geometry import EARTH_RADIUS_M, haversine
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.errors import UserError

IntArray = NDArray[np.int64]
DESTINATIONS_TRIED = 32  # whose distances are compared with the one that is wanted
LEAST_DISTANCE_M = 300.0  # of two roads that are nearer the detour says little


@dataclass(frozen=True)
class Requests:
    """N trips to drive."""

    origin: IntArray  # [N], road ids
    destination: IntArray  # [N], road ids
    start: IntArray  # [N], seconds since 1970

    def __len__(self) -> int:
        return len(self.origin)

    def __getitem__(self, rows: slice | IntArray) -> Requests:
        return Requests(self.origin[rows], self.destination[rows], self.start[rows])


def own_requests(dataset: TripDataset, count: int, generator: np.random.Generator) -> Requests:
    """The pairs and start times of the dataset's own trips."""
    ends = _ends(dataset)
    return ends[_draw(len(ends), count, generator)]


def recombined_requests(
    dataset: TripDataset, count: int, generator: np.random.Generator
) -> Requests:
    """Origins and destinations of different trips, as far apart as those of real ones.

    Each origin, with its trip's start, gets that of some random destinations whose distance is
    nearest to the one of a trip drawn at random: hubs stay hubs, and lengths stay those of trips.
    """
    ends = _ends(dataset)
    network = dataset.network
    of_origin = _draw(len(ends), count, generator)
    wanted = crow_flies_m(network, ends.origin, ends.destination)
    wanted = wanted[generator.integers(len(ends), size=count)]
    tried = ends.destination[generator.integers(len(ends), size=(count, DESTINATIONS_TRIED))]
    origin = ends.origin[of_origin]
    distance = crow_flies_m(network, origin[:, None], tried)  # [N, tried]
    gap = np.abs(np.log1p(distance) - np.log1p(wanted)[:, None])
    gap[tried == origin[:, None]] = np.inf
    destination = tried[np.arange(count), gap.argmin(axis=1)]
    usable = destination != origin  # not where every trip ends at this origin
    return Requests(origin, destination, ends.start[of_origin])[np.flatnonzero(usable)]


def requests_from_file(
    path: Path, dataset: TripDataset, count: int, generator: np.random.Generator
) -> Requests:
    """Pairs of a CSV with the columns origin and destination; start times are those of trips."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(int(row["origin"]), int(row["destination"])) for row in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a list of pairs ({error}); it needs the columns origin and destination "
            "with road ids."
        ) from error
    pairs = np.array(rows, dtype=np.int64).reshape(-1, 2)
    known = (pairs >= 0).all(axis=1) & (pairs < dataset.network.num_roads).all(axis=1)
    apart = pairs[pairs[:, 0] != pairs[:, 1]]
    if not len(apart) or not known.all():
        what = "no pairs of two different roads"
        if not known.all():
            what = f"roads that do not exist, as {pairs[~known][0]}"
        raise UserError(f"{path} has {what}; distill.replay.od_file names pairs of this network.")
    pairs = apart[_draw(len(apart), count, generator)]
    return Requests(pairs[:, 0], pairs[:, 1], _starts(dataset, len(pairs), generator))


def crow_flies_m(
    network: RoadNetwork, origin: IntArray, destination: IntArray
) -> NDArray[np.float64]:
    """The distance between the roads' centres (broadcasting)."""
    lon, lat = network.center_lon, network.center_lat
    return haversine(lon[origin], lat[origin], lon[destination], lat[destination], EARTH_RADIUS_M)


def detour_limit(dataset: TripDataset, quantile: float) -> float:
    """This quantile of the trips' detours: metres driven per metre as the crow flies."""
    ends = _ends(dataset)
    roads = np.asarray(dataset.road_ids)
    length = dataset.network.length_m[roads]
    length[dataset.offsets[:-1]] = 0.0  # a trip is counted from the end of its first road
    driven = np.add.reduceat(length, dataset.offsets[:-1])
    distance = crow_flies_m(dataset.network, ends.origin, ends.destination)
    return float(np.quantile(driven / distance.clip(min=LEAST_DISTANCE_M), quantile))


def _ends(dataset: TripDataset) -> Requests:
    roads, offsets = dataset.road_ids, dataset.offsets
    origin = np.asarray(roads[offsets[:-1]], dtype=np.int64)
    destination = np.asarray(roads[offsets[1:] - 1], dtype=np.int64)
    return Requests(origin, destination, np.asarray(dataset.starts))


def _starts(dataset: TripDataset, count: int, generator: np.random.Generator) -> IntArray:
    return np.asarray(dataset.starts)[generator.integers(len(dataset), size=count)]


def _draw(size: int, count: int, generator: np.random.Generator) -> IntArray:
    """`count` numbers below `size`, each as often as any other, give or take once."""
    rounds = -(-count // size)
    return np.concatenate([generator.permutation(size) for _ in range(rounds)])[:count]
