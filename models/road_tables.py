"""What the student needs of each road, computed once for many trips.

A table row depends on the road network and the parameters only. Under gradient accumulation all
micro-batches share one `RoadTables`: `leaf = tables.detach_for_accumulation()` stands in for it in
the micro-batches, gathers their gradients, and `tables.backward(leaf)` sends the sum through the
road network encoder once. The result is the plain gradient, not an approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_TABLES = ("spatial", "candidate_key", "candidate_time", "zone_query")


@dataclass
class RoadTables:
    """Per-road and per-zone parts of the student's formulas; n = R or the roads of a subset."""

    spatial: Tensor  # [n, d] road embedding fused with its zone's
    candidate_key: Tensor  # [n, h] the road's part of a candidate's key
    candidate_time: Tensor  # [n, 1] the road's part of a candidate's travel time
    zone_query: Tensor  # [Z, h] the destination zone's part of the query
    row_of_road: Tensor | None = None  # int64 [R], -1 = not encoded; None: row = road

    def rows(self, roads: Tensor) -> Tensor:
        """The rows where these roads stand."""
        return (
            roads
            if self.row_of_road is None
            else F.embedding(roads, self.row_of_road.unsqueeze(1)).squeeze(-1)
        )

    def detach_for_accumulation(self, own_gradients: bool = False) -> RoadTables:
        """Leaves with the same values, whose `.grad` collects over micro-batches.

        `own_gradients` gives them memory at once; else the first micro-batch's gradients are
        taken as they are.
        """
        leaves = {name: getattr(self, name).detach().requires_grad_() for name in _TABLES}
        if own_gradients:
            for leaf in leaves.values():
                leaf.grad = torch.zeros_like(leaf)
        return RoadTables(**leaves, row_of_road=self.row_of_road)

    def backward(self, leaf: RoadTables) -> None:
        """Propagates what `leaf` has collected into the parameters behind these tables."""
        tensors = [getattr(self, name) for name in _TABLES]
        grads = [getattr(leaf, name).grad for name in _TABLES]
        # A table nobody used still takes part, so that every parameter receives a gradient.
        grads = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, grads)]
        torch.autograd.backward(tensors, grads)
