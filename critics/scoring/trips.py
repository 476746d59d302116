"""Trips that are to be scored, in the forms that models take, and what surrounds each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork
from data.trip_cache import CachedTrips
from dataset import TripDataset
from metrics.od import OdGrid
from metrics.trips import Trips

IntArray = NDArray[np.int64]
OD_CELL_DEGREES = 0.005  # about half a kilometre: near enough to be the same errand


def as_dataset(
    trips: Trips,
    network: RoadNetwork,
    time_statistics: tuple[float, float],
    max_len: int | None = None,
) -> TripDataset:
    """The trips as models read them; transitions that the network lacks are let through."""
    starts = trips.start_time
    seconds = trips.times - np.repeat(starts, trips.lengths)
    cached = CachedTrips(
        folder=network.folder,
        road_ids=trips.road_ids,
        seconds=seconds.astype(np.int32),
        starts=starts,
        lengths=trips.lengths.astype(np.int32),
        content_hash=trips.content_hash,
        time_log1p_mean=time_statistics[0],
        time_log1p_std=time_statistics[1],
        skipped=0,
    )
    return TripDataset(network, cached, time_statistics, max_len, split="scored")


def as_trips(dataset: TripDataset) -> Trips:
    """A split's trips as flat arrays."""
    lengths = np.asarray(dataset.num_roads_of_trip)
    times = np.repeat(np.asarray(dataset.starts), lengths) + np.asarray(dataset.seconds)
    return Trips.from_lengths(np.array(dataset.road_ids), times, lengths)


def position_offsets(trips: Trips) -> IntArray:
    """Where each trip's positions begin in arrays over all positions. [n + 1]"""
    return trips.offsets - np.arange(len(trips) + 1)


def spans(offsets: IntArray, most_trips: int, most_positions: int) -> list[tuple[int, int]]:
    """Trips some at a time, from first to last: bounded in number and in positions."""
    found, first, count = [], 0, len(offsets) - 1
    if not count:
        return [(0, 0)]
    while first < count:
        room = int(np.searchsorted(offsets, offsets[first] + most_positions, side="right")) - 1
        last = max(first + 1, min(first + most_trips, room, count))
        found.append((first, last))
        first = last
    return found


@dataclass(frozen=True)
class Surroundings:
    """What makes surprises of two trips comparable."""

    decisions: IntArray  # [n], positions with more than one way on
    support: IntArray  # [n], training trips between the same two cells

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether any training trip joins the same two cells. [n]"""
        return self.support > 0


class OdSupport:
    """How many training trips join each pair of cells."""

    def __init__(self, train: Trips, network: RoadNetwork, cell_degrees: float) -> None:
        self.network = network
        self.grid = OdGrid.over(network, cell_degrees)
        self._pairs, self._count = np.unique(self.grid.od_key(train), return_counts=True)

    def of(self, trips: Trips) -> IntArray:
        """The number of training trips between the cells of each trip. [n]"""
        key = self.grid.od_key(trips)
        place = np.searchsorted(self._pairs, key).clip(max=max(len(self._pairs) - 1, 0))
        return np.where(self._pairs[place] == key, self._count[place], 0)

    def surroundings(self, trips: Trips) -> Surroundings:
        """Decisions and support of each trip."""
        branches = (self.network.out_degree > 1)[trips.road_ids]
        branches[trips.offsets[1:] - 1] = False  # nothing is decided on the last road
        total = np.concatenate([[0], np.cumsum(branches)])
        decisions = total[trips.offsets[1:]] - total[trips.offsets[:-1]]
        return Surroundings(decisions.astype(np.int64), self.of(trips))
