"""The arrays that the loops of `walk_kernels` work on, by name. R roads, E transitions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Roads(NamedTuple):
    """The road network."""

    offsets: IntArray  # [R + 1]
    targets: IntArray  # [E]
    lon: FloatArray  # [R], degrees
    lat: FloatArray  # [R], degrees


class Seen(NamedTuple):
    """How often training trips took a transition."""

    mode: int  # which of these a walk goes by
    first_order: FloatArray  # [E], as shares of a road's transitions
    pair_keys: IntArray  # pairs of transitions, or of transition and destination, rising
    pair_counts: FloatArray
    by_direction: FloatArray  # [E, contexts]


class Walks(NamedTuple):
    """Walks asked for, and room for what is drawn."""

    first_number: int
    origin: IntArray  # [n]
    destination: IntArray  # [n]
    limit: IntArray  # [n], roads
    route: NDArray[np.int32]  # [n, largest limit]
    length: IntArray  # [n]
    log_prob: FloatArray  # [n]
