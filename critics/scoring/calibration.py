"""Which share of normal trips is less surprising: percentiles fitted on validation trips.

A trip is compared with normal ones of as many decisions whose ends are driven about as often. The
usual value and spread are lines through a few knots, and what is left has one distribution; so a
few hundred normal trips suffice. Beyond the most surprising of them the tail is exponential, so
that trips can still be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from critics.scoring.trips import Surroundings
from runtime.errors import UserError

FloatArray = NDArray[np.float64]

SUPPORT_EDGES = (1, 10)  # never driven, seldom, often
MIN_NORMAL_TRIPS = 20
_MOST_KNOTS, _TRIPS_A_KNOT = 6, 150
_PRIOR_TRIPS = 60.0  # how many trips of all supports stand behind each support's own
_TAIL_SHARE = 0.05


@dataclass(frozen=True)
class Calibration:
    """What is normal of one number of a trip."""

    knots: FloatArray  # [K], log(1 + decisions)
    usual: FloatArray  # [support, K]
    spread: FloatArray  # [support, K]
    residuals: FloatArray  # [n], of the normal trips, sorted
    tail_start: float
    tail_mean: float  # of what lies above `tail_start`

    @classmethod
    def fit(cls, values: FloatArray, around: Surroundings) -> Calibration:
        """From the values of normal trips."""
        if len(values) < MIN_NORMAL_TRIPS:
            raise UserError(
                f"There are {len(values)} normal trips; percentiles need at least "
                f"{MIN_NORMAL_TRIPS}. Use a larger validation split."
            )
        x, group = _place(around)
        count = int(np.clip(len(values) // _TRIPS_A_KNOT, 2, _MOST_KNOTS))
        knots = np.unique(np.quantile(x, np.linspace(0, 1, count)))
        usual = _lines(x, group, values, knots)
        gap = np.abs(values - _at(x, group, knots, usual))
        floor = max(float(gap.mean()) * 0.1, 1e-9)
        spread = np.maximum(_lines(x, group, gap, knots), floor)
        residuals = np.sort((values - _at(x, group, knots, usual)) / _at(x, group, knots, spread))
        start = float(np.quantile(residuals, 1 - _TAIL_SHARE))
        above = residuals[residuals > start] - start
        tail_mean = float(above.mean()) if len(above) else 1.0
        return cls(knots, usual, spread, residuals, start, max(tail_mean, 1e-9))

    def level(self, values: FloatArray, around: Surroundings) -> FloatArray:
        """−log of the share of comparable normal trips that are more surprising. [n]"""
        x, group = _place(around)
        usual = _at(x, group, self.knots, self.usual)
        residual = (values - usual) / _at(x, group, self.knots, self.spread)
        # Between two normal trips the share moves on, so that no two values share a rank.
        share = (np.arange(len(self.residuals)) + 1.0) / (len(self.residuals) + 1)
        more = 1.0 - np.interp(residual, self.residuals, share, left=share[0] / 2)
        body = -np.log(np.maximum(more, _TAIL_SHARE))
        beyond = np.maximum(residual - self.tail_start, 0.0) / self.tail_mean
        return np.where(residual > self.tail_start, -np.log(_TAIL_SHARE) + beyond, body)


def percentile(level: FloatArray) -> FloatArray:
    """The share of comparable normal trips that are less surprising, in [0, 1)."""
    return -np.expm1(-level)


def _place(around: Surroundings) -> tuple[FloatArray, NDArray[np.int64]]:
    x = np.log1p(around.decisions.astype(np.float64))
    return x, np.searchsorted(np.array(SUPPORT_EDGES), around.support, side="right")


def _at(
    x: FloatArray, group: NDArray[np.int64], knots: FloatArray, table: FloatArray
) -> FloatArray:
    """Each trip's value of its own support's line."""
    rows = np.stack([np.interp(x, knots, line) for line in table])  # [support, n]
    return rows[group, np.arange(len(x))]


def _lines(x: FloatArray, group: NDArray[np.int64], y: FloatArray, knots: FloatArray) -> FloatArray:
    """A curve for each support, drawn to everybody's where there are few trips. [support, K]"""
    everyone = _line(x, y, knots)
    table = np.tile(everyone, (len(SUPPORT_EDGES) + 1, 1))
    for number in range(len(table)):
        member = group == number
        if member.any():
            own = _line(x[member], y[member], knots)
            table[number] += (own - everyone) * member.sum() / (member.sum() + _PRIOR_TRIPS)
    return table


def _line(x: FloatArray, y: FloatArray, knots: FloatArray) -> FloatArray:
    """The values at the knots of the piecewise linear curve through (x, y), least squares."""
    basis = np.stack([np.interp(x, knots, row) for row in np.eye(len(knots))], axis=1)
    gram = basis.T @ basis
    # A little of the mean keeps knots defined near which there are no trips.
    ridge = 1e-3 * len(x) / len(knots) * np.eye(len(knots))
    mean = float(y.mean())
    solved = np.linalg.solve(gram + ridge, basis.T @ (y - mean))
    return np.asarray(mean + solved, dtype=np.float64)
