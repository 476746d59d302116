"""Values of trips as histograms, and the Jensen-Shannon divergence between two of them.

Which values are compared is `metrics.measures`; how certain a divergence is, `metrics.statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NUM_BINS = 100


@dataclass(frozen=True)
class Values:
    """A quantity of trips: one or more `values` per unit of resampling, `unit[i]` its trip."""

    values: FloatArray  # [v]
    unit: NDArray[np.int64]  # [v], ascending

    def of_units(self, mask: NDArray[np.bool_]) -> Values:
        """Those of some of the units, which keep their numbers."""
        if mask.all():
            return self
        kept = mask[self.unit]
        return Values(self.values[kept], self.unit[kept])

    @property
    def clustered(self) -> bool:
        """Whether some unit has several values, which are alike."""
        return bool((np.diff(self.unit) == 0).any())


@dataclass(frozen=True)
class BinnedTrips:
    """The bin of every value of a quantity, trip after trip: all that comparisons need of it."""

    bins: NDArray[np.uint8]  # [v]
    sizes: NDArray[np.int32]  # [n], how many values each trip has

    @classmethod
    def of(cls, values: Values, edges: FloatArray, num_trips: int) -> BinnedTrips:
        """The values of `num_trips` trips in these bins."""
        sizes = np.bincount(values.unit, minlength=num_trips)
        return cls(bin_index(values.values, edges).astype(np.uint8), sizes.astype(np.int32))

    def histogram(self) -> NDArray[np.int64]:
        """How many values fall into each bin. [NUM_BINS]"""
        return np.bincount(self.bins, minlength=NUM_BINS)

    def by_group(
        self, trips: NDArray[np.int64], group: NDArray[np.int64], num_groups: int
    ) -> NDArray[np.int64]:
        """The histogram of each group of trips; `group[i]` is that of `trips[i]`.

        [num_groups, NUM_BINS]
        """
        group_of = np.full(len(self.sizes), -1, dtype=np.int64)
        group_of[trips] = group
        of_value = np.repeat(group_of, self.sizes)
        chosen = of_value >= 0
        cell = of_value[chosen] * NUM_BINS + self.bins[chosen]
        counts = np.bincount(cell, minlength=num_groups * NUM_BINS)
        return counts.reshape(num_groups, NUM_BINS)


def bin_edges(real: FloatArray) -> FloatArray:
    """The published bins: 100 edges from 0 to the real maximum, and one open bin above."""
    return np.append(np.linspace(0.0, float(real.max()), NUM_BINS), np.inf)


def bin_index(values: FloatArray, edges: FloatArray) -> NDArray[np.int64]:
    """Which bin each value falls into; the lower edge belongs to the bin."""
    return np.searchsorted(edges[1:-1], values, side="right")


def histogram(values: FloatArray, edges: FloatArray) -> NDArray[np.int64]:
    """How many values fall into each bin. [NUM_BINS]"""
    return np.bincount(bin_index(values, edges), minlength=len(edges) - 1)


def jensen_shannon(first: NDArray[np.number], second: NDArray[np.number]) -> FloatArray:
    """The divergence, in nats, between histograms along the last axis."""
    p = first / first.sum(axis=-1, keepdims=True)
    q = second / second.sum(axis=-1, keepdims=True)
    middle = (p + q) / 2.0
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2.0


def _relative_entropy(p: FloatArray, q: FloatArray) -> FloatArray:
    p, q = np.broadcast_arrays(p, q)
    ratio = np.divide(p, q, out=np.ones(p.shape), where=p > 0)
    return np.sum(p * np.log(ratio), axis=-1)
