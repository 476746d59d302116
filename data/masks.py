"""Which entries of a padded tensor are real."""

from __future__ import annotations

import torch
from torch import Tensor


def real_entries(count: Tensor, width: int) -> Tensor:  # int64 [...] -> bool [..., width]
    """True at the first `count` of `width` places."""
    return torch.arange(width, device=count.device) < count.unsqueeze(-1)
