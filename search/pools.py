"""Arrays that grow: by doubling, so that adding to them costs little in the end."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Pool = TypeVar("Pool", bound=NDArray[Any])


def with_room(pool: Pool, size: int) -> Pool:
    """The pool, with room for `size` entries: itself, or one at least twice as large.

    What is new in it has no meaning yet.
    """
    capacity = len(pool)
    if size <= capacity:
        return pool
    new = np.empty((max(size - capacity, capacity), *pool.shape[1:]), pool.dtype)
    return np.concatenate([pool, new])  # type: ignore[return-value]
