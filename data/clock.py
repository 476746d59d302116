"""Wall time, in seconds or days since 1970, as weekdays and hours."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

SECONDS_PER_DAY = 86_400
SECONDS_PER_HOUR = 3600
HOURS = 48  # of a working day, then of a weekend day

IntArray = NDArray[np.int64]
if TYPE_CHECKING:  # torch takes long to load
    from torch import Tensor

    Days = TypeVar("Days", IntArray, Tensor)


def weekday(day: Days) -> Days:
    """0 on Mondays to 6 on Sundays."""
    return (day + 3) % 7  # 1970 began on a Thursday


def is_weekend(day: IntArray) -> NDArray[np.bool_]:
    """Whether the day is a Saturday or a Sunday."""
    return weekday(day) >= 5


def hour_of_day_kind(seconds: IntArray) -> IntArray:
    """0 to 23 on a working day, 24 to 47 at a weekend."""
    day, second = np.divmod(seconds, SECONDS_PER_DAY)
    return second // SECONDS_PER_HOUR + 24 * is_weekend(day)
