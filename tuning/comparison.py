"""Distilled against vanilla over the same seeds: means, spread, difference and a paired t-test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.result import NLL, UNCALIBRATED

HIGHER_IS_BETTER = {"val_next_step_acc"}
TITLES = {
    "val_next_step_acc": "Next-step accuracy",
    NLL: "Negative log-likelihood",
    UNCALIBRATED: "The same, neither calibrated",
    "val_time_pred_mape": "Travel-time MAPE (log1p)",
    "val_time_pred_mape_seconds": "Travel-time MAPE (seconds)",
}
MAIN_METRIC = "val_next_step_acc"


@dataclass(frozen=True)
class Spread:
    """Values by seed with their mean and sample standard deviation (None for a single value)."""

    by_seed: dict[int, float]
    mean: float
    std: float | None

    @classmethod
    def of(cls, by_seed: Mapping[int, float]) -> Spread:
        values = np.array(list(by_seed.values()), dtype=np.float64)
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        return cls(dict(by_seed), float(values.mean()), std)


@dataclass(frozen=True)
class PairedComparison:
    """One metric of both models on the seeds that both finished; differences are distilled minus
    vanilla.

    Without spread in the differences the t-test says nothing: `note` tells why there is no p.
    """

    metric: str
    vanilla: Spread
    distilled: Spread
    difference: float
    improvement_percent: float | None  # positive where distillation is better
    interval_low: float | None  # 95 %, of the difference
    interval_high: float | None
    t_statistic: float | None
    p_value: float | None
    note: str | None = None

    @property
    def is_better(self) -> bool:
        """Whether the distilled mean is the better one."""
        return (self.difference > 0) == (self.metric in HIGHER_IS_BETTER) and self.difference != 0


def compare(
    metric: str, vanilla: Mapping[int, float], distilled: Mapping[int, float]
) -> PairedComparison | None:
    """The comparison over the seeds that both have; None where there is none."""
    seeds = [seed for seed in vanilla if seed in distilled]
    pairs = [(float(vanilla[seed]), float(distilled[seed])) for seed in seeds]
    usable = [i for i, pair in enumerate(pairs) if all(map(math.isfinite, pair))]
    if not usable:
        return None
    first = Spread.of({seeds[i]: pairs[i][0] for i in usable})
    second = Spread.of({seeds[i]: pairs[i][1] for i in usable})
    difference = np.array([pairs[i][1] - pairs[i][0] for i in usable])
    mean = float(difference.mean())
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    improvement = 100 * sign * mean / abs(first.mean) if first.mean else None
    low, high, statistic, p_value, note = _paired_t_test(difference)
    return PairedComparison(
        metric, first, second, mean, improvement, low, high, statistic, p_value, note
    )


def _paired_t_test(
    difference: np.ndarray,
) -> tuple[float | None, float | None, float | None, float | None, str | None]:
    """Interval of the mean difference, t, p, and what there is to say about them."""
    from scipy import stats

    count, mean = len(difference), float(difference.mean())
    if count < 2:
        return None, None, None, None, "one seed: no test is possible"
    error = float(difference.std(ddof=1)) / math.sqrt(count)
    # Differences that are equal but for rounding have no spread to test against.
    if error <= 1e-12 * max(1.0, abs(mean)):
        if abs(mean) <= 1e-12:
            return 0.0, 0.0, 0.0, 1.0, "the models agree on every seed"
        return mean, mean, None, None, "the same difference on every seed: no spread to test"
    statistic = mean / error
    p_value = float(2 * stats.t.sf(abs(statistic), count - 1))
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return mean - half, mean + half, statistic, p_value, None


def compare_all(
    vanilla: Mapping[int, Mapping[str, float]],
    distilled: Mapping[int, Mapping[str, float]],
    metrics: Sequence[str] = tuple(TITLES),
) -> list[PairedComparison]:
    """Every metric that both have, from each run's metrics by seed."""
    found = []
    for metric in metrics:
        one, two = (
            {seed: run[metric] for seed, run in runs.items() if run.get(metric) is not None}
            for runs in (vanilla, distilled)
        )
        comparison = compare(metric, one, two)
        if comparison is not None:
            found.append(comparison)
    return found
