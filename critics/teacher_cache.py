"""The teacher's logits on disk: computed once, gathered per batch without asking the teacher.

One column of float16 values per split: all candidates of all positions of all trips, in the order
of the trips' file. Where a position's values begin follows from the trips and the road network, so
nothing else is stored; at four candidates a position takes eight bytes. Values are relative to
their position's largest, which no distillation loss sees and float16 rounds least.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.cache_files import MANIFEST, VALUES
from data.mapped import forget
from dataset import Batch, TripDataset
from runtime.errors import UserError
from runtime.files import read_json, sha256_of_json

FORMAT_VERSION = 1
DEVICE_SHARE = 0.2  # of a GPU's free memory that the values may take
SMALLEST = -6e4  # float16 ends a little below


@dataclass(frozen=True)
class CacheKey:
    """What the values of a cache depend on."""

    split: str
    trips: str  # content hash
    network: str  # content hash
    teacher: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the manifest."""
        return {"format_version": FORMAT_VERSION, **vars(self)}

    @property
    def digest(self) -> str:
        """A short name for it."""
        return sha256_of_json(self.to_dict())[:16]


class CacheLayout:
    """Where in the column the values of each trip begin."""

    def __init__(self, dataset: TripDataset) -> None:
        self.dataset = dataset
        self.out_degree = dataset.network.out_degree.astype(np.int64)  # [R]
        self.trip_begin = self._trip_begin()  # int64 [n + 1]

    def _trip_begin(self) -> NDArray[np.int64]:
        begin = np.zeros(len(self.dataset) + 1, dtype=np.int64)
        offsets = self.dataset.offsets
        for first in range(0, len(self.dataset), 1 << 16):  # a stretch of trips at a time
            last = min(first + (1 << 16), len(self.dataset))
            roads = np.asarray(self.dataset.road_ids[offsets[first] : offsets[last]])
            degree = self.out_degree[roads]
            degree[offsets[first + 1 : last + 1] - 1 - offsets[first]] = 0  # last roads
            begin[first + 1 : last + 1] = np.add.reduceat(
                degree, offsets[first:last] - offsets[first]
            )
        return np.cumsum(begin)

    @property
    def num_values(self) -> int:
        """The length of the column."""
        return int(self.trip_begin[-1])

    def values_before(
        self, trip_id: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """How many values the first `steps` positions of each trip have. [B]"""
        before = np.zeros(len(trip_id), dtype=np.int64)
        for i in np.flatnonzero(steps):  # rows cropped from trips longer than max_len: few
            begin = self.dataset.offsets[trip_id[i]]
            before[i] = self.out_degree[self.dataset.road_ids[begin : begin + steps[i]]].sum()
        return before


class TeacherCache:
    """An opened, verified cache."""

    def __init__(
        self, values: NDArray[np.float16], layout: CacheLayout, device: torch.device | str
    ) -> None:
        self.layout = layout
        self.device = torch.device(device)
        self.out_degree = torch.from_numpy(layout.out_degree).to(self.device)
        self.trip_begin = torch.from_numpy(layout.trip_begin).to(self.device)
        self.values = torch.from_numpy(values)
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if self.values.nbytes < DEVICE_SHARE * free:
                self.values = self.values.to(self.device)
        longest = int(layout.dataset.trace_lengths.max(initial=0))
        max_len = layout.dataset.max_len
        self.may_be_cropped = max_len is not None and longest > max_len

    def lookup(self, batch: Batch) -> Tensor:
        """The teacher's logits [B, T, C], float32; minus infinity where there is no candidate."""
        degree = self.out_degree[batch.trace_road_id]  # [B, T]
        begin = self.trip_begin[batch.trip_id]  # [B]
        if self.may_be_cropped:
            begin = begin + self._cropped_away(batch)
        begin = begin.unsqueeze(1) + degree.cumsum(dim=1) - degree  # [B, T]
        place = batch.candidate_position
        if place is None:
            place = torch.arange(batch.candidate_road_id.shape[-1], device=self.device)
        mask = batch.candidate_mask
        index = torch.where(mask, begin.unsqueeze(-1) + place, 0)
        if self.values.device == index.device:
            values = self.values[index]
        else:
            values = self.values[index.cpu()].to(self.device)
        return torch.where(mask, values.float(), -torch.inf)

    def _cropped_away(self, batch: Batch) -> Tensor:  # int64 [B]
        trip_id, steps = batch.trip_id.cpu().numpy(), batch.crop_start.cpu().numpy()
        return torch.from_numpy(self.layout.values_before(trip_id, steps)).to(self.device)


def encode_values(
    logits: NDArray[np.float32], counts: NDArray[np.int64]
) -> NDArray[np.float16]:  # [V], [P] -> [V]
    """Logits of P positions with `counts` candidates each, relative to the largest of each."""
    real = counts[counts > 0]
    if len(real) == 0:
        return logits.astype(np.float16)
    begin = np.cumsum(real) - real
    with np.errstate(invalid="ignore"):  # a non-finite position stays one and is left out later
        relative = logits - np.repeat(np.maximum.reduceat(logits, begin), real)
        return np.maximum(relative, SMALLEST).astype(np.float16)


def open_cache(
    folder: Path, key: CacheKey, layout: CacheLayout, device: torch.device | str
) -> tuple[TeacherCache | None, str]:
    """The cache in `folder` if it is whole and of this key; else None and why."""
    manifest_file, values_file = folder / MANIFEST, folder / VALUES
    if not manifest_file.exists():
        return None, "it was never finished"
    try:
        manifest = read_json(manifest_file)
    except UserError:
        return None, "its manifest is damaged"
    if not isinstance(manifest, dict) or manifest.get("key") != key.to_dict():
        return None, "it was made from something else"
    if not values_file.is_file() or values_file.stat().st_size != 2 * layout.num_values:
        return None, "its size is wrong"
    values = map_values(values_file, layout.num_values)
    chunks = manifest.get("chunks")
    if not isinstance(chunks, list) or not verify_chunks(values, chunks):
        return None, "its checksums do not match"
    if sum(int(count) for count, _ in chunks) != layout.num_values:
        return None, "it does not cover all trips"
    return TeacherCache(values, layout, device), ""


def map_values(path: Path, count: int) -> NDArray[np.float16]:
    """The column, mapped so that only what is read takes memory."""
    if count == 0:
        return np.zeros(1, dtype=np.float16)
    # Copy-on-write rather than read-only: PyTorch wants a writable array, which nobody writes.
    return np.memmap(path, dtype=np.float16, mode="c", shape=(count,))


def verify_chunks(values: NDArray[np.float16], chunks: Sequence[Any]) -> bool:
    """Whether each stretch (its number of values, its checksum) is as it was written."""
    begin = 0
    for chunk in chunks:
        if not (isinstance(chunk, list) and len(chunk) == 2 and isinstance(chunk[0], int)):
            return False
        part = values[begin : begin + chunk[0]]
        if len(part) != chunk[0] or checksum(part) != chunk[1]:
            return False
        forget(values)
        begin += chunk[0]
    return True


def checksum(values: NDArray[np.float16]) -> str:
    """Of a stretch of values."""
    contiguous = np.ascontiguousarray(values)
    return hashlib.sha256(contiguous.data if contiguous.size else b"").hexdigest()[:32]


def read_journal(path: Path) -> dict[str, Any] | None:
    """The journal of an unfinished cache; None where it cannot be used."""
    try:
        journal = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return journal if isinstance(journal, dict) else None
