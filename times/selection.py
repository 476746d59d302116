"""Which trips are among the data at all, by how long they last.

Data sets are made of trips of some least duration: points were too few before, or somebody left
short ones out. A model of single roads' times knows nothing of that and makes trips as short as no
real one is. So a trip's times are drawn again as long as its duration is one that the data lack:
kept with the probability 1 / (1 + exp((begins_s - duration) / width_s)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from times.conditions import FloatArray

_SHARES = np.array([0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08])  # of the trips are shorter
_WIDTHS = (0.01, 0.03, 0.06, 0.12)  # in parts of the duration
_LEAST_KEPT = 0.01  # a shorter trip than all is rare, not impossible
_MIN_TRIPS = 100


@dataclass(frozen=True)
class Selection:
    """From which duration on trips are among the data; everything is by default."""

    begins_s: float = 0.0
    width_s: float = 0.0

    @property
    def selects(self) -> bool:
        """Whether any duration is left out."""
        return self.width_s > 0.0

    def kept(self, durations_s: FloatArray) -> FloatArray:
        """The probability that trips of these durations are among the data. [n]"""
        if not self.selects:
            return np.ones(durations_s.shape)
        steps = np.clip((durations_s - self.begins_s) / self.width_s, -60.0, 60.0)
        return np.maximum(1.0 / (1.0 + np.exp(-steps)), _LEAST_KEPT)

    def is_sound(self) -> bool:
        """Whether these can be the parameters."""
        return bool(np.isfinite([self.begins_s, self.width_s]).all() and self.width_s >= 0.0)

    def log_likelihood(self, durations_s: FloatArray, drawn_s: FloatArray) -> float:
        """What it adds to the mean log-likelihood of real durations [n], given draws [n, K]."""
        return float((np.log(self.kept(durations_s)) - np.log(self.kept(drawn_s).mean(1))).mean())


def fit_selection(
    durations_s: FloatArray,  # [n], of real trips
    draw: Callable[[], FloatArray],  # [n, K], durations drawn for the same trips
) -> Selection:
    """The likeliest selection, where either half of the trips finds that of the other likely."""
    if len(durations_s) < _MIN_TRIPS:
        return Selection()
    drawn_s = draw()
    begins = np.unique(np.quantile(durations_s, _SHARES)).tolist()
    candidates = [Selection(), *(Selection(b, b * w) for b in begins for w in _WIDTHS)]

    def best(rows: slice) -> Selection:
        return max(candidates, key=lambda s: s.log_likelihood(durations_s[rows], drawn_s[rows]))

    even, odd = slice(0, None, 2), slice(1, None, 2)
    gain = best(even).log_likelihood(durations_s[odd], drawn_s[odd])
    gain += best(odd).log_likelihood(durations_s[even], drawn_s[even])
    return best(slice(None)) if gain > 0.0 else Selection()
