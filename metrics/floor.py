"""How far two samples of the very same trips are apart: the least a divergence can be.

A Jensen-Shannon divergence of two finite samples is above 0 even where both come from one
distribution. This is its expected value for as many real and generated trips as there are, so a
model at the floor cannot be told from the real trips by that measure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.distributions import jensen_shannon

SAMPLES = 64


@dataclass(frozen=True)
class SampleSizes:
    """How many values the two sides have."""

    real: int
    generated: int


def divergence_floor(
    blocks: NDArray[np.number], sizes: SampleSizes, clustered: bool, seed: int
) -> float | None:
    """The expected divergence of two samples from the real distribution.

    `blocks` [B, bins] are the real values' histograms by random block of trips. Values of one
    trip are alike (`clustered`), which makes samples worth fewer values than they have: Rao and
    Scott's design effect, from the spread between blocks, says how many.
    """
    counts = blocks.sum(axis=0)
    filled = counts > 0
    share = counts[filled] / counts.sum()
    if len(share) < 2:
        return 0.0
    effect = _design_effect(blocks[:, filled], share) if clustered else 1.0
    if effect is None:
        return None
    worth = SampleSizes(*(max(1, round(size / effect)) for size in (sizes.real, sizes.generated)))
    return sampling_floor(counts[filled], worth, np.random.default_rng([seed, 3]))


def sampling_floor(
    counts: NDArray[np.number], sizes: SampleSizes, rng: np.random.Generator
) -> float:
    """The expected divergence of two samples of independent values, distributed as `counts`."""
    share = counts / counts.sum()
    drawn = [rng.multinomial(size, share, size=SAMPLES) for size in (sizes.real, sizes.generated)]
    return float(jensen_shannon(drawn[0], drawn[1]).mean())


def _design_effect(blocks: NDArray[np.number], share: NDArray[np.float64]) -> float | None:
    """The variance of the shares over that of independent values, on average over the bins."""
    totals = blocks.sum(axis=1)
    held = int((totals > 0).sum())
    if held < 2:
        return None
    residual = blocks - totals[:, None] * share
    variance = held / (held - 1) * (residual**2).sum(axis=0) / totals.sum() ** 2
    independent = share * (1 - share) / totals.sum()
    return max(1.0, float((variance / share).sum() / (independent / share).sum()))
