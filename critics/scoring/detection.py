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
    return _Curve(normal, anomalous).roc(np.ones(len(normal)), np.ones(len(anomalous)))


def pr_auc(normal: FloatArray, anomalous: FloatArray) -> float:
    """The mean precision over the anomalies found, the area under precision and recall."""
    return _Curve(normal, anomalous).pr(np.ones(len(normal)), np.ones(len(anomalous)))


class _Curve:
    """Both groups' scores in falling order, ready for any weights."""

    def __init__(self, normal: FloatArray, anomalous: FloatArray) -> None:
        scores = np.concatenate([normal, anomalous])
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of equal scores
        self.is_normal = self.order < len(normal)

    def _counts(self, normal: FloatArray, anomalous: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weights of normal and anomalous trips at and above each different score."""
        weight = np.concatenate([normal, anomalous])[self.order]
        false = np.cumsum(np.where(self.is_normal, weight, 0.0))[self.last]
        true = np.cumsum(np.where(self.is_normal, 0.0, weight))[self.last]
        return false, true

    def roc(self, normal: FloatArray, anomalous: FloatArray) -> float:
        false, true = self._counts(normal, anomalous)
        width = np.diff(false, prepend=0.0)
        height = true - np.diff(true, prepend=0.0) / 2
        return float((width * height).sum() / max(false[-1] * true[-1], 1e-300))

    def pr(self, normal: FloatArray, anomalous: FloatArray) -> float:
        false, true = self._counts(normal, anomalous)
        gained = np.diff(true, prepend=0.0)
        precision = true / np.maximum(true + false, 1e-300)
        return float((gained * precision).sum() / max(true[-1], 1e-300))


def detect(
    normal: FloatArray,
    anomalous: FloatArray,
    threshold: float,
    draws: Draws | None = None,
) -> Detection:
    """Measures scores of normal and anomalous trips; an alarm is a score above `threshold`."""
    curve = _Curve(normal, anomalous)
    ones = np.ones(len(normal)), np.ones(len(anomalous))
    alarms, false = int((anomalous > threshold).sum()), int((normal > threshold).sum())
    roc_interval, pr_interval = None, None
    if draws is not None and len(draws.normal):
        pairs = list(zip(draws.normal, draws.anomalous, strict=True))
        roc_interval = _interval([curve.roc(*pair) for pair in pairs])
        pr_interval = _interval([curve.pr(*pair) for pair in pairs])
    return Detection(
        normal=len(normal),
        anomalous=len(anomalous),
        roc_auc=curve.roc(*ones),
        pr_auc=curve.pr(*ones),
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
    curves = _Curve(*first), _Curve(*second)
    gap = np.array(
        [
            curves[1].roc(*pair) - curves[0].roc(*pair)
            for pair in zip(draws.normal, draws.anomalous, strict=True)
        ]
    )
    ones = np.ones(len(first[0])), np.ones(len(first[1]))
    difference = curves[1].roc(*ones) - curves[0].roc(*ones)
    below = (1 + (gap <= 0).sum()) / (1 + len(gap))
    above = (1 + (gap >= 0).sum()) / (1 + len(gap))
    return PairedAuc(difference, _interval(gap.tolist()), float(min(1.0, 2 * min(below, above))))


def _interval(drawn: list[float]) -> Interval:
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
