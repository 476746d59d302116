"""The conditional distribution of travel times around the student's prediction.

The residual of log(1 + seconds) has an offset by road class, hour (those of working days and of
weekends are two), place in the trip and the trip's extent, a scale by all of these but the hour,
and a shape by the predicted time; the first road of a trip, which is driven in part, has a shape of
its own. The residuals of one trip hang together (a slow driver is slow all along, a jam spans
several roads): after mapping each to a normal score, they share a factor and follow on their
neighbours. Trips of durations that the data lack are drawn again (`selection`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from data.clock import HOURS
from runtime.errors import UserError
from runtime.files import sha256_of_arrays
from times.conditions import EXTENTS, FIRST, PLACES, FloatArray, IntArray, TimeConditions
from times.dependence import Dependence
from times.selection import Selection
from times.shape import LEAST_PROBABILITY, Shape

FORMAT = "hoser-distil-travel-times-4"
_OLDEST_FORMAT = "hoser-distil-travel-times-1"  # one shape; hours of one day, no places
_SECOND_FORMAT = "hoser-distil-travel-times-2"  # knew no extents
_THIRD_FORMAT = "hoser-distil-travel-times-3"  # knew no spread by length, no selection
_FORMATS = (_OLDEST_FORMAT, _SECOND_FORMAT, _THIRD_FORMAT, FORMAT)


@dataclass(frozen=True)
class TimeDistribution:
    """Seconds given `TimeConditions`; see the module's text."""

    first: Shape  # of the first times of trips
    later: Shape  # of all others
    class_offset: FloatArray  # [classes]
    class_scale: FloatArray  # [classes]
    hour_offset: FloatArray  # [48], of a working day, then of a weekend day
    place_offset: FloatArray  # [PLACES]
    place_scale: FloatArray  # [PLACES]
    extent_offset: FloatArray  # [EXTENTS]
    extent_scale: FloatArray  # [EXTENTS]
    dependence: Dependence  # of the normal scores of one trip
    selection: Selection = field(default_factory=Selection)  # of trips by their durations

    def draw(self, scores: FloatArray, conditions: TimeConditions) -> IntArray:
        """Whole seconds for standard normal `scores` [N], which one trip's times share in part."""
        return np.rint(self.quantile(ndtr(scores), conditions)).astype(np.int64)

    def quantile(self, probability: FloatArray, conditions: TimeConditions) -> FloatArray:
        """The time in seconds below which `probability` [N] of the times lie."""
        offset, scale = self._offset_and_scale(conditions)
        standard = self._by_shape(Shape.quantile, probability, conditions)
        return np.maximum(np.expm1(conditions.expected + offset + scale * standard), 0.0)

    def cdf(self, seconds: FloatArray, conditions: TimeConditions) -> FloatArray:
        """The probability of a time of at most `seconds` [N], as a continuous quantity."""
        offset, scale = self._offset_and_scale(conditions)
        residual = np.log1p(np.maximum(seconds, 0.0)) - conditions.expected
        below = self._by_shape(Shape.cdf, (residual - offset) / scale, conditions)
        return np.where(seconds < 0.0, 0.0, below)

    def log_density(self, seconds: FloatArray, conditions: TimeConditions) -> FloatArray:
        """The logarithm of the probability of these whole seconds [N], rounding included."""
        above = self.cdf(seconds + 0.5, conditions)
        below = np.where(seconds < 0.5, 0.0, self.cdf(seconds - 0.5, conditions))
        return np.log(np.maximum(above - below, LEAST_PROBABILITY))

    def normal_scores(self, seconds: FloatArray, conditions: TimeConditions) -> FloatArray:
        """What `draw` would need to give these seconds. [N]"""
        probability = self.cdf(seconds, conditions)
        return ndtri(np.clip(probability, 1e-9, 1.0 - 1e-9))

    def _offset_and_scale(self, conditions: TimeConditions) -> tuple[FloatArray, FloatArray]:
        kind, place, extent = conditions.road_class, conditions.place, conditions.extent
        offset = self.class_offset[kind] + self.hour_offset[conditions.hour]
        offset = offset + self.place_offset[place] + self.extent_offset[extent]
        scale = self.class_scale[kind] * self.place_scale[place] * self.extent_scale[extent]
        return offset, scale

    def _by_shape(
        self,
        ask: Callable[[Shape, FloatArray, FloatArray], FloatArray],
        values: FloatArray,
        conditions: TimeConditions,
    ) -> FloatArray:
        is_first = conditions.place == FIRST
        result = np.empty(len(values))
        for shape, rows in ((self.first, is_first), (self.later, ~is_first)):
            result[rows] = ask(shape, values[rows], conditions.expected[rows])
        return result

    def to_plain(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {"format": FORMAT, **{name: _plain(value) for name, value in vars(self).items()}}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> TimeDistribution:
        """The distribution that `to_plain` has written down; `UserError` where it is none."""
        if content.get("format") not in _FORMATS:
            raise UserError(
                f"its travel-time distribution has the format {content.get('format')!r}, this "
                f"program reads {FORMAT!r}; fit it again with: python -m tools.fit_times"
            )
        try:
            values = {name: _arrays(value) for name, value in content.items() if name != "format"}
            if content["format"] == _OLDEST_FORMAT:
                values = _with_places(values)
            if content["format"] in (_OLDEST_FORMAT, _SECOND_FORMAT):
                values |= {"extent_offset": np.zeros(EXTENTS), "extent_scale": np.ones(EXTENTS)}
            for name in ("first", "later"):
                values[name] = Shape.from_plain(values[name])
            values["dependence"] = Dependence.from_plain(values["dependence"])
            values["selection"] = Selection(**values.get("selection", {}))
            found = cls(**values)
            sound = found._is_sound()
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            sound = False
        if not sound:
            raise UserError(
                "its travel-time distribution is damaged; fit it again with: "
                "python -m tools.fit_times"
            )
        return found

    def _is_sound(self) -> bool:
        shapes = (
            self.class_offset.shape == self.class_scale.shape
            and self.hour_offset.shape == (HOURS,)
            and self.place_offset.shape == self.place_scale.shape == (PLACES,)
            and self.extent_offset.shape == self.extent_scale.shape == (EXTENTS,)
        )
        return bool(
            shapes
            and self.first.is_sound()
            and self.later.is_sound()
            and all(np.isfinite(array).all() for array in self._arrays())
            and (self.class_scale > 0).all()
            and (self.place_scale > 0).all()
            and (self.extent_scale > 0).all()
            and self.dependence.is_sound()
            and self.selection.is_sound()
        )

    def _arrays(self) -> list[FloatArray]:
        return [value for value in vars(self).values() if isinstance(value, np.ndarray)]

    @property
    def num_classes(self) -> int:
        """Road classes that it knows."""
        return len(self.class_scale)

    @property
    def content_hash(self) -> str:
        """Identifies the distribution."""
        shapes = [*vars(self.first).values(), *vars(self.later).values()]
        parts = [*vars(self.dependence).values(), *vars(self.selection).values()]
        return sha256_of_arrays(*shapes, *self._arrays(), np.hstack(parts))


def _plain(value: Any) -> Any:
    if isinstance(value, Shape | Dependence | Selection):
        return {name: _plain(array) for name, array in vars(value).items()}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    return value


def _arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _arrays(part) for name, part in value.items()}
    return value.double().numpy() if isinstance(value, torch.Tensor) else value


def _with_places(values: dict[str, Any]) -> dict[str, Any]:
    """The oldest format's distribution, with all that it did not know as it was taken to be."""
    shape = {name: values.pop(name) for name in Shape.__annotations__}
    values["hour_offset"] = np.tile(values["hour_offset"], 2)
    places = {"place_offset": np.zeros(PLACES), "place_scale": np.ones(PLACES)}
    dependence = {name: values.pop(name) for name in ("shared", "following")}
    return {**values, **places, "first": shape, "later": shape, "dependence": dependence}
