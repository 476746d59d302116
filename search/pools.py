"""Arrays that grow: by doubling, so that adding to them costs little in the end."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Pool = TypeVar("Pool", bound=NDArray[Any])


def with_room(pool: Pool, size: int, axis: int = 0) -> Pool:
    """The pool, with room for `size` entries along an axis: itself, or one at least twice as large.

    What is new in it has no meaning yet.
    """
    capacity = pool.shape[axis]
    if size <= capacity:
        return pool
    shape = list(pool.shape)
    shape[axis] = max(size - capacity, capacity)
    return np.concatenate([pool, np.empty(shape, pool.dtype)], axis=axis)  # type: ignore[return-value]
