"""How far residuals lie off on average, and how widely they spread, by condition.

Conditions hang together (a student that has never seen a weekend may predict all of its times too
long), so each level is found again with the others taken off, a few times over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.clock import HOURS
from times.conditions import PLACES, FloatArray, IntArray, TimeConditions

_SHRINKAGE = 30.0  # a condition with so many times goes half of its way
_ROUNDS = 4
_SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Conditions:
    """Which conditions a fit uses."""

    road_class: bool
    hour: bool
    place: bool


@dataclass(frozen=True)
class Levels:
    """The levels of each condition, and what they and the predicted time leave over."""

    of_class: FloatArray  # [classes]
    of_hour: FloatArray  # [48]
    of_place: FloatArray  # [PLACES]
    rest: FloatArray  # [N]

    def at(self, conditions: TimeConditions) -> FloatArray:
        """The sum of the levels. [N]"""
        found = self.of_class[conditions.road_class] + self.of_hour[conditions.hour]
        return found + self.of_place[conditions.place]


@dataclass(frozen=True)
class Scales:
    """How widely residuals spread, compared with others of the same predicted time."""

    of_class: FloatArray  # [classes]
    of_place: FloatArray  # [PLACES]

    def at(self, conditions: TimeConditions) -> FloatArray:
        """The product of the scales. [N]"""
        return self.of_class[conditions.road_class] * self.of_place[conditions.place]


def fit_levels(
    residual: FloatArray,
    time_bin: IntArray,
    conditions: TimeConditions,
    num_classes: int,
    choice: Conditions,
) -> Levels:
    """The levels of N residuals; those of conditions that are not chosen are 0."""
    kind, hour, place = conditions.road_class, conditions.hour, conditions.place
    of_class, of_hour, of_place = np.zeros(num_classes), np.zeros(HOURS), np.zeros(PLACES)
    rest = residual
    for _ in range(_ROUNDS):
        others = residual - of_class[kind] - of_hour[hour] - of_place[place]
        of_bin = _mean_by(time_bin, others, int(time_bin.max()) + 1)[time_bin]
        if choice.road_class:
            others = residual - of_bin - of_hour[hour] - of_place[place]
            of_class = _shrunk_mean(kind, others, num_classes)
        if choice.hour:
            of_hour = _hour_levels(hour, residual - of_bin - of_class[kind] - of_place[place])
        if choice.place:
            others = residual - of_bin - of_class[kind] - of_hour[hour]
            of_place = _shrunk_mean(place, others, PLACES)
        rest = residual - of_bin - of_class[kind] - of_hour[hour] - of_place[place]
    return Levels(of_class, of_hour, of_place, rest)


def fit_scales(
    rest: FloatArray,
    time_bin: IntArray,
    conditions: TimeConditions,
    num_classes: int,
    choice: Conditions,
) -> Scales:
    """The scales of what the levels leave over; those of conditions not chosen are 1."""
    variance = _mean_by(time_bin, rest**2, int(time_bin.max()) + 1)
    spread = np.sqrt(variance)[time_bin].clip(min=_SMALLEST_SPREAD)
    ratio = np.log(np.abs(rest / spread).clip(0.05, 20.0))
    ratio -= ratio.mean()
    of_class, of_place = np.zeros(num_classes), np.zeros(PLACES)
    if choice.road_class:
        of_class = _shrunk_mean(conditions.road_class, ratio, num_classes)
    if choice.place:
        others = ratio - of_class[conditions.road_class]
        of_place = _shrunk_mean(conditions.place, others, PLACES)
    return Scales(np.exp(of_class), np.exp(of_place))


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
