"""Splits work on rows over torch's number of CPU threads, for compiled kernels without the GIL.

Plain threads instead of numba's own pool: they honour `torch.set_num_threads`, may be used from
several Python threads at once, and survive a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch

Chunks = list[tuple[int, int]]
Batch = TypeVar("Batch")

_EDGES_A_CHUNK = 8192
_WORKER_NAME = "compiled-kernel"


@lru_cache(maxsize=1)
def _pool(pid: int, num_workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_workers, thread_name_prefix=_WORKER_NAME)


def run_chunks(
    kernel: Callable[..., None], chunks: Chunks, arguments: Callable[[int], tuple[Any, ...]]
) -> None:
    """Calls kernel(begin, end, *arguments(chunk number)) for every chunk, in parallel."""
    waiting = iter(enumerate(chunks))

    def work() -> None:
        while (item := take()) is not None:
            number, (begin, end) = item
            kernel(begin, end, *arguments(number))

    lock = threading.Lock()

    def take() -> tuple[int, tuple[int, int]] | None:
        with lock:
            return next(waiting, None)

    num_helpers = min(torch.get_num_threads(), len(chunks)) - 1
    if num_helpers <= 0:
        work()
        return
    pool = _pool(os.getpid(), num_helpers)
    helpers = [pool.submit(work) for _ in range(num_helpers)]
    work()
    for helper in helpers:
        helper.result()


def run_batches(
    work: Callable[[Batch], None], batches: Sequence[Batch], device: torch.device
) -> None:
    """Calls `work` for every batch, on a CPU several at a time, each on one of torch's threads.

    Layers of a small model share out badly over threads, and what is between them not at all.
    """
    num_threads = torch.get_num_threads()
    if device.type != "cpu" or min(num_threads, len(batches)) <= 1:
        for batch in batches:
            work(batch)
        return
    try:
        with ThreadPoolExecutor(
            num_threads, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            for _ in pool.map(work, batches):
                pass
    finally:
        torch.set_num_threads(num_threads)  # what a thread sets holds for some libraries in all


def balanced_chunks(offsets: np.ndarray) -> Chunks:
    """Row ranges of about equal numbers of entries; `offsets` are those of compressed rows.

    Their number depends on the data alone, so that sums over chunks do not vary with threads.
    """
    num_rows, num_entries = len(offsets) - 1, int(offsets[-1])
    num_chunks = min(max(2, num_entries // _EDGES_A_CHUNK), 64)
    wanted = np.linspace(0, num_entries, num_chunks + 1)[1:-1]
    bounds = [0, *np.searchsorted(offsets[1:], wanted).tolist(), num_rows]
    return [(begin, end) for begin, end in pairwise(bounds) if end > begin]


def even_chunks(num_rows: int, num_chunks: int) -> Chunks:
    """`num_rows` in ranges of about the same length."""
    bounds = np.linspace(0, num_rows, num_chunks + 1).astype(int).tolist()
    return [(begin, end) for begin, end in pairwise(bounds) if end > begin]
