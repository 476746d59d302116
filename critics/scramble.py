"""Random numbers that depend on what they are for, not on the order in which they are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 62


def scramble(*values: int | Tensor) -> Tensor:
    """Pseudo-random numbers in [0, 2^62) from these numbers alone; tensors broadcast."""
    state = torch.zeros((), dtype=torch.long)
    for value in values:
        state = state * 6364136223846793005 + value + 1442695040888963407
        state = state ^ ((state >> 29) & ((1 << 35) - 1))
        state = state * -4658895280553007687
        state = state ^ ((state >> 32) & ((1 << 32) - 1))
    return state & ((1 << BITS) - 1)
