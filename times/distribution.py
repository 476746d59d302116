"""The conditional distribution of travel times around the student's prediction.

The residual of log(1 + seconds) has an offset by road class and hour (those of working days and of
weekends are two), a scale by road class, and a shape by the predicted time: quantiles between which
it is uniform, exponential beyond them. The residuals of one trip hang together (a slow driver is
slow all along, a jam spans several roads): after mapping each to a normal score, they share a
factor and follow on their neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from data.clock import HOURS, hour_of_day_kind
from runtime.errors import UserError
from runtime.files import sha256_of_arrays

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FORMAT = "hoser-distil-travel-times-2"
_FORMAT_OF_ONE_DAY = "hoser-distil-travel-times-1"  # working days and weekends alike
_LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class TimeConditions:
    """What the time on each of N roads depends on."""

    expected: FloatArray  # [N], predicted log(1 + seconds)
    road_class: IntArray  # [N], `RoadNetwork.road_attr_type` of the road driven along
    hour: IntArray  # [N], `hour_of_day_kind` when that road is entered

    @classmethod
    def of(
        cls, expected_s: FloatArray, road_class: IntArray, entered_s: IntArray
    ) -> TimeConditions:
        """From predicted seconds, and the seconds since 1970 when the road is entered."""
        log_s = np.log1p(np.maximum(expected_s, 0.0))
        return cls(log_s, road_class, hour_of_day_kind(entered_s))

    def __len__(self) -> int:
        return len(self.expected)

    def __getitem__(self, rows: NDArray[Any] | slice) -> TimeConditions:
        return TimeConditions(self.expected[rows], self.road_class[rows], self.hour[rows])


@dataclass(frozen=True)
class TimeDistribution:
    """Seconds given `TimeConditions`; see the module's text."""

    edges: FloatArray  # [K - 1], between the bins of the expected log(1 + seconds)
    levels: FloatArray  # [L], probabilities of the quantiles, between 0 and 1
    quantiles: FloatArray  # [K, L], of the standardised residual
    tails: FloatArray  # [K, 2], scales of the exponentials below and above the quantiles
    class_offset: FloatArray  # [classes]
    class_scale: FloatArray  # [classes]
    hour_offset: FloatArray  # [48], of a working day, then of a weekend day
    shared: float  # share of the normal scores' variance that a trip's roads have in common
    following: float  # correlation of neighbours in the rest of it

    def draw(self, scores: FloatArray, conditions: TimeConditions) -> IntArray:
        """Whole seconds for standard normal `scores` [N]; see `scores_of_trips`."""
        offset, scale = self._place(conditions)
        residual = offset + scale * self._quantile(ndtr(scores), self._bin(conditions))
        seconds = np.expm1(conditions.expected + residual)
        return np.rint(np.maximum(seconds, 0.0)).astype(np.int64)

    def quantile(self, probability: FloatArray, conditions: TimeConditions) -> FloatArray:
        """The time in seconds below which `probability` [N] of the times lie."""
        offset, scale = self._place(conditions)
        residual = offset + scale * self._quantile(probability, self._bin(conditions))
        return np.maximum(np.expm1(conditions.expected + residual), 0.0)

    def cdf(self, seconds: FloatArray, conditions: TimeConditions) -> FloatArray:
        """The probability of a time of at most `seconds` [N], as a continuous quantity."""
        offset, scale = self._place(conditions)
        residual = np.log1p(np.maximum(seconds, 0.0)) - conditions.expected
        below = self._cdf((residual - offset) / scale, self._bin(conditions))
        return np.where(seconds < 0.0, 0.0, below)

    def log_density(self, seconds: FloatArray, conditions: TimeConditions) -> FloatArray:
        """The logarithm of the probability of these whole seconds [N], rounding included."""
        above = self.cdf(seconds + 0.5, conditions)
        below = np.where(seconds < 0.5, 0.0, self.cdf(seconds - 0.5, conditions))
        return np.log(np.maximum(above - below, _LEAST_PROBABILITY))

    def normal_scores(self, seconds: FloatArray, conditions: TimeConditions) -> FloatArray:
        """What `draw` would need to give these seconds. [N]"""
        probability = self.cdf(seconds, conditions)
        return ndtri(np.clip(probability, 1e-9, 1.0 - 1e-9))

    def _place(self, conditions: TimeConditions) -> tuple[FloatArray, FloatArray]:
        kind = conditions.road_class
        return self.class_offset[kind] + self.hour_offset[conditions.hour], self.class_scale[kind]

    def _bin(self, conditions: TimeConditions) -> IntArray:
        return np.searchsorted(self.edges, conditions.expected, side="right")

    def _quantile(self, probability: FloatArray, at: IntArray) -> FloatArray:
        first, last = self.levels[0], self.levels[-1]
        inner = np.clip(probability, first, last)
        cell = np.clip(
            np.searchsorted(self.levels, inner, side="right") - 1, 0, len(self.levels) - 2
        )
        share = (inner - self.levels[cell]) / (self.levels[cell + 1] - self.levels[cell])
        left, right = self.quantiles[at, cell], self.quantiles[at, cell + 1]
        low = np.minimum(probability, first) / first
        high = (1.0 - np.maximum(probability, last)) / (1.0 - last)
        tail = self.tails[at, 0] * np.log(np.maximum(low, _LEAST_PROBABILITY))
        tail -= self.tails[at, 1] * np.log(np.maximum(high, _LEAST_PROBABILITY))
        return left + share * (right - left) + tail

    def _cdf(self, residual: FloatArray, at: IntArray) -> FloatArray:
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

    def to_plain(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        arrays = {
            name: torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        return {
            "format": FORMAT, **arrays, "shared": self.shared, "following": self.following,
        }  # fmt: skip

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> TimeDistribution:
        """The distribution that `to_plain` has written down; `UserError` where it is none."""
        if content.get("format") not in (FORMAT, _FORMAT_OF_ONE_DAY):
            raise UserError(
                f"its travel-time distribution has the format {content.get('format')!r}, this "
                f"program reads {FORMAT!r}; fit it again with: python -m tools.fit_times"
            )
        values: dict[str, Any] = {
            name: value.double().numpy() if isinstance(value, torch.Tensor) else value
            for name, value in content.items()
            if name != "format"
        }
        try:
            if content["format"] == _FORMAT_OF_ONE_DAY:
                values["hour_offset"] = np.tile(values["hour_offset"], 2)
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
        bins, levels = len(self.edges) + 1, len(self.levels)
        shapes = (
            self.quantiles.shape == (bins, levels)
            and self.tails.shape == (bins, 2)
            and self.class_offset.shape == self.class_scale.shape
            and self.hour_offset.shape == (HOURS,)
        )
        arrays = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        return bool(
            shapes
            and levels > 1
            and all(np.isfinite(array).all() for array in arrays)
            and (np.diff(self.edges) > 0).all()
            and (np.diff(self.levels) > 0).all()
            and 0 < self.levels[0] < self.levels[-1] < 1
            and (np.diff(self.quantiles) >= 0).all()
            and (self.tails > 0).all()
            and (self.class_scale > 0).all()
            and 0 <= self.shared < 1
            and 0 <= self.following < 1
        )

    @property
    def num_classes(self) -> int:
        """Road classes that it knows."""
        return len(self.class_scale)

    @property
    def content_hash(self) -> str:
        """Identifies the distribution."""
        arrays = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        return sha256_of_arrays(*arrays, np.array([self.shared, self.following]))
