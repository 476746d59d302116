"""Whether a method helps: groups of models that differ by training seed, against each other.

The unit is the training seed, not the trip: thousands of trips of one model say nothing of what
another seed would have given. Seeds that two groups share are paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.measures import MEASURES, floor_of
from metrics.statistics import Interval, holm

FloatArray = NDArray[np.float64]

MIN_SEEDS = 3
EXACT_PERMUTATIONS = 20_000
LEVEL = 0.95
Values = Mapping[str, float | None]  # measure -> value


@dataclass(frozen=True)
class Group:
    """The models of one method: the measures of each, by training seed."""

    name: str
    by_seed: Mapping[str, Values]
    is_yardstick: bool = False  # a baseline: shown, but with no seeds to test

    def values(self, measure: str) -> dict[str, float]:
        """The seeds that have a value of this measure."""
        found = {seed: values.get(measure) for seed, values in self.by_seed.items()}
        return {seed: float(value) for seed, value in found.items() if value is not None}


@dataclass(frozen=True)
class Summary:
    """One measure of one group."""

    group: str
    measure: str
    by_seed: dict[str, float]
    mean: float
    deviation: float | None  # between seeds; None for a single one
    floor: float | None = None  # of a divergence, the mean over the seeds

    @classmethod
    def of(cls, group: Group, measure: str) -> Summary | None:
        """The summary; None where no seed has a value."""
        by_seed = group.values(measure)
        if not by_seed:
            return None
        values = np.array(list(by_seed.values()))
        deviation = float(values.std(ddof=1)) if len(values) > 1 else None
        floors = list(group.values(floor_of(measure)).values())
        floor = float(np.mean(floors)) if floors else None
        return cls(group.name, measure, by_seed, float(values.mean()), deviation, floor)


@dataclass(frozen=True)
class GroupTest:
    """One measure of two groups; differences are second minus first.

    Paired over the seeds that both have (two at least), else between independent seeds. The
    corrected p-values (Holm) are over the measures of these two groups.
    """

    first: str
    second: str
    measure: str
    paired: bool
    seeds: tuple[int, int]  # how many of each group
    difference: float
    relative_difference: float | None
    interval: Interval | None
    effect_size: float | None  # Cohen's d of the differences, or Hedges' g
    t_p: float | None
    permutation_p: float | None
    t_p_holm: float | None = None
    permutation_p_holm: float | None = None


@dataclass(frozen=True)
class GroupComparison:
    """All groups on one source of OD pairs."""

    od_source: str
    groups: list[Group]
    summaries: list[Summary]
    tests: list[GroupTest]
    warnings: list[str] = field(default_factory=list)

    def summary(self, group: str, measure: str) -> Summary | None:
        """The summary of one measure of one group."""
        wanted = (group, measure)
        return next((s for s in self.summaries if (s.group, s.measure) == wanted), None)

    def test(self, first: str, second: str, measure: str) -> GroupTest | None:
        """The test of two groups in this order."""
        wanted = (first, second, measure)
        return next((t for t in self.tests if (t.first, t.second, t.measure) == wanted), None)

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {
            "od_source": self.od_source,
            "unit": "training seed",
            "correction": "Holm over the measures of two groups",
            "groups": {group.name: list(group.by_seed) for group in self.groups},
            "warnings": self.warnings,
            "summaries": [each.__dict__ for each in self.summaries],
            "tests": [_plain(test) for test in self.tests],
        }


def compare_groups(
    groups: Sequence[Group], od_source: str, seed: int = 0, measures: Iterable[str] = MEASURES
) -> GroupComparison:
    """Every measure of every group, and every two groups against each other."""
    present = [name for name in measures if any(group.values(name) for group in groups)]
    found = [Summary.of(group, name) for name in present for group in groups]
    tests: list[GroupTest] = []
    methods = [group for group in groups if not group.is_yardstick]
    for first, second in itertools.combinations(methods, 2):
        tested = [_test(first, second, name, seed) for name in present]
        tests += _corrected([test for test in tested if test is not None])
    warnings = [
        f"{group.name} has {_count(len(group.by_seed), 'training seed')}: the spread between "
        f"seeds is hardly known below {MIN_SEEDS}, and no test can be trusted."
        for group in methods
        if len(group.by_seed) < MIN_SEEDS
    ]
    return GroupComparison(
        od_source, list(groups), [each for each in found if each is not None], tests, warnings
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _plain(test: GroupTest) -> dict[str, Any]:
    interval = test.interval
    pair = None if interval is None else [interval.low, interval.high]
    return {**test.__dict__, "interval": pair}


def _test(first: Group, second: Group, measure: str, seed: int) -> GroupTest | None:
    one, two = first.values(measure), second.values(measure)
    if not one or not two:
        return None
    shared = [name for name in one if name in two]
    rng = np.random.default_rng([seed, 4])
    if len(shared) >= 2:
        sides = tuple(np.array([side[name] for name in shared]) for side in (one, two))
        outcome = _paired(sides[0], sides[1], rng)
    else:
        sides = tuple(np.array(list(side.values())) for side in (one, two))
        outcome = _independent(sides[0], sides[1], rng)
    base = float(sides[0].mean())
    difference = float(sides[1].mean()) - base
    return GroupTest(
        first=first.name,
        second=second.name,
        measure=measure,
        paired=len(shared) >= 2,
        seeds=(len(sides[0]), len(sides[1])),
        difference=difference,
        relative_difference=difference / abs(base) if base else None,
        interval=outcome.interval,
        effect_size=outcome.effect_size,
        t_p=outcome.t_p,
        permutation_p=outcome.permutation_p,
    )


@dataclass(frozen=True)
class _Outcome:
    interval: Interval | None = None
    effect_size: float | None = None
    t_p: float | None = None
    permutation_p: float | None = None


def _paired(first: FloatArray, second: FloatArray, rng: np.random.Generator) -> _Outcome:
    difference = second - first
    count, mean = len(difference), float(difference.mean())
    spread = float(difference.std(ddof=1))
    permutation_p = sign_flip_p(difference, rng)
    # Differences that are equal but for rounding have no spread to test against.
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return _Outcome(permutation_p=permutation_p)
    error = spread / math.sqrt(count)
    interval, t_p = _student(mean, error, count - 1)
    return _Outcome(interval, mean / spread, t_p, permutation_p)


def _independent(first: FloatArray, second: FloatArray, rng: np.random.Generator) -> _Outcome:
    counts = len(first), len(second)
    if min(counts) < 2:
        return _Outcome()
    variance = first.var(ddof=1), second.var(ddof=1)
    shares = [float(v) / n for v, n in zip(variance, counts, strict=True)]
    permutation_p = relabel_p(first, second, rng)
    mean = float(second.mean() - first.mean())
    if sum(shares) <= 1e-24 * max(1.0, mean**2):
        return _Outcome(permutation_p=permutation_p)
    freedom = sum(shares) ** 2 / sum(s**2 / (n - 1) for s, n in zip(shares, counts, strict=True))
    interval, t_p = _student(mean, math.sqrt(sum(shares)), freedom)
    return _Outcome(interval, _hedges(mean, variance, counts), t_p, permutation_p)


def _hedges(mean: float, variance: tuple[Any, Any], counts: tuple[int, int]) -> float | None:
    """The difference in pooled standard deviations, corrected for few seeds."""
    freedom = sum(counts) - 2
    pooled = sum(float(v) * (n - 1) for v, n in zip(variance, counts, strict=True)) / freedom
    return mean / math.sqrt(pooled) * (1 - 3 / (4 * freedom - 1)) if pooled else None


def _student(mean: float, error: float, freedom: float) -> tuple[Interval, float]:
    """The interval of a mean difference, and Student's p."""
    from scipy import stats

    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Interval(mean - half, mean + half), p


def sign_flip_p(difference: FloatArray, rng: np.random.Generator) -> float:
    """How often the mean difference is as far from 0 with signs as chance would have them.

    All signs are tried where they are few enough.
    """
    count = len(difference)
    if 2**count <= EXACT_PERMUTATIONS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=count)))
        return _share_as_far(signs @ difference, difference.sum(), exact=True)
    signs = rng.integers(0, 2, (EXACT_PERMUTATIONS, count)) * 2.0 - 1.0
    return _share_as_far(signs @ difference, difference.sum(), exact=False)


def relabel_p(first: FloatArray, second: FloatArray, rng: np.random.Generator) -> float:
    """How often the means are as far apart with seeds dealt to the groups at random."""
    pooled, size = np.concatenate([first, second]), len(second)
    if math.comb(len(pooled), size) <= EXACT_PERMUTATIONS:
        chosen = np.array(list(itertools.combinations(range(len(pooled)), size)))
        exact = True
    else:
        order = rng.random((EXACT_PERMUTATIONS, len(pooled))).argsort(axis=1)
        chosen, exact = order[:, :size], False
    part = pooled[chosen].sum(axis=1)
    gap = part / size - (pooled.sum() - part) / len(first)
    return _share_as_far(gap, second.mean() - first.mean(), exact)


def _share_as_far(drawn: FloatArray, observed: float, exact: bool) -> float:
    # A tolerance keeps permutations that are equal but for rounding on the safe side.
    limit = abs(observed) - 1e-12 * max(1.0, abs(observed))
    as_far = int((np.abs(drawn) >= limit).sum())
    return as_far / len(drawn) if exact else (1 + as_far) / (1 + len(drawn))


def _corrected(tests: list[GroupTest]) -> list[GroupTest]:
    t_p = _holm_of([test.t_p for test in tests])
    permutation_p = _holm_of([test.permutation_p for test in tests])
    return [
        replace(test, t_p_holm=t, permutation_p_holm=p)
        for test, t, p in zip(tests, t_p, permutation_p, strict=True)
    ]


def _holm_of(p_values: list[float | None]) -> list[float | None]:
    known = [p for p in p_values if p is not None]
    corrected = iter(holm(np.array(known)).tolist() if known else [])
    return [None if p is None else float(next(corrected)) for p in p_values]
