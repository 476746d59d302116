"""What to tell users whose points did not become trips."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from data.match.cleaning import NO_TIME_OR_PLACE
from data.match.point_files import PointFiles
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("match")

_MUCH = 0.03


def warn_of_unread(counts: Mapping[str, int], files: PointFiles) -> None:
    """Says so where more than a few of the points had no time or place that could be read."""
    lost, points = counts.get(NO_TIME_OR_PLACE, 0), counts["points"]
    if lost <= _MUCH * points:
        return
    example = _example(files)
    logger.warning(
        "%.0f %% of the points (%s) are left out for want of a time or place that can be read%s.",
        100 * lost / points,
        f"{lost:,}",
        f"; {example}" if example else "",
    )


def _example(files: PointFiles) -> str | None:
    """A value that was not read; none where the files are gone meanwhile."""
    with contextlib.suppress(UserError):
        return files.most_unread(_MUCH)
    return None
