"""How far residuals lie off on average, and how widely they spread, by condition.

Conditions hang together (a student that has never seen a weekend may predict all of its times too
long), so each level is found again with the others taken off, a few times over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.clock import HOURS
from times.conditions import EXTENTS, PLACES, FloatArray, IntArray, TimeConditions

_SHRINKAGE = 30.0  # a condition with so many times goes half of its way
_ROUNDS = 4
_SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Conditions:
    """Which conditions a fit uses; each is a column of `TimeConditions`."""

    road_class: bool = True
    hour: bool = True
    place: bool = True
    extent: bool = True

    def __iter__(self) -> Iterator[str]:
        return (name for name, used in vars(self).items() if used)


Effects = dict[str, FloatArray]
"""A number for each value of each condition."""


def no_effects(num_classes: int) -> Effects:
    """Zeros for every value of every condition."""
    sizes = {"road_class": num_classes, "hour": HOURS, "place": PLACES, "extent": EXTENTS}
    return {name: np.zeros(size) for name, size in sizes.items()}


def total(effects: Effects, conditions: TimeConditions, but: str = "") -> FloatArray:
    """The sum of the effects on each road, but for one condition's. [N]"""
    found = np.zeros(len(conditions))
    for name, of_value in effects.items():
        if name != but:
            found += of_value[getattr(conditions, name)]
    return found


def fit_levels(
    residual: FloatArray,
    time_bin: IntArray,
    conditions: TimeConditions,
    num_classes: int,
    choice: Conditions,
) -> tuple[Effects, FloatArray]:
    """The levels of N residuals, and what they and the predicted time leave over. [N]"""
    levels, bins = no_effects(num_classes), int(time_bin.max()) + 1
    of_bin = np.zeros(len(residual))
    for _ in range(_ROUNDS):
        of_bin = _mean_by(time_bin, residual - total(levels, conditions), bins)[time_bin]
        for name in choice:
            others = residual - of_bin - total(levels, conditions, but=name)
            group = getattr(conditions, name)
            if name == "hour":
                levels[name] = _hour_levels(group, others)
            else:
                levels[name] = _shrunk_mean(group, others, len(levels[name]))
    return levels, residual - of_bin - total(levels, conditions)


def fit_scales(
    rest: FloatArray,
    time_bin: IntArray,
    conditions: TimeConditions,
    num_classes: int,
    choice: Conditions,
) -> Effects:
    """Logarithms of how widely what the levels leave over spreads, beside its predicted time."""
    variance = _mean_by(time_bin, rest**2, int(time_bin.max()) + 1)
    spread = np.sqrt(variance)[time_bin].clip(min=_SMALLEST_SPREAD)
    ratio = np.log(np.abs(rest / spread).clip(0.05, 20.0))
    ratio -= ratio.mean()
    scales = no_effects(num_classes)
    for name in choice:
        if name != "hour":
            others = ratio - total(scales, conditions)
            scales[name] = _shrunk_mean(getattr(conditions, name), others, len(scales[name]))
    return scales


def _hour_levels(hour: IntArray, values: FloatArray) -> FloatArray:
    """A level for each kind of day, and one for each hour around it. [48]"""
    weekend = hour // 24
    of_kind = _shrunk_mean(weekend, values, 2)
    around = _shrunk_mean(hour, values - of_kind[weekend], HOURS)
    levels = of_kind.repeat(24) + around
    seen = np.bincount(weekend, minlength=2) > 0
    if not seen.all():  # nothing is known of the other kind: as this one
        levels = np.tile(levels.reshape(2, 24)[int(seen[1])], 2)
    return levels


def _mean_by(group: IntArray, values: FloatArray, count: int) -> FloatArray:
    """The mean of each group's values, 0 for an empty one. [count]"""
    size = np.bincount(group, minlength=count)
    return np.bincount(group, values, minlength=count) / np.maximum(size, 1)


def _shrunk_mean(group: IntArray, values: FloatArray, count: int) -> FloatArray:
    """The mean of each group's values, drawn towards 0 where they are few. [count]"""
    size = np.bincount(group, minlength=count)
    return np.bincount(group, values, minlength=count) / (size + _SHRINKAGE)
