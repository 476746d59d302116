"""What is asked for and what is found: origin, destination and start in, roads and times out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class TripRequests:
    """A run of consecutive requests; `first` is the number of the first one."""

    first: int
    origin: IntArray  # [n], road ids
    destination: IntArray  # [n], road ids
    start: IntArray  # [n], seconds since 1970

    def __len__(self) -> int:
        return len(self.origin)

    def split(self, count: int) -> tuple[TripRequests, TripRequests]:
        """The first `count` requests and the rest."""
        head, tail = slice(0, count), slice(count, None)
        return (
            TripRequests(self.first, self.origin[head], self.destination[head], self.start[head]),
            TripRequests(
                self.first + count, self.origin[tail], self.destination[tail], self.start[tail]
            ),
        )


@dataclass(frozen=True)
class GeneratedTrip:
    """One trip as found; `log_prob` is that of the model for the roads after the origin."""

    number: int
    origin: int
    destination: int
    road_ids: NDArray[np.int64]  # [n]
    times: IntArray  # [n], seconds since 1970, when each road is entered
    reached: bool
    log_prob: float

    @property
    def seconds(self) -> int:
        """How long the trip takes."""
        return int(self.times[-1] - self.times[0])
