"""Trips as flat arrays, as every measure takes them, and the real ones read from a dataset."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.choices import OnBadRows
from data.road_network import RoadNetwork
from data.splits import split_file
from data.trip_cache import open_trips
from data.trip_csv import BadRows, read_trips
from runtime.errors import UserError
from runtime.files import sha256_of_arrays

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Trips:
    """n trips of S roads in all: `offsets` delimits each trip's roads and times."""

    road_ids: NDArray[np.int32]  # [S]
    times: IntArray  # [S], seconds since 1970
    offsets: IntArray  # [n + 1]
    source_hash: str | None = None  # of a whole split as its cache has it

    @classmethod
    def from_lengths(
        cls, road_ids: NDArray[np.int32], times: IntArray, lengths: NDArray[np.integer]
    ) -> Trips:
        """Trips laid end to end, with the number of roads of each."""
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(np.asarray(road_ids, dtype=np.int32), np.asarray(times, dtype=np.int64), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """The number of roads of each trip. [n]"""
        return np.diff(self.offsets)

    @property
    def origin(self) -> NDArray[np.int32]:
        """The first road of each trip. [n]"""
        return self.road_ids[self.offsets[:-1]]

    @property
    def destination(self) -> NDArray[np.int32]:
        """The last road of each trip. [n]"""
        return self.road_ids[self.offsets[1:] - 1]

    @property
    def start_time(self) -> IntArray:
        """When each trip begins, in seconds since 1970. [n]"""
        return self.times[self.offsets[:-1]]

    def trip(self, index: int) -> tuple[NDArray[np.int32], IntArray]:
        """The roads and times of one trip."""
        span = slice(self.offsets[index], self.offsets[index + 1])
        return self.road_ids[span], self.times[span]

    def select(self, chosen: NDArray[np.bool_] | IntArray) -> Trips:
        """The chosen trips, by mask or by index, in that order."""
        index = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        lengths = self.lengths[index]
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        flat = np.repeat(self.offsets[:-1][index], lengths) + within
        return Trips.from_lengths(self.road_ids[flat], self.times[flat], lengths)

    @property
    def content_hash(self) -> str:
        """The SHA-256 of roads, times and boundaries."""
        return sha256_of_arrays(self.road_ids, self.times, self.offsets)


def read_real_trips(
    folder: str | Path, split: str, network: RoadNetwork, on_bad_rows: OnBadRows = "error"
) -> Trips:
    """The trips of a split, through the dataset's cache where its folder can be written."""
    trip_file = split_file(folder, split)
    cache = trip_file.parent / ".cache"
    if os.access(cache if cache.exists() else trip_file.parent, os.W_OK):
        cached = open_trips(trip_file, network, on_bad_rows, cache)
        lengths = np.asarray(cached.lengths)
        times = np.repeat(np.asarray(cached.starts), lengths) + np.asarray(cached.seconds)
        trips = Trips.from_lengths(np.array(cached.road_ids), times, lengths)
        return replace(trips, source_hash=cached.content_hash)
    bad_rows = BadRows()
    chunks = list(read_trips(trip_file, network, on_bad_rows, bad_rows))
    bad_rows.log(trip_file)
    if not sum(len(chunk.lengths) for chunk in chunks):
        raise UserError(f"{trip_file} has no usable trips.")
    return Trips.from_lengths(
        np.concatenate([chunk.road_ids for chunk in chunks]),
        np.concatenate([chunk.times for chunk in chunks]),
        np.concatenate([chunk.lengths for chunk in chunks]),
    )
