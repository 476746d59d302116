"""How well scores tell anomalous trips from normal ones, with how certain that is.

Scores are larger the stranger a trip is. A bootstrap resamples trips, normal and anomalous ones
apart, with the same draws for every model, so that models compare trip by trip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.statistics import Interval

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SAMPLES = 500
_ELEMENTS_AT_ONCE = 1 << 21
_TINY = 1e-300


@dataclass(frozen=True)
class Detection:
    """One model on one kind of anomaly."""

    normal: int
    anomalous: int
    roc_auc: float
    pr_auc: float
    precision: float  # among the alarms, at the chosen alarm rate
    recall: float  # alarms among the anomalies
    false_alarms: float  # alarms among the normal trips
    roc_interval: Interval | None = None
    pr_interval: Interval | None = None


def roc_auc(normal: FloatArray, anomalous: FloatArray) -> float:
    """The chance that an anomalous trip scores higher than a normal one; ties count half."""
    return float(_Curve(normal, anomalous).areas(*_once(normal, anomalous))[0][0])


def pr_auc(normal: FloatArray, anomalous: FloatArray) -> float:
    """The mean precision over the anomalies found, the area under precision and recall."""
    return float(_Curve(normal, anomalous).areas(*_once(normal, anomalous))[1][0])


def _once(normal: FloatArray, anomalous: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Every trip counted once: the weights of one sample."""
    return np.ones((1, len(normal))), np.ones((1, len(anomalous)))


class _Curve:
    """Both groups' scores in falling order, ready for any weights."""

    def __init__(self, normal: FloatArray, anomalous: FloatArray) -> None:
        scores = np.concatenate([normal, anomalous])
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of equal scores
        self.is_normal = self.order < len(normal)

    def areas(self, normal: FloatArray, anomalous: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ROC-AUC and PR-AUC [S] with the weights [S, n] and [S, m] of S samples."""
        size = max(1, _ELEMENTS_AT_ONCE // len(self.order))
        parts = [
            self._areas(normal[first : first + size], anomalous[first : first + size])
            for first in range(0, len(normal), size)
        ]
        return np.concatenate([roc for roc, _ in parts]), np.concatenate([pr for _, pr in parts])

    def _areas(self, normal: FloatArray, anomalous: FloatArray) -> tuple[FloatArray, FloatArray]:
        weight = np.concatenate([normal, anomalous], axis=1)[:, self.order]
        # Weights of normal and anomalous trips at and above each different score.
        false = np.cumsum(np.where(self.is_normal, weight, 0.0), axis=1)[:, self.last]
        true = np.cumsum(np.where(self.is_normal, 0.0, weight), axis=1)[:, self.last]
        gained = np.diff(true, prepend=0.0)
        passed = np.diff(false, prepend=0.0) * (true - gained / 2)
        precision = true / np.maximum(true + false, _TINY)
        roc = passed.sum(axis=1) / np.maximum(false[:, -1] * true[:, -1], _TINY)
        return roc, (gained * precision).sum(axis=1) / np.maximum(true[:, -1], _TINY)


def detect(
    normal: FloatArray,
    anomalous: FloatArray,
    threshold: float,
    draws: Draws | None = None,
) -> Detection:
    """Measures scores of normal and anomalous trips; an alarm is a score above `threshold`."""
    curve = _Curve(normal, anomalous)
    roc, pr = (float(area[0]) for area in curve.areas(*_once(normal, anomalous)))
    alarms, false = int((anomalous > threshold).sum()), int((normal > threshold).sum())
    roc_interval, pr_interval = None, None
    if draws is not None and len(draws.normal):
        roc_interval, pr_interval = map(_interval, curve.areas(draws.normal, draws.anomalous))
    return Detection(
        normal=len(normal),
        anomalous=len(anomalous),
        roc_auc=roc,
        pr_auc=pr,
        precision=alarms / (alarms + false) if alarms + false else float("nan"),
        recall=alarms / max(len(anomalous), 1),
        false_alarms=false / max(len(normal), 1),
        roc_interval=roc_interval,
        pr_interval=pr_interval,
    )


@dataclass(frozen=True)
class Draws:
    """How often each trip is in each resample."""

    normal: FloatArray  # [samples, n]
    anomalous: FloatArray  # [samples, m]

    @classmethod
    def of(cls, normal: int, anomalous: int, seed: int, samples: int = SAMPLES) -> Draws:
        """Resamples with replacement of both groups."""
        rng = np.random.default_rng(seed)
        drawn = [
            rng.multinomial(count, np.full(count, 1.0 / count), size=samples).astype(np.float64)
            for count in (normal, anomalous)
        ]
        return cls(*drawn)


@dataclass(frozen=True)
class PairedAuc:
    """Two models on the same trips: the second's AUC less the first's."""

    difference: float
    interval: Interval
    p: float


def compare_auc(
    first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray], draws: Draws
) -> PairedAuc:
    """Whether two models differ in ROC-AUC: (normal, anomalous) scores of each, same trips."""
    drawn = [_Curve(*pair).areas(draws.normal, draws.anomalous)[0] for pair in (first, second)]
    gap = drawn[1] - drawn[0]
    difference = roc_auc(*second) - roc_auc(*first)
    below = (1 + (gap <= 0).sum()) / (1 + len(gap))
    above = (1 + (gap >= 0).sum()) / (1 + len(gap))
    return PairedAuc(difference, _interval(gap), float(min(1.0, 2 * min(below, above))))


def _interval(drawn: FloatArray) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class PublishedRule:
    """LM-TAD's own rule: an outlier is a trip whose log-perplexity exceeds mean + 3 σ."""

    threshold: float
    precision: float
    recall: float
    f1: float


def published_rule(normal: FloatArray, anomalous: FloatArray) -> PublishedRule:
    """The rule on log-perplexities a point; mean and σ are those of the normal trips."""
    threshold = float(normal.mean() + 3 * normal.std())
    hits, false = int((anomalous > threshold).sum()), int((normal > threshold).sum())
    precision = hits / (hits + false) if hits + false else 0.0
    recall = hits / max(len(anomalous), 1)
    total = precision + recall
    return PublishedRule(
        threshold, precision, recall, 2 * precision * recall / total if total else 0.0
    )
