"""What drivers pay for a km and for a minute in vain: found on validation trips, by likelihood.

How long roads usually take is counted on training trips. Kilometres and minutes make one cost, and
with it one cheapest way; some mixtures of them are tried, and of each the likeliest height,
together with how far the teacher's own opinion is to be trusted beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from critics.road_teacher import road_teacher
from critics.way import Way, WaySense
from critics.weights import TeacherWeights
from data.road_times import counted_road_seconds
from dataset import TripDataset
from runtime.errors import UserError
from runtime.logs import get_logger
from ways.costs import LEAST_CHOICES, SHARES_OF_MINUTES
from ways.likelihood import ChoiceLikelihood, Opinion

logger = get_logger("teacher")

MOST_TRIPS = 1000  # of validation, evenly spread: two numbers need no more


@dataclass(frozen=True)
class FittedWay:
    """A sense of the way and what it is worth: mean surprises at the choices it was found on."""

    sense: WaySense
    num_choices: int
    without: float  # nats
    with_it: float


def knowing_the_way(
    weights: TeacherWeights,
    val: TripDataset,
    train: TripDataset,
    num_train: int | None = None,
    device: torch.device | str = "cpu",
) -> TeacherWeights:
    """A teacher with a sense of the way, found for it, in place of any that it had.

    It has none where there are too few validation trips to find one.
    """
    if weights.vocabulary != "road":
        raise UserError(
            f"{weights.source} speaks of cells, and roads that share one are one to it; only a "
            "teacher whose tokens are roads can be given a sense of the way."
        )
    alone = road_teacher(replace(weights, way=None), val.network, device=device)
    found = fit_way(alone, val, train, num_train)
    if found is None:
        logger.warning(
            "The teacher gets no sense of the way: that takes %d choices of a road or more, and "
            "the %s trips make fewer.",
            LEAST_CHOICES,
            val.split,
        )
        return replace(weights, way=None)
    logger.info(
        "A sense of the way: a km in vain costs %.2f nats, a minute %.2f; the teacher's surprise "
        "at %d choices of %s trips falls from %.4f to %.4f.",
        found.sense.per_km,
        found.sense.per_minute,
        found.num_choices,
        val.split,
        found.without,
        found.with_it,
    )
    return replace(weights, way=found.sense)


def fit_way(
    believer: Opinion,
    val: TripDataset,
    train: TripDataset,
    num_train: int | None = None,
    max_trips: int = MOST_TRIPS,
) -> FittedWay | None:
    """The sense of the way with which the opinion of `believer`, who has none, is likeliest.

    On at most `max_trips` trips of `val`, evenly spread; None where they make too few choices.
    `num_train` says how many of the training trips may be known.
    """
    network = val.network
    likelihood = ChoiceLikelihood(believer, val, max_trips)
    if likelihood.num_choices < LEAST_CHOICES:
        return None
    seconds = _usual_seconds(train, num_train)
    found = []
    for share in SHARES_OF_MINUTES:
        cheapest = Way(WaySense(seconds, 1.0, 1.0 - share, share), network)
        charges = cheapest.charges_along(likelihood.road_ids, likelihood.offsets).numpy()
        best = likelihood.best(charges)
        height = best.height
        numbers = best.sharpness, height * (1.0 - share), height * share
        found.append((best.surprise, *numbers))
    with_it, *numbers_found = min(found)
    sense = WaySense(seconds, *numbers_found)
    return FittedWay(sense, likelihood.num_choices, likelihood.of_opinion(), with_it)


def _usual_seconds(train: TripDataset, num_train: int | None) -> Tensor:  # [R]
    count = len(train) if num_train is None else min(num_train, len(train))
    offsets = train.offsets[: count + 1]
    usual = counted_road_seconds(
        train.network, train.road_ids, train.seconds[: offsets[-1]], offsets
    )
    return torch.from_numpy(usual).float()
