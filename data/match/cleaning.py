"""From a vehicle's points to trips of points that tell of movement."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import RawPoints, SplitRules
from data.match.matcher import TripPoints
from data.match.records import Records
from data.match.settings import CleaningSettings

IntArray = NDArray[np.int64]
NO_TIME_OR_PLACE = "points: no time or place"
OUT_OF_ORDER = "points: out of order, sorted"
WITHOUT_PASSENGERS = "points: without passengers"
ALONE = "points: alone in a trip"


@dataclass(frozen=True)
class CleanTrips:
    """Trips of good points, packed, and which rows of the records they came from."""

    offsets: IntArray  # [n + 1]
    row: IntArray  # [P]


def clean(records: Records, settings: CleaningSettings, counts: Counter[str]) -> CleanTrips:
    """Sorts out errors and splits into trips; `counts` gets what was left out, by reason."""
    from data.match import cleaning_kernels as kernels

    good = (
        np.isfinite(records["time_s"])
        & (np.abs(records["lon"]) <= 180.0)
        & (np.abs(records["lat"]) <= 90.0)
        & ((records["lon"] != 0.0) | (records["lat"] != 0.0))
    )
    counts[NO_TIME_OR_PLACE] += int(len(good) - good.sum())
    rows = np.flatnonzero(good)
    backwards = (np.diff(records["time_s"][rows]) < 0) & (np.diff(records["vehicle"][rows]) == 0)
    counts[OUT_OF_ORDER] += int(backwards.sum())
    rows = rows[np.lexsort((records["time_s"][rows], records["vehicle"][rows]))]
    sorted_records = records[rows]
    state = np.empty(len(rows), dtype=np.int8)
    trip_of = np.empty(len(rows), dtype=np.int32)
    points = RawPoints(*(np.ascontiguousarray(sorted_records[name]) for name in RawPoints._fields))
    rules = SplitRules(
        drop_vacant=settings.vacant == "drop",
        max_speed=settings.max_speed,
        max_gap_s=settings.max_gap_s,
        pause_s=settings.pause_s,
        pause_radius_m=settings.pause_radius_m,
    )
    kernels.split_trips(points, rules, state, trip_of)
    for reason, value in (
        ("points: two at one time", kernels.DUPLICATE),
        ("points: a jump", kernels.JUMP),
        (WITHOUT_PASSENGERS, kernels.VACANT),
        ("points: parked between trips", kernels.PARKED),
    ):
        counts[reason] += int((state == value).sum())
    kept = np.flatnonzero(state == kernels.KEPT)
    return _trips_of_two(kept, trip_of[kept], rows, counts)


def _trips_of_two(
    kept: IntArray, trip_of: NDArray[np.int32], rows: IntArray, counts: Counter[str]
) -> CleanTrips:
    """Leaves out trips of a single point, of which no way can be told."""
    lengths = np.bincount(trip_of) if len(trip_of) else np.empty(0, dtype=np.int64)
    single = lengths[trip_of] < 2
    counts[ALONE] += int(single.sum())
    lengths = lengths[lengths >= 2]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return CleanTrips(offsets, rows[kept[~single]])


def thin(
    records: Records, trips: CleanTrips, spacing_m: float, counts: Counter[str]
) -> tuple[TripPoints, IntArray]:
    """The points at least `spacing_m` apart, and their rows; standing is kept as a duration."""
    from data.match.cleaning_kernels import thin_trips

    lon, lat = records["lon"][trips.row], records["lat"][trips.row]
    time_s = records["time_s"][trips.row]
    kept = np.empty(len(trips.row), dtype=np.bool_)
    leave_s = np.empty(len(trips.row), dtype=np.float64)
    thin_trips(trips.offsets, time_s, lon, lat, spacing_m, kept, leave_s)
    counts["points: standing or close together"] += int(len(kept) - kept.sum())
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    points = TripPoints(
        before[trips.offsets],
        lon[kept],
        lat[kept],
        time_s[kept],
        leave_s[kept],
        records["heading"][trips.row][kept],
    )
    return points, trips.row[kept]
