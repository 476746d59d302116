"""Fills a teacher cache: trip by trip, resumable at any moment, one process at a time.

The values go straight to their place in the column; a journal names the stretches that are
certainly on the disk. What a killed run wrote past the journal is computed again.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from critics.road_teacher import RoadTeacher
from critics.teacher_cache import (
    CacheKey,
    CacheLayout,
    TeacherCache,
    checksum,
    encode_values,
    map_values,
    open_cache,
    read_journal,
    verify_chunks,
)
from data.cache_files import JOURNAL, MANIFEST, VALUES, claim
from data.cache_tidying import note_use, tidy
from dataset import TripDataset
from runtime.errors import UserError
from runtime.files import FolderLock, write_json
from runtime.logs import get_logger
from runtime.shutdown import Stopped, stop_if_asked

logger = get_logger("teacher_cache")
POSITIONS_PER_CHUNK = 16_384
SHARING_FACTOR = 16  # larger chunks where positions share histories: more of them are met again
SECONDS_PER_COMMIT = 10.0


def open_or_build(
    cache_dir: str | Path,
    dataset: TripDataset,
    teacher: RoadTeacher,
    *,
    progress: bool = True,
) -> TeacherCache:
    """The teacher's cache for a split, made first where it is missing, stale or damaged."""
    key = CacheKey(
        dataset.split, dataset.content_hash, dataset.network.content_hash, teacher.identity()
    )
    layout = CacheLayout(dataset)
    folder = Path(cache_dir) / f"teacher-{dataset.split}-{key.digest}"
    cache, _ = open_cache(folder, key, layout, teacher.device)
    if cache is not None:
        note_use(folder)
        return cache
    with FolderLock(folder, wait=True):
        cache, reason = open_cache(folder, key, layout, teacher.device)  # built while we waited?
        if cache is not None:
            return cache
        claim(folder)
        if (folder / MANIFEST).exists():
            logger.warning("The teacher cache %s is rebuilt: %s.", folder, reason)
            for name in (MANIFEST, JOURNAL, VALUES):  # who has the old values mapped keeps them
                (folder / name).unlink(missing_ok=True)
        _Builder(folder, key, layout, teacher, progress).run()
        cache, reason = open_cache(folder, key, layout, teacher.device)
    if cache is None:
        raise UserError(
            f"The teacher cache {folder} does not verify right after it was written ({reason}); "
            "is the disk full or failing?"
        )
    tidy(Path(cache_dir), "teacher", dataset.split, used=folder)
    return cache


class _Builder:
    """One build of one column."""

    def __init__(
        self,
        folder: Path,
        key: CacheKey,
        layout: CacheLayout,
        teacher: RoadTeacher,
        progress: bool,
    ) -> None:
        self.folder = folder
        self.key = key.to_dict()
        self.layout = layout
        self.dataset = layout.dataset
        self.teacher = teacher
        self.progress = progress
        size = POSITIONS_PER_CHUNK * (SHARING_FACTOR if teacher.repeats_histories else 1)
        self.bounds = _trip_bounds(
            self.dataset, size
        )  # chunk i holds the trips bounds[i]..bounds[i+1]

    def run(self) -> None:
        """Computes what the journal does not have yet, then writes the manifest."""
        size = 2 * self.layout.num_values
        chunks = self._resume(size)
        values_file = self.folder / VALUES
        if shutil.disk_usage(self.folder).free < size - _blocks_taken(values_file):
            raise UserError(
                f"{self.folder} has no room for the teacher cache ({size / 2**20:.0f} MiB); "
                "set distill.cache_dir to a larger disk or distill.cache to false."
            )
        done = int(self.bounds[len(chunks)])
        steps = self.dataset.trace_lengths
        bar = tqdm(
            total=int(steps.sum(dtype=np.int64)),
            initial=int(steps[:done].sum(dtype=np.int64)),
            desc=f"Teacher cache ({self.dataset.split})",
            unit="pos",
            unit_scale=True,
            disable=not self.progress,
        )
        committed = time.monotonic()
        try:
            with bar, values_file.open("r+b" if values_file.exists() else "w+b") as file:
                file.truncate(size)
                for index in range(len(chunks), len(self.bounds) - 1):
                    self._stop_if_asked(file, chunks)
                    chunks.append(self._write_chunk(file, index))
                    bar.update(int(steps[self.bounds[index] : self.bounds[index + 1]].sum()))
                    if time.monotonic() - committed >= SECONDS_PER_COMMIT:
                        self._commit(file, chunks)
                        committed = time.monotonic()
                self._commit(file, chunks)
        except OSError as error:
            raise UserError(f"{values_file} cannot be written: {error.strerror}.") from error
        write_json(self.folder / MANIFEST, {"key": self.key, "chunks": chunks})
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def _resume(self, size: int) -> list[list[Any]]:
        """The chunks of an earlier, killed build that are whole."""
        journal = read_journal(self.folder / JOURNAL)
        values_file = self.folder / VALUES
        if journal is None or journal.get("key") != self.key or not values_file.is_file():
            return []
        chunks = journal.get("chunks")
        if values_file.stat().st_size != size or not isinstance(chunks, list):
            return []
        if len(chunks) >= len(self.bounds):
            return []
        if not verify_chunks(map_values(values_file, self.layout.num_values), chunks):
            logger.warning(
                "The unfinished teacher cache %s is damaged: starting anew.", self.folder
            )
            return []
        expected = self.layout.trip_begin[self.bounds[len(chunks)]]
        if sum(int(count) for count, _ in chunks) != expected:
            return []
        if chunks:
            logger.info("Resuming the teacher cache at trip %d.", self.bounds[len(chunks)])
        return chunks

    def _stop_if_asked(self, file: IO[bytes], chunks: list[list[Any]]) -> None:
        try:
            stop_if_asked()
        except Stopped:
            self._commit(file, chunks)
            logger.info("The teacher cache is kept as far as it is; it goes on from there.")
            raise

    def _write_chunk(self, file: IO[bytes], index: int) -> list[Any]:
        trips = np.arange(self.bounds[index], self.bounds[index + 1])
        logits = self.teacher.trip_logits(self.dataset, trips)
        counts = self._counts(int(trips[0]), int(trips[-1]) + 1)
        if len(logits) != counts.sum():
            raise RuntimeError(f"{len(logits)} logits for {counts.sum()} candidates.")
        values = encode_values(logits, counts)
        file.seek(2 * int(self.layout.trip_begin[self.bounds[index]]))
        file.write(values.tobytes())
        return [len(values), checksum(values)]

    def _counts(self, first: int, last: int) -> NDArray[np.int64]:
        """The number of candidates at each position of the trips first..last."""
        offsets = self.dataset.offsets
        roads = np.asarray(self.dataset.road_ids[offsets[first] : offsets[last]])
        is_position = np.ones(len(roads), dtype=bool)
        is_position[offsets[first + 1 : last + 1] - 1 - offsets[first]] = False
        return self.layout.out_degree[roads[is_position]]

    def _commit(self, file: IO[bytes], chunks: list[list[Any]]) -> None:
        file.flush()
        os.fsync(file.fileno())
        write_json(self.folder / JOURNAL, {"key": self.key, "chunks": chunks})


def _trip_bounds(dataset: TripDataset, size: int) -> NDArray[np.int64]:
    """Cuts the trips into chunks of about `size` positions; the same every time."""
    if len(dataset) == 0:
        return np.zeros(1, dtype=np.int64)
    ends = np.cumsum(dataset.trace_lengths, dtype=np.int64)
    targets = np.arange(size, ends[-1], size)
    cuts = np.searchsorted(ends, targets) + 1
    return np.unique(np.concatenate([[0], cuts, [len(dataset)]]))


def _blocks_taken(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.exists() else 0
