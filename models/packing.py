"""Which entries of a padded batch are real, so that work can be spent on those alone.

A packed tensor has one row for each real position (trip by trip) or each real candidate (position
by position). Everything padded in between keeps the batch's shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data.masks import real_entries


@dataclass
class Packing:
    """Flat indices of the real positions and candidates of one batch."""

    batch_size: int
    num_steps: int
    num_candidates: int
    position: Tensor  # int64 [P], into B * T
    candidate: Tensor  # int64 [M], into B * T * C
    candidate_owner: Tensor  # int64 [M], into the P packed positions

    def pack_positions(self, padded: Tensor) -> Tensor:
        """[B, T, ...] -> [P, ...]"""
        return padded.flatten(0, 1)[self.position]

    def unpack_positions(self, packed: Tensor) -> Tensor:
        """[P, n] -> [B, T, n], zeros in the padding."""
        flat = packed.new_zeros(self.batch_size * self.num_steps, packed.shape[1])
        flat = flat.index_copy(0, self.position, packed)
        return flat.view(self.batch_size, self.num_steps, packed.shape[1])

    def pack_positions_with_grad(self, padded: Tensor) -> Tensor:
        """[B, T, n] -> [P, n] with a backward pass that is fast on CPUs."""
        return F.embedding(self.position, padded.reshape(-1, padded.shape[-1]))

    def pack_candidates(self, padded: Tensor) -> Tensor:
        """[B, T, C] -> [M]"""
        return padded.flatten()[self.candidate]

    def unpack_candidates(self, packed: Tensor) -> Tensor:
        """[M] -> [B, T, C], zeros in the padding."""
        shape = (self.batch_size, self.num_steps, self.num_candidates)
        flat = packed.new_zeros(shape[0] * shape[1] * shape[2])
        return flat.index_copy(0, self.candidate, packed).view(shape)


def pack(trace_len: Tensor, candidate_len: Tensor, num_candidates: int) -> Packing:
    """The packing of a batch with these lengths ([B] and [B, T])."""
    batch_size, num_steps = candidate_len.shape
    valid = real_entries(trace_len, num_steps)
    position = valid.flatten().nonzero().squeeze(1)
    lengths = candidate_len.flatten()[position].clamp(min=0)  # [P]
    owner = torch.repeat_interleave(lengths)  # [M]
    before = lengths.cumsum(0) - lengths
    within = torch.arange(owner.shape[0], device=owner.device) - before[owner]
    return Packing(
        batch_size=batch_size,
        num_steps=num_steps,
        num_candidates=num_candidates,
        position=position,
        candidate=position[owner] * num_candidates + within,
        candidate_owner=owner,
    )
