"""How the times of one trip hang together, in normal scores.

Correlation of two roads of a trip that are k apart: shared + (1 - shared) * linked * following^k.
A slow driver is slow all along (`shared`), a jam spans several roads (`linked`, `following`), and
the rest is each road's own: a red light, a parked lorry.

Trips of one length may be more alike as wholes, or less, than that says: who waits at one light
rolls through the next. `spread` stretches a trip's mean score, by the trip's length; single scores
keep their spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from runtime.hashing import uniform_at
from times.conditions import FloatArray, IntArray

_LAGS = np.arange(1, 25)
_LONGEST = 96  # roads of a trip that take part in the likelihood
_MOST_TRIPS = 1000
_GRID = np.linspace(0.0, 0.9, 46)
_LINKED = np.linspace(0.1, 1.0, 19)
LENGTH_EDGES = np.array([5, 9, 13, 17, 25, 33, 49, 65])  # times of a trip, where classes begin
_NO_SPREAD = (1.0,) * (len(LENGTH_EDGES) + 1)
_LEAST_SPREAD, _MOST_SPREAD = 0.25, 2.0
_PRIOR_TRIPS = 30.0  # that stand behind a spread of 1
_STREAM = 0x74696D6573  # of hashes, apart from other draws with the same seed
_OWN_STREAM = 0x6F776E


@dataclass(frozen=True)
class Dependence:
    """The parameters of the correlation."""

    shared: float = 0.0
    following: float = 0.0
    linked: float = 1.0
    spread: tuple[float, ...] = _NO_SPREAD  # by length

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Dependence:
        """What `vars` gives, as a file has it."""
        plain = {
            **values,
            "spread": tuple(float(each) for each in values.get("spread", _NO_SPREAD)),
        }
        return cls(**plain)

    def is_sound(self) -> bool:
        """Whether these can be the parameters of a correlation."""
        return (
            0 <= self.shared < 1
            and 0 <= self.following < 1
            and 0 <= self.linked <= 1
            and len(self.spread) == len(_NO_SPREAD)
            and all(_LEAST_SPREAD <= each <= _MOST_SPREAD for each in self.spread)
        )

    @property
    def is_spread(self) -> bool:
        """Whether lengths differ."""
        return self.spread != _NO_SPREAD

    def scores(self, seed: int, numbers: IntArray, lengths: IntArray) -> FloatArray:
        """Normal scores [n, longest] of trips of these numbers and lengths, with the dependence."""
        longest = int(lengths.max(initial=0))
        normal = _normal(seed ^ _STREAM, numbers, longest + 1)
        along = normal[:, 1:]
        for i in range(1, longest if self.following else 0):
            own = np.sqrt(1.0 - self.following**2) * along[:, i]
            along[:, i] = self.following * along[:, i - 1] + own
        if self.linked < 1.0:
            own = _normal(seed ^ _OWN_STREAM, numbers, longest)
            along = np.sqrt(self.linked) * along + np.sqrt(1.0 - self.linked) * own
        together = np.sqrt(self.shared) * normal[:, :1] + np.sqrt(1.0 - self.shared) * along
        return self._spread_out(together, lengths)

    def covariance(self, length: int) -> FloatArray:
        """The matrix for a trip of so many roads; its diagonal is 1 on average."""
        apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        along = self.linked * self.following**apart if self.following else np.zeros(apart.shape)
        plain = self.shared + (1.0 - self.shared) * np.where(apart == 0, 1.0, along)
        stretch = float(self._stretch(np.array([length]))[0])
        towards_mean = np.eye(length) + (stretch - 1.0) / length
        return towards_mean @ plain @ towards_mean / self._variance(np.array([length]))[0]

    def _spread_out(self, scores: FloatArray, lengths: IntArray) -> FloatArray:
        """Scores [n, longest] of trips of these lengths [n], their means stretched."""
        if not self.is_spread:
            return scores
        inside = np.arange(scores.shape[1]) < lengths[:, None]
        mean = np.where(inside, scores, 0.0).sum(axis=1) / np.maximum(lengths, 1)
        moved = scores + ((self._stretch(lengths) - 1.0) * mean)[:, None]
        return moved / np.sqrt(self._variance(lengths))[:, None]

    def variance_of_mean(self, lengths: IntArray) -> FloatArray:
        """That of the mean score of trips of these lengths, before it is stretched. [n]"""
        count = np.maximum(lengths, 1).astype(np.float64)
        f = self.following
        # The sum over all pairs of different roads of following^(roads apart).
        pairs = 2.0 * f * (count * (1.0 - f) - (1.0 - f**count)) / (1.0 - f) ** 2
        own = (count + self.linked * pairs) / count**2
        return self.shared + (1.0 - self.shared) * own

    def with_spread(self, scores: FloatArray, trip: IntArray) -> Dependence:
        """The same with the spreads of these trips' means."""
        first = np.flatnonzero(np.diff(trip, prepend=trip[:1] - 1))
        lengths = np.diff(np.append(first, len(trip)))
        mean = np.add.reduceat(scores, first) / lengths
        group = np.searchsorted(LENGTH_EDGES, lengths, side="right")
        found = []
        for number in range(len(_NO_SPREAD)):
            member = group == number
            ratio = (mean[member] ** 2 / self.variance_of_mean(lengths[member])).sum()
            squared = (ratio + _PRIOR_TRIPS) / (member.sum() + _PRIOR_TRIPS)
            # The marginals keep their spread, so the stretched mean's variance is k² v / (1 + …).
            found.append(self._undone(squared, lengths[member]))
        return replace(self, spread=tuple(found))

    def _undone(self, squared: float, lengths: IntArray) -> float:
        """The stretch after which the mean's variance is `squared` times what it was."""
        v = float(self.variance_of_mean(lengths).mean()) if len(lengths) else 1.0
        rest = max(1.0 - squared * v, 1e-6)
        stretch = np.sqrt(squared * (1.0 - v) / rest) if v < 1.0 else 1.0
        return float(np.clip(stretch, _LEAST_SPREAD, _MOST_SPREAD))

    def _stretch(self, lengths: IntArray) -> FloatArray:
        return np.array(self.spread)[np.searchsorted(LENGTH_EDGES, lengths, side="right")]

    def _variance(self, lengths: IntArray) -> FloatArray:
        """The mean variance of a trip's scores whose mean was stretched. [n]"""
        return 1.0 + (self._stretch(lengths) ** 2 - 1.0) * self.variance_of_mean(lengths)


def _normal(seed: int, numbers: IntArray, count: int) -> FloatArray:
    """So many standard normal numbers for each trip. [n, count]"""
    return ndtri(uniform_at(seed, numbers[:, None], np.arange(count)[None, :]))


def fit_dependence(scores: FloatArray, trip: IntArray) -> list[Dependence]:
    """None, a common factor, neighbours, or both: those that fit the lags' correlations best.

    Each as it is, and with spreads by the trips' lengths.
    """
    correlation, weight = _correlations(scores, trip)
    # [46, 1, 1], [1, 46, 1] and [1, 1, 19]: powers are dear, so each is taken once.
    shared, following, linked = np.meshgrid(_GRID, _GRID, _LINKED, indexing="ij", sparse=True)
    error = np.zeros((len(_GRID), len(_GRID), len(_LINKED)))
    for lag, found, pairs in zip(_LAGS, correlation, weight, strict=True):
        error += (shared + (1.0 - shared) * linked * following**lag - found) ** 2 * pairs

    def best(allowed: NDArray[np.bool_]) -> Dependence:
        i, j, k = np.unravel_index(np.where(allowed, error, np.inf).argmin(), error.shape)
        return Dependence(float(_GRID[i]), float(_GRID[j]), float(_LINKED[k]))

    alone, whole = shared == 0.0, linked == 1.0
    everywhere = np.ones_like(alone)
    found = [Dependence(), *map(best, (following == 0.0, alone & whole, alone, everywhere))]
    return [*found, *(each.with_spread(scores, trip) for each in found)]


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
        factor = np.linalg.cholesky(dependence.covariance(int(size)) + 1e-9 * np.eye(size))
        whitened = np.linalg.solve(factor, rows.T)
        log_determinant = 2.0 * np.log(np.diag(factor)).sum() * rows.shape[0]
        total -= 0.5 * (log_determinant + (whitened**2).sum() - (rows**2).sum())
    return total / float(length.sum())
