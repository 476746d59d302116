"""How the times of one trip hang together, in normal scores.

Correlation of two roads of a trip that are k apart: shared + (1 - shared) * following^k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from times.distribution import FloatArray, IntArray

_LAGS = np.arange(1, 13)
_LONGEST = 96  # roads of a trip that take part in the likelihood
_MOST_TRIPS = 1000
_GRID = np.linspace(0.0, 0.9, 46)


@dataclass(frozen=True)
class Dependence:
    """The two parameters of the correlation."""

    shared: float = 0.0
    following: float = 0.0

    def correlation(self, length: int) -> FloatArray:
        """The matrix for a trip of so many roads."""
        apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        rest = np.where(apart == 0, 1.0, self.following**apart) if self.following else apart == 0
        return self.shared + (1.0 - self.shared) * rest


def fit_dependence(scores: FloatArray, trip: IntArray) -> list[Dependence]:
    """None, a common factor, neighbours, or both: those that fit the lags' correlations best."""
    correlation, weight = _correlations(scores, trip)
    shared, following = np.meshgrid(_GRID, _GRID, indexing="ij")
    model = shared[..., None] + (1.0 - shared[..., None]) * following[..., None] ** _LAGS
    error = ((model - correlation) ** 2 * weight).sum(axis=-1)

    def best(allowed: np.ndarray) -> Dependence:
        place = np.unravel_index(np.where(allowed, error, np.inf).argmin(), error.shape)
        return Dependence(float(shared[place]), float(following[place]))

    everywhere = np.ones_like(error, dtype=bool)
    return [Dependence(), best(following == 0.0), best(shared == 0.0), best(everywhere)]


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
