"""How certain a number is: bootstrap intervals, paired tests, corrections for many tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.distributions import NUM_BINS, jensen_shannon

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEVEL = 0.95
MAX_BLOCKS = 1024


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


class Bootstrap:
    """Resamples of n units (trips or pairs) with replacement, drawn once and used for everything.

    More than MAX_BLOCKS units are dealt out at random into that many blocks and the blocks are
    resampled: the spread of a mean stays the same and the cost no longer depends on n.
    """

    def __init__(self, num_units: int, samples: int, rng: np.random.Generator) -> None:
        self.num_blocks = min(num_units, MAX_BLOCKS)
        self.block = np.arange(num_units)
        if num_units > MAX_BLOCKS:
            self.block = rng.permutation(num_units) % MAX_BLOCKS
        self.weights = (
            _drawn_counts(self.num_blocks, samples, rng)
            if num_units and samples
            else np.zeros((0, self.num_blocks), dtype=np.float32)
        )  # [samples, num_blocks]

    def mean_interval(self, values: FloatArray, unit: IntArray) -> Interval | None:
        """The interval of the mean of `values`, where `values[i]` belongs to `unit[i]`."""
        if not len(values) or not len(self.weights):
            return None
        block = self.block[unit]
        sums = np.bincount(block, values, minlength=self.num_blocks)
        counts = np.bincount(block, minlength=self.num_blocks)
        drawn = self.weights @ counts
        kept = drawn > 0
        return _interval((self.weights @ sums)[kept] / drawn[kept])

    def histograms(self, table: IntArray) -> NDArray[np.float32]:
        """The histogram of each resample, from that of each block. [samples, NUM_BINS]"""
        drawn = np.zeros((len(self.weights), table.shape[1]), dtype=np.float32)
        held, filled = np.flatnonzero(table.any(axis=1)), np.flatnonzero(table.any(axis=0))
        part = table[np.ix_(held, filled)].astype(np.float32)
        drawn[:, filled] = self.weights[:, held] @ part
        return drawn

    def table(self, bins: IntArray, unit: IntArray) -> IntArray:
        """The histogram of each block, from every value's bin and unit. [blocks, NUM_BINS]"""
        cell = self.block[unit] * NUM_BINS + bins
        table = np.bincount(cell, minlength=self.num_blocks * NUM_BINS)
        return table.reshape(self.num_blocks, NUM_BINS)


def _drawn_counts(size: int, samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each of `size` blocks is drawn in `size` draws, for every sample.

    Counts as float32, which halves the time of products with them.
    """
    drawn = rng.integers(0, size, (samples, size))
    drawn += size * np.arange(samples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=samples * size)
    return counts.reshape(samples, size).astype(np.float32)


def divergence_interval(
    real: NDArray[np.float32], generated: NDArray[np.float32], observed: float
) -> Interval | None:
    """The interval of a Jensen-Shannon divergence from resampled histograms. [samples, NUM_BINS]

    Resampling adds noise, and noise makes histograms differ more; so the resampled divergences
    are moved by their mean excess over the observed one.
    """
    kept = (real.sum(axis=1) > 0) & (generated.sum(axis=1) > 0)
    if not kept.any():
        return None
    filled = real.any(axis=0) | generated.any(axis=0)  # what is empty adds nothing
    sides = [side[kept][:, filled].astype(np.float64) for side in (real, generated)]
    drawn = jensen_shannon(sides[0], sides[1])
    shifted = np.clip(drawn - (drawn.mean() - observed), 0.0, np.log(2.0))
    return _interval(shifted)


def _interval(drawn: FloatArray) -> Interval | None:
    if not len(drawn):
        return None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class PairedTest:
    """Two models measured on the same units; differences are second minus first."""

    count: int
    mean_first: float
    mean_second: float
    mean_difference: float
    interval: Interval | None
    effect_size: float  # Cohen's d of the differences
    t_p: float
    wilcoxon_p: float


def paired_test(first: FloatArray, second: FloatArray, bootstrap: Bootstrap) -> PairedTest:
    """Student's and Wilcoxon's paired tests, the effect size and the difference's interval.

    `bootstrap` resamples the units that both were measured on.
    """
    from scipy import stats

    difference = second - first
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    mean = float(difference.mean())
    t_p, wilcoxon_p = 1.0, 1.0
    if spread > 0:
        t_p = float(stats.ttest_rel(second, first).pvalue)
        wilcoxon_p = float(stats.wilcoxon(difference).pvalue)
    elif mean != 0 and len(difference) > 1:  # the same difference every time
        t_p = 0.0
        wilcoxon_p = float(stats.wilcoxon(difference).pvalue)
    return PairedTest(
        count=len(difference),
        mean_first=float(first.mean()),
        mean_second=float(second.mean()),
        mean_difference=mean,
        interval=bootstrap.mean_interval(difference, np.arange(len(difference))),
        effect_size=mean / spread if spread > 0 else 0.0,
        t_p=t_p,
        wilcoxon_p=wilcoxon_p,
    )


@dataclass(frozen=True)
class DivergenceTest:
    """The divergences of two models from the same real trips, and whether they differ."""

    first: float
    second: float
    p: float


def drawn_signs(samples: int, units: int, rng: np.random.Generator) -> FloatArray:
    """Which units' trips are exchanged in each permutation: 1 or −1. [samples, units]"""
    signs: FloatArray = rng.integers(0, 2, size=(samples, units)).astype(np.float64)
    return 2.0 * signs - 1.0


def paired_divergence_test(
    real: IntArray, first: IntArray, second: IntArray, signs: FloatArray
) -> DivergenceTest:
    """Whether two models differ in their divergence from the real trips: a permutation test.

    Under the null hypothesis the two trips made for a unit could as well be exchanged. `first`
    and `second` hold each unit's histogram [units, NUM_BINS], `real` the real one [NUM_BINS];
    `signs` are the permutations to try.
    """
    middle, half = (first + second).sum(axis=0) / 2.0, (first - second) / 2.0
    shift = half.sum(axis=0)
    observed = abs(_divergence_gap(real, middle, shift[None, :])[0])
    drawn = np.abs(_divergence_gap(real, middle, signs @ half))
    # A tolerance keeps permutations that are equal but for rounding on the safe side.
    exceeding = int(np.sum(drawn >= observed - 1e-12))
    return DivergenceTest(
        first=float(jensen_shannon(real, first.sum(axis=0))),
        second=float(jensen_shannon(real, second.sum(axis=0))),
        p=(1 + exceeding) / (1 + len(signs)),
    )


def _divergence_gap(real: IntArray, middle: FloatArray, shift: FloatArray) -> FloatArray:
    return jensen_shannon(real, middle + shift) - jensen_shannon(real, middle - shift)


def holm(p_values: FloatArray) -> FloatArray:
    """p-values corrected by Holm: the chance of any false finding stays below the level."""
    order = np.argsort(p_values, kind="stable")
    factor = len(p_values) - np.arange(len(p_values))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factor))
    return corrected


def benjamini_hochberg(p_values: FloatArray) -> FloatArray:
    """p-values corrected by Benjamini and Hochberg: bounds the share of false findings."""
    order = np.argsort(p_values, kind="stable")[::-1]
    factor = len(p_values) / np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.minimum.accumulate(p_values[order] * factor))
    return corrected
