"""How the times of one trip hang together, in normal scores.

Correlation of two roads of a trip that are k apart: shared + (1 - shared) * linked * following^k.
A slow driver is slow all along (`shared`), a jam spans several roads (`linked`, `following`), and
the rest is each road's own: a red light, a parked lorry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from times.conditions import FloatArray, IntArray

_LAGS = np.arange(1, 25)
_LONGEST = 96  # roads of a trip that take part in the likelihood
_MOST_TRIPS = 1000
_GRID = np.linspace(0.0, 0.9, 46)
_LINKED = np.linspace(0.1, 1.0, 19)


@dataclass(frozen=True)
class Dependence:
    """The parameters of the correlation."""

    shared: float = 0.0
    following: float = 0.0
    linked: float = 1.0

    def correlation(self, length: int) -> FloatArray:
        """The matrix for a trip of so many roads."""
        apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        along = self.linked * self.following**apart if self.following else np.zeros(apart.shape)
        return self.shared + (1.0 - self.shared) * np.where(apart == 0, 1.0, along)


def fit_dependence(scores: FloatArray, trip: IntArray) -> list[Dependence]:
    """None, a common factor, neighbours, or both: those that fit the lags' correlations best."""
    correlation, weight = _correlations(scores, trip)
    shared, following, linked = np.meshgrid(_GRID, _GRID, _LINKED, indexing="ij")
    error = np.zeros(shared.shape)
    for lag, found, pairs in zip(_LAGS, correlation, weight, strict=True):
        error += (shared + (1.0 - shared) * linked * following**lag - found) ** 2 * pairs

    def best(allowed: NDArray[np.bool_]) -> Dependence:
        place = np.unravel_index(np.where(allowed, error, np.inf).argmin(), error.shape)
        return Dependence(float(shared[place]), float(following[place]), float(linked[place]))

    alone, whole = shared == 0.0, linked == 1.0
    everywhere = np.ones_like(alone)
    return [Dependence(), *map(best, (following == 0.0, alone & whole, alone, everywhere))]


def _correlations(scores: FloatArray, trip: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean products of scores at each lag, and the number of pairs."""
    products, counts = np.zeros(len(_LAGS)), np.zeros(len(_LAGS))
    for i, lag in enumerate(_LAGS):
        same = trip[lag:] == trip[:-lag]
        products[i] = (scores[lag:] * scores[:-lag])[same].sum()
        counts[i] = same.sum()
    return products / np.maximum(counts, 1.0), counts


def mean_log_copula(dependence: Dependence, scores: FloatArray, trip: IntArray) -> float:
    """The mean log-likelihood, per road, that the dependence adds to the single times'."""
    if dependence == Dependence():
        return 0.0
    first = np.flatnonzero(np.diff(trip, prepend=trip[:1] - 1))
    length = np.minimum(np.diff(np.append(first, len(trip))), _LONGEST)
    first, length = first[:_MOST_TRIPS], length[:_MOST_TRIPS]
    total = 0.0
    for size in np.unique(length):
        rows = scores[first[length == size][:, None] + np.arange(size)]  # [n, size]
        factor = np.linalg.cholesky(dependence.correlation(int(size)) + 1e-9 * np.eye(size))
        whitened = np.linalg.solve(factor, rows.T)
        log_determinant = 2.0 * np.log(np.diag(factor)).sum() * rows.shape[0]
        total -= 0.5 * (log_determinant + (whitened**2).sum() - (rows**2).sum())
    return total / float(length.sum())
