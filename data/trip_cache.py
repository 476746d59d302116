"""The columnar cache of a split's trips: road ids and times, nothing that follows from them.

A cache folder holds four arrays and a manifest that names what they were made from. It is
written whole or not at all, verified when it is opened and rebuilt when it does not verify.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.choices import OnBadRows
from data.cache_files import MANIFEST, claim
from data.cache_tidying import note_use, tidy
from data.mapped import pieces
from data.road_network import RoadNetwork
from data.trip_csv import BadRows, read_trips
from runtime.errors import UserError
from runtime.files import FolderLock, replace_atomically, sha256_of_file, sha256_of_json, write_json
from runtime.logs import get_logger

logger = get_logger("data")

FORMAT_VERSION = 1
COLUMNS: dict[str, type[np.generic]] = {
    "road_ids": np.int32,  # [S]
    "seconds": np.int32,  # [S], since the trip's start
    "starts": np.int64,  # [n], seconds since 1970
    "lengths": np.int32,  # [n]
}


@dataclass(frozen=True)
class CachedTrips:
    """An opened cache: memory-mapped columns and what the manifest says of them."""

    folder: Path
    road_ids: NDArray[np.int32]  # [S]
    seconds: NDArray[np.int32]  # [S]
    starts: NDArray[np.int64]  # [n]
    lengths: NDArray[np.int32]  # [n]
    content_hash: str
    time_log1p_mean: float
    time_log1p_std: float
    skipped: int
    # Data rows of the file, from 0, rising.
    skipped_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def file_rows(self, trip_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which data row of the file, from 0, each trip is."""
        # A trip comes after as many skipped rows as lie before it once those were left out.
        gone_before = self.skipped_rows - np.arange(len(self.skipped_rows))
        return trip_id + np.searchsorted(gone_before, trip_id, side="right")

    @property
    def num_bytes(self) -> int:
        """The size of all columns."""
        return sum(int(column.nbytes) for column in self.columns())

    def columns(self) -> list[NDArray[Any]]:
        """The columns in the manifest's order."""
        return [self.road_ids, self.seconds, self.starts, self.lengths]

    @property
    def streamed(self) -> bool:
        """Whether the columns are read from disk, and not held in memory."""
        return isinstance(self.road_ids, np.memmap)


def open_trips(
    trip_file: Path, network: RoadNetwork, on_bad_rows: OnBadRows, cache_dir: Path
) -> CachedTrips:
    """Opens the cache of `trip_file`, building it first where it is missing, stale or damaged."""
    if not trip_file.exists():
        raise UserError(f"{trip_file} does not exist; it was expected to hold trips.")
    source = {
        "format_version": FORMAT_VERSION,
        "csv_sha256": _file_hash(trip_file, cache_dir),
        "network": network.content_hash,
        "on_bad_rows": on_bad_rows,
    }
    folder = cache_dir / f"trips-{trip_file.stem}-{sha256_of_json(source)[:16]}"
    opened = _open(folder, source)
    if opened is not None:
        note_use(folder)
        return opened
    with _locked(cache_dir, trip_file.stem, folder):
        opened = _open(folder, source)  # another process may have built it while we waited
        if opened is None:
            _build(trip_file, network, on_bad_rows, folder, source)
            opened = _open(folder, source)
            tidy(cache_dir, "trips", trip_file.stem, used=folder)
    if opened is None:
        raise UserError(f"The trip cache {folder} does not verify right after it was written.")
    return opened


@contextlib.contextmanager
def _locked(cache_dir: Path, split: str, folder: Path) -> Iterator[None]:
    """Keeps others from building the split's cache; where nothing can be written, says so."""
    lock = FolderLock(cache_dir, name=f".trips-{split}.lock", wait=True)
    try:
        lock.acquire()
    except UserError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _unwritable(folder: Path, error: Exception) -> UserError:
    reason = error.__cause__ or error
    return UserError(
        f"The trip cache {folder} cannot be written ({getattr(reason, 'strerror', reason)}); "
        "choose another place with data.cache_dir."
    )


def _file_hash(trip_file: Path, cache_dir: Path) -> str:
    """The file's SHA-256, remembered for as long as the file's identity stays the same."""
    stat = trip_file.stat()
    identity = [str(trip_file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    memo = cache_dir / f"source-{trip_file.stem}.json"
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
        if known == _signed({"identity": identity, "sha256": known["sha256"]}):
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    digest = sha256_of_file(trip_file)
    with contextlib.suppress(UserError):  # a cache that is whole serves from a read-only folder too
        write_json(memo, _signed({"identity": identity, "sha256": digest}))
    return digest


def _signed(content: dict[str, Any]) -> dict[str, Any]:
    """The content with a hash of it, so that a damaged digit does not go unnoticed."""
    return {**content, "check": sha256_of_json(content)}


def _build(
    trip_file: Path,
    network: RoadNetwork,
    on_bad_rows: OnBadRows,
    folder: Path,
    source: dict[str, Any],
) -> None:
    logger.info("Reading %s into the trip cache.", trip_file)
    bad_rows = BadRows()
    intervals: Counter[int] = Counter()
    sizes = dict.fromkeys(COLUMNS, 0)
    checksums = dict.fromkeys(COLUMNS, 0)
    try:
        claim(folder)
        (folder / MANIFEST).unlink(missing_ok=True)
    except (UserError, OSError) as error:
        raise _unwritable(folder, error) from error
    with _ColumnWriter(folder) as writer:
        for chunk in read_trips(trip_file, network, on_bad_rows, bad_rows):
            first = np.cumsum(chunk.lengths, dtype=np.int64) - chunk.lengths
            starts = chunk.times[first]
            seconds = chunk.times - np.repeat(starts, chunk.lengths)
            _count_intervals(intervals, chunk.times, first)
            writer.write([chunk.road_ids, seconds, starts, chunk.lengths])
        sizes, checksums = writer.sizes, writer.checksums
    if not sizes["lengths"]:
        raise UserError(f"{trip_file} has no usable trips.")
    bad_rows.log(trip_file)
    mean, std = _log1p_statistics(intervals)
    write_json(
        folder / MANIFEST,
        _signed(
            {
                "source": source,
                "sizes": sizes,
                "checksums": checksums,
                "time_log1p_mean": mean,
                "time_log1p_std": std,
                "skipped": bad_rows.total,
                "skipped_rows": sorted(bad_rows.rows),
            }
        ),
    )


def _count_intervals(
    intervals: Counter[int], times: NDArray[np.int64], first: NDArray[np.int64]
) -> None:
    """Counts the seconds between consecutive roads: exact however the file is cut."""
    inside = np.ones(len(times), dtype=bool)
    inside[first] = False
    values, counts = np.unique(np.diff(times, prepend=0)[inside], return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        intervals[value] += count


def _log1p_statistics(intervals: Counter[int]) -> tuple[float, float]:
    ordered = sorted(intervals.items())
    total = sum(count for _, count in ordered)
    mean = math.fsum(math.log1p(value) * count for value, count in ordered) / total
    variance = math.fsum((math.log1p(v) - mean) ** 2 * count for v, count in ordered) / total
    # All steps equally long would leave nothing to normalise by.
    return mean, math.sqrt(variance) if variance > 0 else 1.0


class _ColumnWriter:
    """Appends chunks to the column files; they get their names only when all are complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sizes = dict.fromkeys(COLUMNS, 0)
        self.checksums = dict.fromkeys(COLUMNS, 0)
        self._open: list[Any] = []
        self._contexts: list[Any] = []

    def __enter__(self) -> _ColumnWriter:
        for name in COLUMNS:
            context = replace_atomically(self.folder / f"{name}.bin")
            self._contexts.append(context)
            self._open.append(context.__enter__().open("wb"))
        return self

    def write(self, arrays: list[NDArray[Any]]) -> None:
        """Appends one chunk: the arrays in the order of `COLUMNS`."""
        for (name, dtype), file, array in zip(COLUMNS.items(), self._open, arrays, strict=True):
            raw = np.ascontiguousarray(array, dtype=dtype).tobytes()
            try:
                file.write(raw)
                file.flush()
            except OSError as error:
                raise UserError(
                    f"{self.folder / name} cannot be written: {error.strerror or error}."
                ) from error
            self.sizes[name] += len(array)
            self.checksums[name] = zlib.crc32(raw, self.checksums[name])

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for file in self._open:
            with contextlib.suppress(OSError):  # what a full disk refused was said in `write`
                file.close()
        for context in self._contexts:
            context.__exit__(kind, error, trace)


def _open(folder: Path, source: dict[str, Any]) -> CachedTrips | None:
    """The cache in `folder`, or None where it is absent, of other data or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest != _signed({k: v for k, v in manifest.items() if k != "check"}):
            raise ValueError("its manifest does not match its check")
        if manifest["source"] != source:
            return None
        columns = [_map_column(folder, name, manifest["sizes"][name]) for name in COLUMNS]
        mean, std = float(manifest["time_log1p_mean"]), float(manifest["time_log1p_std"])
        checksums = {name: int(manifest["checksums"][name]) for name in COLUMNS}
        skipped = int(manifest["skipped"])
        skipped_rows = np.array(manifest["skipped_rows"] if skipped else [], dtype=np.int64)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("The trip cache %s is damaged (%s); making it anew.", folder, error)
        return None
    with ThreadPoolExecutor(max_workers=min(len(columns), os.cpu_count() or 1)) as pool:
        found = dict(zip(COLUMNS, pool.map(checksum, columns), strict=True))
    consistent = len(columns[0]) == len(columns[1]) == int(columns[3].sum(dtype=np.int64))
    sane = math.isfinite(mean) and math.isfinite(std) and std > 0
    if found != checksums or not consistent or not sane:
        logger.warning("The trip cache %s does not match its manifest; making it anew.", folder)
        return None
    content_hash = sha256_of_json([source, checksums, manifest["sizes"]])
    road_ids, seconds, starts, lengths = columns
    return CachedTrips(
        folder, road_ids, seconds, starts, lengths, content_hash, mean, std, skipped, skipped_rows
    )


def _map_column(folder: Path, name: str, size: int) -> NDArray[Any]:
    path = folder / f"{name}.bin"
    dtype = np.dtype(COLUMNS[name])
    if path.stat().st_size != size * dtype.itemsize:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes")
    if size == 0:
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", shape=(size,))


def checksum(array: NDArray[Any]) -> int:
    """The CRC-32 of an array's bytes."""
    value = 0
    for piece in pieces(array):
        value = zlib.crc32(piece.data, value)
    return value
