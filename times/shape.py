"""The shape of standardised residuals, by the predicted time: quantiles and what lies beyond them.

Between two quantiles residuals are spread evenly, beyond the outermost ones exponentially.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from times.conditions import FloatArray, IntArray

LEAST_PROBABILITY = 1e-12
_TIMES_A_BIN, _MAX_BINS = 600, 16
_TIMES_A_CELL, _MAX_CELLS = 12, 100
_TAIL_CELL_SHARE = 0.25  # of a cell's probability lies beyond the outermost quantiles
_LARGEST_TAIL, _SMALLEST_TAIL = 0.5, 1e-3
_SMALLEST_STEP = 1e-6


@dataclass(frozen=True)
class Shape:
    """Quantiles of the residual in K bins of the predicted log(1 + seconds)."""

    edges: FloatArray  # [K - 1], between the bins
    levels: FloatArray  # [L], probabilities of the quantiles, between 0 and 1
    quantiles: FloatArray  # [K, L]
    tails: FloatArray  # [K, 2], scales of the exponentials below and above the quantiles

    @classmethod
    def of(cls, edges: FloatArray, expected: FloatArray, residual: FloatArray) -> Shape:
        """That of N residuals; each bin needs some of them."""
        levels = _levels(len(expected) // (len(edges) + 1))
        at = bins_of(edges, expected)
        parts = [residual[at == k] for k in range(len(edges) + 1)]
        quantiles = np.stack([_rising(np.quantile(part, levels)) for part in parts])
        tails = np.array([_tails(part, row) for part, row in zip(parts, quantiles, strict=True)])
        return cls(edges, levels, quantiles, tails)

    def quantile(self, probability: FloatArray, expected: FloatArray) -> FloatArray:
        """The residual below which `probability` [N] of them lie."""
        at = bins_of(self.edges, expected)
        first, last = self.levels[0], self.levels[-1]
        inner = np.clip(probability, first, last)
        cell = np.searchsorted(self.levels, inner, side="right") - 1
        cell = np.clip(cell, 0, len(self.levels) - 2)
        share = (inner - self.levels[cell]) / (self.levels[cell + 1] - self.levels[cell])
        left, right = self.quantiles[at, cell], self.quantiles[at, cell + 1]
        low = np.minimum(probability, first) / first
        high = (1.0 - np.maximum(probability, last)) / (1.0 - last)
        tail = self.tails[at, 0] * np.log(np.maximum(low, LEAST_PROBABILITY))
        tail -= self.tails[at, 1] * np.log(np.maximum(high, LEAST_PROBABILITY))
        return left + share * (right - left) + tail

    def cdf(self, residual: FloatArray, expected: FloatArray) -> FloatArray:
        """The probability of at most `residual` [N]."""
        at = bins_of(self.edges, expected)
        result = np.empty(len(residual))
        for k in range(len(self.quantiles)):
            here = at == k
            z, knots = residual[here], self.quantiles[k]
            inner = np.interp(z, knots, self.levels)
            below = np.exp(np.minimum(z - knots[0], 0.0) / self.tails[k, 0])
            above = np.exp(-np.maximum(z - knots[-1], 0.0) / self.tails[k, 1])
            inner = np.where(z < knots[0], self.levels[0] * below, inner)
            beyond = 1.0 - (1.0 - self.levels[-1]) * above
            result[here] = np.where(z > knots[-1], beyond, inner)
        return result

    def is_sound(self) -> bool:
        """Whether its numbers can be those of a shape."""
        bins, levels = len(self.edges) + 1, len(self.levels)
        return bool(
            self.quantiles.shape == (bins, levels)
            and self.tails.shape == (bins, 2)
            and levels > 1
            and all(np.isfinite(array).all() for array in vars(self).values())
            and (np.diff(self.edges) > 0).all()
            and (np.diff(self.levels) > 0).all()
            and 0 < self.levels[0] < self.levels[-1] < 1
            and (np.diff(self.quantiles) >= 0).all()
            and (self.tails > 0).all()
        )

    @classmethod
    def from_plain(cls, content: Any) -> Shape:
        """The shape whose arrays `content` holds by name."""
        return cls(*(np.asarray(content[name], dtype=np.float64) for name in cls.__annotations__))


def bin_edges(expected: FloatArray) -> FloatArray:
    """Between bins of about the same number of times, each with a few hundred."""
    bins = int(np.clip(len(expected) // _TIMES_A_BIN, 1, _MAX_BINS))
    inner = np.quantile(expected, np.arange(1, bins) / bins)
    # Halfway between whole seconds, where rounding of the edges themselves changes nothing.
    edges = np.unique(np.log1p(np.maximum(np.rint(np.expm1(inner)) - 0.5, 0.0)))
    return edges[(edges > expected.min()) & (edges <= expected.max())]


def bins_of(edges: FloatArray, expected: FloatArray) -> IntArray:
    """The bin of each predicted time."""
    return np.searchsorted(edges, expected, side="right")


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
