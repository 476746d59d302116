"""How likely the roads are that drivers took, of opinions that are weighed against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.choices import NO_WAY, Choices, log_probabilities
from data.laid_out import here_and_taken
from dataset import TripDataset

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TRIPS_AT_ONCE = 250


class Opinion(Protocol):
    """Whoever has an opinion of all candidates: a teacher, a student, or less than one."""

    def trip_logits(self, dataset: TripDataset, trip_id: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of all candidates of all positions of whole trips, one after the other."""
        ...


def whole_opinion(
    believer: Opinion, dataset: TripDataset, trips: IntArray, at_once: int
) -> NDArray[np.float32]:
    """The opinion of all candidates of some trips, asked for so many trips at a time."""
    parts = [
        believer.trip_logits(dataset, trips[first : first + at_once])
        for first in range(0, len(trips), at_once)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class Weighed:
    """The weights of an opinion and of charges, and the mean surprise with them, in nats."""

    sharpness: float
    height: float
    surprise: float


class ChoiceLikelihood:
    """How likely the choices of some trips are, of an opinion and of charges beside it."""

    def __init__(self, believer: Opinion, trips: TripDataset, most: int) -> None:
        """At most `most` trips, evenly spread."""
        count = min(most, len(trips))
        chosen = np.unique(np.linspace(0, len(trips) - 1, count).astype(np.int64))
        self.road_ids, self.offsets = trips.laid_out(chosen)
        choices = Choices.of(trips.network, *here_and_taken(self.road_ids, self.offsets))
        made = (choices.label != NO_WAY) & (choices.count > 1)
        self.num_choices = int(made.sum())
        self._count = choices.count[made]
        self._begin = np.cumsum(self._count) - self._count
        within = np.arange(self._count.sum()) - np.repeat(self._begin, self._count)
        self._entries = np.repeat(choices.begin[made], self._count) + within
        self._label = self._begin + choices.label[made] - choices.begin[made]
        opinion = whole_opinion(believer, trips, chosen, TRIPS_AT_ONCE)
        self._opinion = log_probabilities(opinion, choices.count)[self._entries]

    def best(self, charges: FloatArray) -> Weighed:
        """The likeliest weights, neither below 0, of charges [M] of all candidates."""
        from scipy.optimize import minimize

        parts = np.stack([self._opinion, charges[self._entries]])
        found = minimize(
            self._surprise, (1.0, 1.0), args=(parts,), jac=True, method="L-BFGS-B",
            bounds=[(0.0, None)] * 2,
        )  # fmt: skip
        return Weighed(float(found.x[0]), float(found.x[1]), float(found.fun))

    def of_opinion(self) -> float:
        """The mean surprise of the opinion as it is."""
        return float(self._surprise(np.ones(1), self._opinion[None])[0])

    def _surprise(self, numbers: FloatArray, parts: FloatArray) -> tuple[float, FloatArray]:
        """Mean and gradient; convex in the numbers."""
        relative = log_probabilities(numbers @ parts, self._count)
        expected = np.add.reduceat(np.exp(relative) * parts, self._begin, axis=1)
        slope = (expected - parts[:, self._label]).mean(axis=1)
        return float(-relative[self._label].mean()), slope
