"""The trips of a split: from CSV through the columnar cache to batches on a device.

A trip is stored as its road ids and times only, about eight bytes a step; everything else is
computed per batch from per-road tables (`data.features`). In which order trips are seen is
`data.sampling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from config.choices import OnBadRows
from data.batch import Batch
from data.features import FeatureTables, TripRows
from data.mapped import forget, held
from data.road_network import RoadNetwork
from data.splits import SPLITS, split_file
from data.trip_cache import CachedTrips, open_trips
from runtime.errors import UserError
from runtime.files import sha256_of_json
from runtime.logs import get_logger

__all__ = ["Batch", "RowSpec", "TripDataset"]

logger = get_logger("data")

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class RowSpec:
    """Which stretches of which trips make up a batch."""

    trip_id: IntArray  # [B]
    crop_start: IntArray  # [B], first step
    trace_len: IntArray  # [B], steps
    replayed: bool = False  # of trips that nobody drove: no true times

    def __len__(self) -> int:
        return len(self.trip_id)

    def __getitem__(self, rows: slice | IntArray) -> RowSpec:
        spec = RowSpec(self.trip_id[rows], self.crop_start[rows], self.trace_len[rows])
        return replace(spec, replayed=self.replayed)


class TripDataset:
    """The trips of one split, in memory or streamed from the cache, and batches of them."""

    def __init__(
        self,
        network: RoadNetwork,
        trips: CachedTrips,
        time_statistics: tuple[float, float],
        max_len: int | None = None,
        candidate_top_k: int = 0,
        split: str = "train",
    ) -> None:
        self.network = network
        self.split = split
        self.max_len = max_len
        self.candidate_top_k = candidate_top_k
        self.time_mean, self.time_std = time_statistics
        self.content_hash = trips.content_hash
        self.source_hash = trips.content_hash  # of the whole file
        self.road_ids = trips.road_ids  # int32 [S]
        self.seconds = trips.seconds  # int32 [S], since the trip's start
        self.starts = trips.starts  # int64 [n]
        self.num_roads_of_trip = trips.lengths  # int32 [n]
        self.file_rows = trips.file_rows  # of trips: which data rows of the file they are, from 0
        self.offsets = np.concatenate([[0], np.cumsum(trips.lengths, dtype=np.int64)])  # [n + 1]
        self.in_memory = not trips.streamed
        self._tables: dict[torch.device, FeatureTables] = {}

    @classmethod
    def load(
        cls,
        folder: str | Path,
        split: str,
        network: RoadNetwork,
        *,
        on_bad_rows: OnBadRows = "error",
        max_len: int | None = None,
        candidate_top_k: int = 0,
        cache_dir: str | Path | None = None,
        ram_fraction: float = 0.6,
        max_trips: int | None = None,
        time_statistics: tuple[float, float] | None = None,
    ) -> TripDataset:
        """Opens the split's trips in `folder`, through the cache, made where it is missing.

        Times are normalised with `time_statistics`, mean and standard deviation of log1p of the
        seconds; by default those of the training split, whichever split is loaded. `max_trips`
        keeps only the first trips of the file.
        """
        folder = Path(folder)
        if split not in SPLITS:
            raise UserError(f"The split {split!r} is unknown; allowed: {', '.join(SPLITS)}.")
        cache = Path(cache_dir) if cache_dir is not None else folder / ".cache"
        trips = open_trips(split_file(folder, split), network, on_bad_rows, cache)
        source_hash = trips.content_hash
        if time_statistics is None:
            train = trips
            if split != "train":
                train = open_trips(split_file(folder, "train"), network, on_bad_rows, cache)
            time_statistics = (train.time_log1p_mean, train.time_log1p_std)
        if max_trips is not None and max_trips < len(trips.lengths):
            trips = _first_trips(trips, max_trips)
        trips = _into_memory(trips, split, ram_fraction)
        dataset = cls(network, trips, time_statistics, max_len, candidate_top_k, split)
        dataset.source_hash = source_hash
        return dataset

    def __len__(self) -> int:
        return len(self.num_roads_of_trip)

    @property
    def trace_lengths(self) -> NDArray[np.int32]:
        """The positions of each trip: all its roads but the last. [n]"""
        return self.num_roads_of_trip - 1

    def trip(self, index: int) -> tuple[NDArray[np.int32], IntArray]:
        """The roads of a trip and its times in seconds since 1970."""
        span = slice(self.offsets[index], self.offsets[index + 1])
        return np.asarray(self.road_ids[span]), self.starts[index] + self.seconds[span]

    def laid_out(self, trip_id: IntArray) -> tuple[NDArray[np.int32], IntArray]:
        """The roads of some trips, one trip after the other, and the offsets between them."""
        roads = [self.trip(int(trip))[0] for trip in trip_id]
        offsets = np.cumsum([0, *map(len, roads)], dtype=np.int64)
        return np.concatenate([np.zeros(0, dtype=np.int32), *roads]), offsets

    def batch(self, indices: Sequence[int] | IntArray, device: torch.device | str = "cpu") -> Batch:
        """The trips `indices` with all features on `device`.

        A trip with more than `max_len` positions is cut after them; training crops at random
        and evaluation walks through all pieces (`evaluation_rows`).
        """
        trip_id = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(trip_id) == 0:
            raise UserError("A batch needs at least one trip.")
        if trip_id.min() < 0 or trip_id.max() >= len(self):
            raise UserError(
                f"Trip {trip_id.max() if trip_id.min() >= 0 else trip_id.min()} does not exist; "
                f"{self.split} has the trips 0 to {len(self) - 1}."
            )
        trace_len = self.trace_lengths[trip_id].astype(np.int64)
        if self.max_len is not None:
            trace_len = np.minimum(trace_len, self.max_len)
        spec = RowSpec(trip_id, np.zeros(len(trip_id), dtype=np.int64), trace_len)
        return self.features(self.rows(spec), device)

    def evaluation_rows(self) -> RowSpec:
        """Stretches of at most `max_len` positions that together cover every position once."""
        trace_len = self.trace_lengths.astype(np.int64)
        limit = self.max_len or int(trace_len.max(initial=1))
        pieces = -(-trace_len // limit)
        trip_id = np.repeat(np.arange(len(self)), pieces)
        piece = np.arange(len(trip_id)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        start = piece * limit
        return RowSpec(trip_id, start, np.minimum(trace_len[trip_id] - start, limit))

    def rows(self, spec: RowSpec) -> TripRows:
        """Gathers stretches of trips from the columns, padded to the longest. On the CPU."""
        width = int(spec.trace_len.max()) + 1
        step = np.arange(width)
        last = spec.trace_len[:, None]
        flat = self.offsets[spec.trip_id][:, None] + spec.crop_start[:, None]
        flat = flat + np.minimum(step, last)  # padding repeats the row's last road
        road_ids = self._read(self.road_ids, flat)
        seconds = self.starts[spec.trip_id][:, None] + self._read(self.seconds, flat)
        destination = self._read(self.road_ids, self.offsets[spec.trip_id + 1] - 1)
        on_trace = step < last
        degree = self.network.out_degree[road_ids[on_trace]]
        return TripRows(
            road_ids=torch.from_numpy(road_ids),
            seconds=torch.from_numpy(seconds),
            trace_len=torch.from_numpy(spec.trace_len),
            destination_road_id=torch.from_numpy(destination),
            first_second=torch.from_numpy(self.starts[spec.trip_id]),
            trip_id=torch.from_numpy(spec.trip_id),
            crop_start=torch.from_numpy(spec.crop_start),
            max_candidates=max(1, int(degree.max(initial=1))),
            replayed=spec.replayed,
        )

    def _read(self, column: NDArray[np.int32], steps: IntArray) -> IntArray:
        """Values of a column; of one that is streamed nothing stays in memory."""
        values = column[steps].astype(np.int64)
        if not self.in_memory:
            forget(column)
        return values

    def features(self, rows: TripRows, device: torch.device | str) -> Batch:
        """Moves gathered rows to `device` and computes their features there."""
        tables = self.tables(device)
        rows = rows.to(tables.device, non_blocking=True)
        return tables.batch(rows, self.time_mean, self.time_std, self.candidate_top_k)

    def tables(self, device: torch.device | str) -> FeatureTables:
        """The per-road tables on `device`, made once."""
        device = torch.device(device)
        if device not in self._tables:
            self._tables[device] = FeatureTables(self.network, device)
        return self._tables[device]


def _first_trips(trips: CachedTrips, count: int) -> CachedTrips:
    """The first `count` trips, with a content hash of their own."""
    steps = int(trips.lengths[:count].sum(dtype=np.int64))
    return replace(
        trips,
        road_ids=trips.road_ids[:steps],
        seconds=trips.seconds[:steps],
        starts=trips.starts[:count],
        lengths=trips.lengths[:count],
        content_hash=sha256_of_json([trips.content_hash, count]),
    )


def _into_memory(trips: CachedTrips, split: str, ram_fraction: float) -> CachedTrips:
    """Copies the columns into memory where they fit, in parallel; else leaves them mapped."""
    available = psutil.virtual_memory().available
    needed = trips.num_bytes
    sizes = f"{needed / 2**20:.1f} MiB of {available / 2**30:.1f} GiB available"
    if needed > ram_fraction * available:
        logger.info(
            "%s: %d trips are streamed from disk: %s is more than %.0f %%.",
            split,
            len(trips.lengths),
            sizes,
            100 * ram_fraction,
        )
        return trips
    names = ["road_ids", "seconds", "starts", "lengths"]
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        columns: dict[str, Any] = dict(zip(names, pool.map(held, trips.columns())))
    logger.info("%s: %d trips are held in memory (%s).", split, len(trips.lengths), sizes)
    return replace(trips, **columns)
