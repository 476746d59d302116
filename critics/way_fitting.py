"""What drivers pay for a km and for a minute in vain: found on validation trips, by likelihood.

How long roads usually take is counted on training trips. Kilometres and minutes make one cost, and
with it one cheapest way; some mixtures of them are tried, and of each the likeliest height,
together with how far the teacher's own opinion is to be trusted beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from critics.choices import NO_WAY, Choices, log_probabilities
from critics.road_teacher import road_teacher
from critics.way import Way, WaySense
from critics.weights import TeacherWeights
from data.laid_out import here_and_taken
from data.road_times import counted_road_seconds
from dataset import TripDataset
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("teacher")

MOST_TRIPS = 1000  # of validation, evenly spread: two numbers need no more
TRIPS_AT_ONCE = 250
SHARES_OF_MINUTES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)  # in the cost; the rest are kilometres
LEAST_CHOICES = 50
FloatArray = NDArray[np.float64]


class Opinion(Protocol):
    """Whoever has an opinion of all candidates: a teacher, or less than one."""

    def trip_logits(self, dataset: TripDataset, trip_id: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of all candidates of all positions of whole trips, one after the other."""
        ...


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
    trips = np.unique(np.linspace(0, len(val) - 1, min(max_trips, len(val))).astype(np.int64))
    network = val.network
    road_ids, offsets = val.laid_out(trips)
    choices = Choices.of(network, *here_and_taken(road_ids, offsets))
    made = (choices.label != NO_WAY) & (choices.count > 1)
    if made.sum() < LEAST_CHOICES:
        return None
    opinion = np.concatenate(
        [
            believer.trip_logits(val, trips[first : first + TRIPS_AT_ONCE])
            for first in range(0, len(trips), TRIPS_AT_ONCE)
        ]
    )
    seconds = _usual_seconds(train, num_train)
    likelihood = _Likelihood(choices, made, log_probabilities(opinion, choices.count))
    found = []
    for share in SHARES_OF_MINUTES:
        cheapest = Way(WaySense(seconds, 1.0, 1.0 - share, share), network)
        charges = cheapest.charges_along(road_ids, offsets).numpy()
        sharpness, height, surprise = likelihood.best(charges)
        found.append((surprise, sharpness, height * (1.0 - share), height * share))
    with_it, *numbers = min(found)
    return FittedWay(WaySense(seconds, *numbers), int(made.sum()), likelihood.of_opinion(), with_it)


def _usual_seconds(train: TripDataset, num_train: int | None) -> Tensor:  # [R]
    count = len(train) if num_train is None else min(num_train, len(train))
    offsets = train.offsets[: count + 1]
    usual = counted_road_seconds(
        train.network, train.road_ids, train.seconds[: offsets[-1]], offsets
    )
    return torch.from_numpy(usual).float()


class _Likelihood:
    """How likely choices are, of an opinion and of charges, each times a number."""

    def __init__(self, choices: Choices, made: NDArray[np.bool_], opinion: FloatArray) -> None:
        count = choices.count[made]
        self._begin = np.cumsum(count) - count
        self._count = count
        within = np.arange(count.sum()) - np.repeat(self._begin, count)
        self._entries = np.repeat(choices.begin[made], count) + within
        self._label = self._begin + choices.label[made] - choices.begin[made]
        self._opinion = opinion[self._entries]

    def best(self, charges: FloatArray) -> tuple[float, float, float]:
        """The likeliest pair of numbers, neither below 0, and the mean surprise of it."""
        from scipy.optimize import minimize

        parts = np.stack([self._opinion, charges[self._entries]])  # [2, M]
        found = minimize(
            self._surprise, (1.0, 1.0), args=(parts,), jac=True, method="L-BFGS-B",
            bounds=[(0.0, None)] * 2,
        )  # fmt: skip
        return float(found.x[0]), float(found.x[1]), float(found.fun)

    def of_opinion(self) -> float:
        """The mean surprise of the opinion as it is."""
        return float(self._surprise(np.ones(1), self._opinion[None])[0])

    def _surprise(self, numbers: FloatArray, parts: FloatArray) -> tuple[float, FloatArray]:
        """Mean and gradient; convex in the numbers."""
        relative = log_probabilities(numbers @ parts, self._count)
        expected = np.add.reduceat(np.exp(relative) * parts, self._begin, axis=1)
        slope = (expected - parts[:, self._label]).mean(axis=1)
        return float(-relative[self._label].mean()), slope
