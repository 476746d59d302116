"""Points as fixed-size records: how they wait on disk and how pieces of work hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

POINT = np.dtype(
    [
        ("vehicle", np.int32),  # number of the vehicle's name
        ("trip", np.int64),  # a hash of the trip's name; 0 without one
        ("occupied", np.int8),  # 1, 0, or −1 where nothing tells
        ("time_s", np.float64),  # since 1970, UTC; NaN where it cannot be read
        ("lon", np.float64),
        ("lat", np.float64),
        ("heading", np.float32),  # degrees from north, clockwise; NaN without one
    ]
)

Records = NDArray[Any]
"""An array of `POINT`."""
