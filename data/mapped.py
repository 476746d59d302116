"""Arrays that stand in files and are mapped into memory: what was read need not stay there.

Pages of a mapped file count as a process's own for as long as it holds them, though nothing was
written to them. Who reads a large column once, or a little of it here and there, lets go of them:
the next read finds them in the system's cache of files.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_PIECE_BYTES = 1 << 23


def forget(array: NDArray[np.generic]) -> None:
    """Lets go of the pages that an array mapped from a file has in memory; of others, nothing."""
    if not hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, where they stay
        return
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def pieces(array: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    """An array's values, one after the other, with few of them in memory at a time.

    The last ones stay: a small array that is read twice in a row is fetched once.
    """
    step = _PIECE_BYTES // array.itemsize
    for start in range(0, len(array), step):
        if start:
            forget(array)
        yield np.ascontiguousarray(array[start : start + step])


def held(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """A copy in memory."""
    copy = np.empty(array.shape, dtype=array.dtype)
    done = 0
    for piece in pieces(array):
        copy[done : done + len(piece)] = piece
        done += len(piece)
    return copy
