"""Fits the distribution of travel times to a student's residuals.

Which conditions take part is decided by the likelihood of trips that the fit has not seen: every
second trip is fitted, the others decide, and the winner is fitted to all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from times.dependence import Dependence, fit_dependence, mean_log_copula
from times.distribution import FloatArray, IntArray, TimeConditions, TimeDistribution
from times.levels import Conditions, fit_levels, mean_by, shrunk_mean

MIN_TIMES = 50
_TIMES_A_BIN, _MAX_BINS = 600, 16
_TIMES_A_CELL, _MAX_CELLS = 12, 100
_TAIL_CELL_SHARE = 0.25  # of a cell's probability lies beyond the outermost quantiles
_LARGEST_TAIL, _SMALLEST_TAIL = 0.5, 1e-3
_SMALLEST_STEP = 1e-6
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


CHOICES = tuple(Conditions(c, h) for c in (False, True) for h in (False, True))


def fit_times(records: TimeRecords, num_classes: int) -> TimeDistribution:
    """The distribution of the records, with those conditions that help on unseen trips."""
    fitted, unseen = records.halves()

    def likelihood(choice: Conditions) -> float:
        found = fit_marginal(fitted, num_classes, choice)
        return float(found.log_density(unseen.seconds, unseen.conditions).mean())

    best = max(CHOICES, key=likelihood)
    marginal = fit_marginal(fitted, num_classes, best)
    scores = [_scores(marginal, part) for part in (fitted, unseen)]
    dependences = fit_dependence(scores[0], fitted.trip)
    chosen: Dependence = max(dependences, key=lambda d: mean_log_copula(d, scores[1], unseen.trip))
    whole = fit_marginal(records, num_classes, best)
    final = fit_dependence(_scores(whole, records), records.trip)[dependences.index(chosen)]
    return replace(whole, shared=final.shared, following=final.following)


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
    edges = _edges(conditions.expected)
    at = np.searchsorted(edges, conditions.expected, side="right")
    level = fit_levels(residual, at, conditions, num_classes, choice)
    class_scale = np.ones(num_classes)
    if choice.road_class:
        spread = np.sqrt(mean_by(at, level.rest**2, len(edges) + 1))[at].clip(min=_SMALLEST_STEP)
        ratio = np.log(np.abs(level.rest / spread).clip(0.05, 20.0))
        ratio -= ratio.mean()
        class_scale = np.exp(shrunk_mean(conditions.road_class, ratio, num_classes))
    kind = conditions.road_class
    offset = level.of_class[kind] + level.of_hour[conditions.hour]
    standard = (residual - offset) / class_scale[kind]
    levels = _levels(len(records) // (len(edges) + 1))
    parts = [standard[at == k] for k in range(len(edges) + 1)]
    quantiles = np.stack([_rising(np.quantile(part, levels)) for part in parts])
    tails = np.array([_tails(part, row) for part, row in zip(parts, quantiles, strict=True)])
    return TimeDistribution(
        edges, levels, quantiles, tails, level.of_class, class_scale, level.of_hour, 0.0, 0.0
    )


def _scores(distribution: TimeDistribution, records: TimeRecords) -> FloatArray:
    return distribution.normal_scores(_dithered(records.seconds), records.conditions)


def _dithered(seconds: FloatArray) -> FloatArray:
    """Any time that rounds to these seconds, always the same: clocks are read in whole seconds."""
    noise = np.random.default_rng(0).random(len(seconds)) - 0.5
    return np.where(seconds > 0, seconds + noise, np.abs(noise))


def _edges(expected: FloatArray) -> FloatArray:
    """Between bins of about the same number of times, each with a few hundred."""
    bins = int(np.clip(len(expected) // _TIMES_A_BIN, 1, _MAX_BINS))
    inner = np.quantile(expected, np.arange(1, bins) / bins)
    # Halfway between whole seconds, where rounding of the edges themselves changes nothing.
    edges = np.unique(np.log1p(np.maximum(np.rint(np.expm1(inner)) - 0.5, 0.0)))
    return edges[(edges > expected.min()) & (edges <= expected.max())]


def _levels(times_a_bin: int) -> FloatArray:
    cells = int(np.clip(times_a_bin // _TIMES_A_CELL, 4, _MAX_CELLS))
    beyond = _TAIL_CELL_SHARE / cells
    return np.linspace(beyond, 1.0 - beyond, cells + 1)


def _rising(quantiles: FloatArray) -> FloatArray:
    """The same quantiles, apart enough to divide by their distances."""
    return np.maximum.accumulate(quantiles) + _SMALLEST_STEP * np.arange(len(quantiles))


def _tails(values: FloatArray, quantiles: FloatArray) -> tuple[float, float]:
    """The mean distances of the values beyond the outermost quantiles."""
    below, above = quantiles[0] - values, values - quantiles[-1]
    low, high = (
        float(np.clip(part[part > 0].mean() if (part > 0).any() else 0.0, _SMALLEST_TAIL,
                      _LARGEST_TAIL))
        for part in (below, above)
    )  # fmt: skip
    return low, high
