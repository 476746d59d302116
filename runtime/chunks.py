"""A compiled loop over many items, shared out to threads.

Kernels release the interpreter's lock, so plain threads use all cores, and a kernel that is not
parallel itself compiles in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

CHUNKS_PER_THREAD = 4


def run_in_threads(task: Callable[[int, int], None], count: int) -> None:
    """Calls `task(begin, end)` for pieces that cover `range(count)`."""
    import numba

    threads = min(numba.get_num_threads(), count)
    if threads <= 1:
        task(0, count)
        return
    pieces = min(count, threads * CHUNKS_PER_THREAD)
    edges = [piece * count // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(task, edges[:-1], edges[1:]))
