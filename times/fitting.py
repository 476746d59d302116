"""Fits the distribution of travel times to a student's residuals.

Which conditions take part is decided by the likelihood of trips that the fit has not seen: every
second trip is fitted, the others decide, and the winner is fitted to all. A condition is left out
where that does no harm to them. How times hang together and which durations are left out is decided
likewise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from times.conditions import FIRST, FloatArray, IntArray, TimeConditions
from times.dependence import Dependence, fit_dependence, mean_log_copula
from times.distribution import TimeDistribution
from times.drawing import draw_waits
from times.levels import Conditions, fit_levels, fit_scales, total
from times.selection import fit_selection
from times.shape import Shape, bin_edges, bins_of

MIN_TIMES = 50
_DRAWS = 24
_SCORE_LEVELS = (np.arange(50) + 0.5) / 50


@dataclass(frozen=True)
class TimeRecords:
    """Times of N roads of real trips, trip by trip in driving order, and their conditions."""

    conditions: TimeConditions
    seconds: FloatArray  # [N], whole
    trip: IntArray  # [N], rising

    def __len__(self) -> int:
        return len(self.seconds)

    def __getitem__(self, rows: NDArray[np.bool_]) -> TimeRecords:
        return TimeRecords(self.conditions[rows], self.seconds[rows], self.trip[rows])

    def and_also(self, others: TimeRecords) -> TimeRecords:
        """These records and those of other trips."""
        both = zip(vars(self.conditions).values(), vars(others.conditions).values(), strict=True)
        return TimeRecords(
            TimeConditions(*(np.concatenate(pair) for pair in both)),
            np.concatenate([self.seconds, others.seconds]),
            np.concatenate([self.trip, others.trip + self.trip.max(initial=-1) + 1]),
        )

    def halves(self) -> tuple[TimeRecords, TimeRecords]:
        """The times of every second trip, and of the others."""
        _, number = np.unique(self.trip, return_inverse=True)
        return self[number % 2 == 0], self[number % 2 == 1]


def fit_times(records: TimeRecords, num_classes: int) -> TimeDistribution:
    """The distribution of the records, with those conditions that help on unseen trips."""
    fitted, unseen = records.halves()

    def likelihood(choice: Conditions) -> float:
        found = fit_marginal(fitted, num_classes, choice)
        return float(found.log_density(unseen.seconds, unseen.conditions).mean())

    best = Conditions()
    reached = likelihood(best)
    for name in Conditions():
        without = replace(best, **{name: False})
        if (found := likelihood(without)) >= reached:
            best, reached = without, found
    marginal = fit_marginal(fitted, num_classes, best)
    scores = [_scores(marginal, part) for part in (fitted, unseen)]
    dependences = fit_dependence(scores[0], fitted.trip)
    chosen: Dependence = max(dependences, key=lambda d: mean_log_copula(d, scores[1], unseen.trip))
    whole = fit_marginal(records, num_classes, best)
    final = fit_dependence(_scores(whole, records), records.trip)[dependences.index(chosen)]
    return _with_selection(replace(whole, dependence=final), records)


def _with_selection(distribution: TimeDistribution, records: TimeRecords) -> TimeDistribution:
    """The distribution that knows which durations the records' trips have at least."""
    waits = np.unique(records.trip, return_counts=True)[1]
    first = np.cumsum(waits) - waits
    numbers = np.arange(len(waits))

    def draw() -> FloatArray:
        drawn = [
            np.add.reduceat(
                draw_waits(distribution, seed, numbers, waits, records.conditions), first
            )
            for seed in range(_DRAWS)
        ]
        return np.stack(drawn, axis=1).astype(np.float64)

    durations = np.add.reduceat(records.seconds, first)
    return replace(distribution, selection=fit_selection(durations, draw))


@dataclass(frozen=True)
class TimeQuality:
    """How the distribution fits times that it has not seen."""

    coverage_50: float  # share of the times inside the central intervals of these percentages
    coverage_80: float
    coverage_95: float
    crps_s: float  # continuous ranked probability score, seconds
    log_likelihood: float  # mean, of whole seconds


def fit_with_quality(
    records: TimeRecords, num_classes: int
) -> tuple[TimeDistribution, TimeQuality]:
    """The distribution of all records, and how well that of every second trip fits the others."""
    fitted, unseen = records.halves()
    quality = measure_quality(fit_times(fitted, num_classes), unseen)
    return fit_times(records, num_classes), quality


def measure_quality(distribution: TimeDistribution, records: TimeRecords) -> TimeQuality:
    """Coverage, score and likelihood on these times."""
    conditions, seconds = records.conditions, _dithered(records.seconds)
    probability = distribution.cdf(seconds, conditions)

    def coverage(share: float) -> float:
        return float((np.abs(probability - 0.5) <= share / 2).mean())

    score = np.zeros(len(seconds))
    for level in _SCORE_LEVELS:
        error = seconds - distribution.quantile(np.full(len(seconds), level), conditions)
        score += 2.0 * np.maximum(level * error, (level - 1.0) * error) / len(_SCORE_LEVELS)
    return TimeQuality(
        coverage(0.5),
        coverage(0.8),
        coverage(0.95),
        float(score.mean()),
        float(distribution.log_density(records.seconds, conditions).mean()),
    )


def fit_marginal(records: TimeRecords, num_classes: int, choice: Conditions) -> TimeDistribution:
    """The distribution of single times under the given choice of conditions."""
    conditions = records.conditions
    residual = np.log1p(_dithered(records.seconds)) - conditions.expected
    is_first = conditions.place == FIRST
    if not choice.place or is_first.sum() < MIN_TIMES or (~is_first).sum() < MIN_TIMES:
        is_first = np.zeros(len(records), dtype=bool)
    groups = [rows for rows in (is_first, ~is_first) if rows.any()]
    edges = [bin_edges(conditions.expected[rows]) for rows in groups]
    at = np.zeros(len(records), dtype=np.int64)  # bins of the one group, then of the other
    bins = 0
    for rows, own in zip(groups, edges, strict=True):
        at[rows] = bins + bins_of(own, conditions.expected[rows])
        bins += len(own) + 1
    level, rest = fit_levels(residual, at, conditions, num_classes, choice)
    scale = fit_scales(rest, at, conditions, num_classes, choice)
    standard = (residual - total(level, conditions)) / np.exp(total(scale, conditions))
    shapes = [
        Shape.of(own, conditions.expected[rows], standard[rows])
        for rows, own in zip(groups, edges, strict=True)
    ]
    return TimeDistribution(
        first=shapes[0],
        later=shapes[-1],
        class_offset=level["road_class"],
        class_scale=np.exp(scale["road_class"]),
        hour_offset=level["hour"],
        place_offset=level["place"],
        place_scale=np.exp(scale["place"]),
        extent_offset=level["extent"],
        extent_scale=np.exp(scale["extent"]),
        dependence=Dependence(),
    )


def _scores(distribution: TimeDistribution, records: TimeRecords) -> FloatArray:
    return distribution.normal_scores(_dithered(records.seconds), records.conditions)


def _dithered(seconds: FloatArray) -> FloatArray:
    """Any time that rounds to these seconds, always the same: clocks are read in whole seconds."""
    noise = np.random.default_rng(0).random(len(seconds)) - 0.5
    return np.where(seconds > 0, seconds + noise, np.abs(noise))
