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
