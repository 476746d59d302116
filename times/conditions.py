"""What the time on a road depends on: the predicted one, the road's class, the hour, and the trip.

The place in the trip counts, since a trip begins in the middle of a road, sets off and pulls up:
its first and last few roads take other times than the same roads on the way. And its extent: who
drives far chooses streets and hours on which one gets along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.clock import hour_of_day_kind

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FIRST, UNDER_WAY, PLACES = 0, 4, 8  # 0 to 3 from the start, on the way, 5 to 7 before the end
_FROM_END = PLACES - UNDER_WAY - 1

_EXTENT_EDGES_S = np.array([120.0, 240.0, 360.0, 480.0, 720.0, 1080.0, 1800.0])
UNKNOWN_EXTENT = len(_EXTENT_EDGES_S) + 1  # of a trip that is still under way
EXTENTS = UNKNOWN_EXTENT + 1


@dataclass(frozen=True)
class TimeConditions:
    """What the time on each of N roads depends on."""

    expected: FloatArray  # [N], predicted log(1 + seconds)
    road_class: IntArray  # [N], `RoadNetwork.road_attr_type` of the road driven along
    hour: IntArray  # [N], `hour_of_day_kind` when that road is entered
    place: IntArray  # [N], see `places`
    extent: IntArray  # [N], see `extents`

    @classmethod
    def of(
        cls,
        expected_s: FloatArray,
        road_class: IntArray,
        entered_s: IntArray,
        place: IntArray,
        extent: IntArray | None = None,
    ) -> TimeConditions:
        """From predicted seconds, and the seconds since 1970 when the road is entered.

        Without `extent` the roads are those of trips under way, of unknown extent.
        """
        log_s = np.log1p(np.maximum(expected_s, 0.0))
        if extent is None:
            extent = np.full(len(expected_s), UNKNOWN_EXTENT)
        return cls(log_s, road_class, hour_of_day_kind(entered_s), place, extent)

    def __len__(self) -> int:
        return len(self.expected)

    def __getitem__(self, rows: NDArray[Any] | slice) -> TimeConditions:
        return TimeConditions(*(column[rows] for column in vars(self).values()))


def places(position: IntArray, following: IntArray | None = None) -> IntArray:
    """Where times stand in their trips, given how many of its times come before and after each.

    Without the latter, as of a trip that is still under way, nothing is near the end.
    """
    place = np.minimum(position, UNDER_WAY)
    if following is None:
        return place
    near_end = (following < _FROM_END) & (following < position)
    return np.where(near_end, PLACES - 1 - following, place)


def extents(expected_s: FloatArray, trip: IntArray) -> IntArray:
    """How long each road's whole trip was expected to take, in classes. [N]

    `trip` [N] tells which of the predicted seconds belong together, numbered from 0.
    """
    whole_s = np.bincount(trip, np.maximum(expected_s, 0.0))
    return np.searchsorted(_EXTENT_EDGES_S, whole_s, side="right")[trip]
