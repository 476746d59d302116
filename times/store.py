"""Where a student's distribution of travel times is kept: in its checkpoint, or beside the data.

Training puts it into the checkpoint. A student that comes without one gets it on first use, from
the dataset's validation trips; it is then kept in the dataset's cache, not in the student's file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from dataset import TripDataset
from hoser import HOSER
from models.checkpoint import add_to_student_file
from runtime.errors import UserError
from runtime.files import sha256_of_json
from runtime.logs import get_logger
from runtime.torch_files import DamagedFile, load_plain, save_plain
from times.distribution import FORMAT, TimeDistribution
from times.fitting import MIN_TIMES, TimeQuality, fit_with_quality
from times.records import drive_both_kinds_of_days

logger = get_logger("times")

KEY = "travel_times"  # in a checkpoint


def fit_student(
    student: HOSER, trips: TripDataset, train: Callable[[], TripDataset], device: torch.device
) -> tuple[TimeDistribution, TimeQuality]:
    """The distribution of a student's residuals on validation trips.

    `train` is asked only where these lack working days or weekends.
    """
    records = drive_both_kinds_of_days(student, trips, train, device)
    if len(records) < MIN_TIMES:
        raise UserError(
            f"The {trips.split} trips have {len(records)} travel times; {MIN_TIMES} are needed to "
            "see how they spread. Generate with --times expected."
        )
    fitted, quality = fit_with_quality(records, num_classes_of(trips))
    logger.info(
        "Travel times on unseen trips: %.1f, %.1f and %.1f %% lie inside the intervals of 50, 80 "
        "and 95 %%; CRPS %.2f s.",
        100 * quality.coverage_50,
        100 * quality.coverage_80,
        100 * quality.coverage_95,
        quality.crps_s,
    )
    return fitted, quality


def num_classes_of(trips: TripDataset) -> int:
    """The road classes of the trips' network."""
    return int(trips.network.road_attr_type.max()) + 1


def add_to_checkpoint(path: Path, distribution: TimeDistribution, output: Path) -> None:
    """Writes the checkpoint `path` with the distribution in it to `output`, atomically."""
    add_to_student_file(path, KEY, distribution.to_plain(), output)


def fitted_on_first_use(
    student: HOSER,
    model_hash: str,
    load_trips: Callable[[str], TripDataset],
    device: torch.device,
    cache: Path,
) -> TimeDistribution:
    """The distribution of a student that came without one, from the cache or fitted now."""
    trips = load_trips("val")
    key = sha256_of_json([FORMAT, model_hash, trips.content_hash, trips.network.content_hash])
    file = cache / f"travel-times-{key[:16]}.pt"
    try:
        return TimeDistribution.from_plain(load_plain(file))
    except (FileNotFoundError, DamagedFile, UserError, AttributeError):
        pass
    logger.info(
        "The student does not say how its travel times spread; that is found out on the %s trips.",
        trips.split,
    )
    distribution, _ = fit_student(student, trips, lambda: load_trips("train"), device)
    try:
        save_plain(file, distribution.to_plain())
    except UserError as error:
        logger.warning("The travel times' spread is not kept: %s", error)
    return TimeDistribution.from_plain(distribution.to_plain())
