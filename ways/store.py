"""Where a student's costs are kept: in the dataset's cache, found on first use.

They are worth nothing without the training trips on which roads' times and turns are counted, so
they stay beside these and not in the student's file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from dataset import TripDataset
from runtime.errors import UserError
from runtime.files import read_json, sha256_of_arrays, sha256_of_json, write_json
from runtime.logs import get_logger
from ways.costs import LEAST_CHOICES, CountedWays, StudentCosts, fit_costs
from ways.likelihood import Opinion

logger = get_logger("ways")

FORMAT = 1


def costs_on_first_use(
    student: Callable[[], Opinion],
    model_hash: str,
    val: TripDataset,
    ways: CountedWays,
    cache: Path,
) -> StudentCosts:
    """The costs of a student, from the cache or found now on validation trips.

    `student` is asked for only then.
    """
    assert ways.road_seconds is not None and ways.turn_surprise is not None
    counted = sha256_of_arrays(ways.road_seconds, ways.turn_surprise)
    key = [FORMAT, model_hash, val.content_hash, ways.network.content_hash, counted]
    file = cache / f"costs-{sha256_of_json(key)[:16]}.json"
    known = _read(file)
    if known is not None:
        return known
    logger.info("What detours cost this student is found out on the %s trips.", val.split)
    found = fit_costs(student(), val, ways)
    if found is None:
        raise UserError(
            f"The {val.split} trips make fewer than {LEAST_CHOICES} choices of a road; what "
            "detours cost cannot be found out. Give --detour_cost, --delay_cost and --turn_cost."
        )
    logger.info(
        "A km of detour costs %.2f nats, a minute %.2f, a nat of an unusual turn %.2f; the "
        "student's surprise at a choice falls from %.4f to %.4f.",
        found.detour_cost,
        found.delay_cost,
        found.turn_cost,
        found.without,
        found.with_them,
    )
    try:
        write_json(file, asdict(found))
    except UserError as error:
        logger.warning("They are not kept: %s", error)
    return found


def _read(file: Path) -> StudentCosts | None:
    """What the cache has; None where it is missing or damaged."""
    try:
        found = StudentCosts(**read_json(file))
    except (OSError, UserError, TypeError):
        return None
    numbers = asdict(found).values()
    usable = all(isinstance(n, int | float) and 0 <= n < math.inf for n in numbers)
    return found if usable else None
