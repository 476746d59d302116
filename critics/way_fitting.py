"""What drivers pay for a km and for a minute in vain: found on validation trips, by likelihood.

How long roads usually take is counted on training trips. Kilometres and minutes make one cost, and
with it one cheapest way; some mixtures of them are tried, and of each the likeliest height,
together with how far the teacher's own opinion is to be trusted beside it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from critics.choices import NO_WAY, Choices, log_probabilities
from critics.road_teacher import RoadTeacher, road_teacher
from critics.way import WaySense, charges_along
from critics.weights import TeacherWeights
from data.laid_out import here_and_taken, passages
from data.road_times import usual_road_seconds
from dataset import TripDataset
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("teacher")

MOST_TRIPS = 1000  # of validation, evenly spread: two numbers need no more
TRIPS_AT_ONCE = 250
SHARES_OF_MINUTES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)  # in the cost; the rest are kilometres
LEAST_POSITIONS = 50
FloatArray = NDArray[np.float64]


def knowing_the_way(
    weights: TeacherWeights,
    val: TripDataset,
    train: TripDataset,
    num_train: int | None = None,
    device: torch.device | str = "cpu",
) -> TeacherWeights:
    """A teacher with a sense of the way, found for it, in place of any that it had."""
    if weights.vocabulary != "road":
        raise UserError(
            f"{weights.source} speaks of cells, and roads that share one are one to it; only a "
            "teacher whose tokens are roads can be given a sense of the way."
        )
    alone = road_teacher(replace(weights, way=None), val.network, device=device)
    return replace(weights, way=fit_way(alone, val, train, num_train))


def fit_way(
    teacher: RoadTeacher, val: TripDataset, train: TripDataset, num_train: int | None = None
) -> WaySense:
    """The sense of the way that makes `teacher`, which must have none, likeliest on `val`.

    `num_train` says how many of the training trips it may know.
    """
    trips = np.unique(np.linspace(0, len(val) - 1, min(MOST_TRIPS, len(val))).astype(np.int64))
    network = val.network
    road_ids, offsets = val.laid_out(trips)
    choices = Choices.of(network, *here_and_taken(road_ids, offsets))
    made = (choices.label != NO_WAY) & (choices.count > 1)
    if made.sum() < LEAST_POSITIONS:
        raise UserError(
            f"The {val.split} trips make {made.sum()} choices of a road; a sense of the way is "
            f"found from {LEAST_POSITIONS} or more."
        )
    opinion = np.concatenate(
        [
            teacher.trip_logits(val, trips[first : first + TRIPS_AT_ONCE])
            for first in range(0, len(trips), TRIPS_AT_ONCE)
        ]
    )
    seconds = _usual_seconds(train, num_train)
    km, minutes = network.length_m / 1000.0, seconds / 60.0
    likelihood = _Likelihood(choices, made, log_probabilities(opinion, choices.count))
    found = []
    for share in SHARES_OF_MINUTES:
        cost = (1.0 - share) * km + share * minutes
        charges = charges_along(network, network.followed, cost, road_ids, offsets).numpy()
        sharpness, height, nll = likelihood.best(charges)
        sense = WaySense(
            torch.from_numpy(seconds).float(), sharpness, height * (1.0 - share), height * share
        )
        found.append((nll, sense))
    nll, best = min(found, key=lambda each: each[0])
    logger.info(
        "A sense of the way: a km in vain costs %.2f nats, a minute %.2f; the teacher's surprise "
        "at %d choices of %s trips falls from %.4f to %.4f.",
        best.per_km,
        best.per_minute,
        int(made.sum()),
        val.split,
        likelihood.of(np.zeros(len(opinion)), 1.0, 0.0),
        nll,
    )
    return best


def _usual_seconds(train: TripDataset, num_train: int | None) -> FloatArray:  # [R]
    count = len(train) if num_train is None else min(num_train, len(train))
    offsets = train.offsets[: count + 1]
    place, seconds = passages(train.seconds[: offsets[-1]], offsets)
    return usual_road_seconds(train.network, np.asarray(train.road_ids[place]), seconds)


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

    def of(self, charges: FloatArray, sharpness: float, height: float) -> float:
        """The mean surprise at one pair of numbers."""
        parts = np.stack([self._opinion, charges[self._entries]])
        return float(self._surprise(np.array([sharpness, height]), parts)[0])

    def _surprise(self, numbers: FloatArray, parts: FloatArray) -> tuple[float, FloatArray]:
        """Mean and gradient; convex in the numbers."""
        relative = log_probabilities(numbers @ parts, self._count)
        expected = np.add.reduceat(np.exp(relative) * parts, self._begin, axis=1)
        slope = (expected - parts[:, self._label]).mean(axis=1)
        return float(-relative[self._label].mean()), slope
