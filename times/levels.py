"""How far residuals lie off on average, by the predicted time, the road's class and the hour.

The three hang together (a student that has never seen a weekend may predict all of its times too
long), so each level is found again with the others taken off, a few times over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.clock import HOURS
from times.distribution import FloatArray, IntArray, TimeConditions

_SHRINKAGE = 30.0  # a condition with so many times goes half of its way
_ROUNDS = 4


@dataclass(frozen=True)
class Conditions:
    """Which conditions a fit uses."""

    road_class: bool
    hour: bool


@dataclass(frozen=True)
class Levels:
    """The levels of classes and hours, and what they and the predicted time leave over."""

    of_class: FloatArray  # [classes]
    of_hour: FloatArray  # [48]
    rest: FloatArray  # [N]


def fit_levels(
    residual: FloatArray,
    time_bin: IntArray,
    conditions: TimeConditions,
    num_classes: int,
    choice: Conditions,
) -> Levels:
    """The levels of N residuals; those of conditions that are not chosen are 0."""
    kind, hour = conditions.road_class, conditions.hour
    of_class, of_hour = np.zeros(num_classes), np.zeros(HOURS)
    rest = residual
    for _ in range(_ROUNDS):
        others = residual - of_class[kind] - of_hour[hour]
        of_bin = mean_by(time_bin, others, int(time_bin.max()) + 1)[time_bin]
        if choice.road_class:
            of_class = shrunk_mean(kind, residual - of_bin - of_hour[hour], num_classes)
        if choice.hour:
            of_hour = _hour_levels(hour, residual - of_bin - of_class[kind])
        rest = residual - of_bin - of_class[kind] - of_hour[hour]
    return Levels(of_class, of_hour, rest)


def _hour_levels(hour: IntArray, values: FloatArray) -> FloatArray:
    """A level for each kind of day, and one for each hour around it. [48]"""
    weekend = hour // 24
    of_kind = shrunk_mean(weekend, values, 2)
    around = shrunk_mean(hour, values - of_kind[weekend], HOURS)
    levels = of_kind.repeat(24) + around
    seen = np.bincount(weekend, minlength=2) > 0
    if not seen.all():  # nothing is known of the other kind: as this one
        levels = np.tile(levels.reshape(2, 24)[int(seen[1])], 2)
    return levels


def mean_by(group: IntArray, values: FloatArray, count: int) -> FloatArray:
    """The mean of each group's values, 0 for an empty one. [count]"""
    size = np.bincount(group, minlength=count)
    return np.bincount(group, values, minlength=count) / np.maximum(size, 1)


def shrunk_mean(group: IntArray, values: FloatArray, count: int) -> FloatArray:
    """The mean of each group's values, drawn towards 0 where they are few. [count]"""
    size = np.bincount(group, minlength=count)
    return np.bincount(group, values, minlength=count) / (size + _SHRINKAGE)
