"""Lets `torch.compile` compile the student once for batches of all shapes."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from data.batch import Batch


def mark_dynamic(batch: Batch) -> Batch:
    """Declares every size of a batch (trips, steps, candidates) as varying; returns the batch.

    Without it the compiler guesses from what changes between batches and compiles anew each time it
    learns of one more. A batch of a single trip, step or candidate still gets a program of its own.
    """
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            for dimension in range(value.dim()):
                torch._dynamo.maybe_mark_dynamic(value, dimension)
    return batch
