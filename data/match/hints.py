"""What to tell users whose points did not become trips."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from data.match.cleaning import ALONE, NO_TIME_OR_PLACE, OUT_OF_ORDER, WITHOUT_PASSENGERS
from data.match.point_columns import Unread
from data.match.point_files import PointFiles
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("match")

_MUCH = 0.03
_EXPECTED = {
    "time": "expected a date with a time, as 2024-01-31 12:00:05, or seconds since 1970 "
    "(another column: --columns time=NAME)",
    "lat": "expected degrees (another column: --columns lat=NAME)",
    "lon": "expected degrees (another column: --columns lon=NAME)",
}


def warn_of_unread(counts: Mapping[str, int], files: PointFiles) -> None:
    """Says so where more than a few of the points had no time or place that could be read."""
    lost, points = counts.get(NO_TIME_OR_PLACE, 0), counts["points"]
    if lost <= _MUCH * points:
        return
    unread = _unread(files)
    logger.warning(
        "%.0f %% of the points (%s) are left out for want of a time or place that can be read%s.",
        100 * lost / points,
        f"{lost:,}",
        f"; {unread}" if unread else "",
    )


def why_no_trip(counts: Mapping[str, int], vehicles: int, files: PointFiles) -> str | None:
    """What to do about what most points were left out for; None where that is their place."""
    reasons = [key for key in counts if key.startswith("points: ") and key != OUT_OF_ORDER]
    most = max(reasons, key=counts.__getitem__, default=None)
    if most == NO_TIME_OR_PLACE:
        unread = _unread(files)
        return None if unread is None else f"{unread}; {_EXPECTED[unread.role]}."
    if most == WITHOUT_PASSENGERS:
        return "Points without passengers are left out; --vacant keep makes trips of them, too."
    if most != ALONE:
        return None
    if vehicles > counts["points"] // 2:
        return (
            f"{files.vehicles_by()} tells {vehicles} vehicles apart in {counts['points']} points; "
            "name the column of the vehicle with --columns vehicle=NAME, or leave that one out of "
            "the files where each is one vehicle."
        )
    return "Points more than --max_gap seconds apart, or of different values of trip, are apart."


def _unread(files: PointFiles) -> Unread | None:
    """A value that was not read; none where the files are gone meanwhile."""
    with contextlib.suppress(UserError):
        return files.most_unread(_MUCH)
    return None
