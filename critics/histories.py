"""What the teacher reads before it judges a position: which tokens, once each.

A history is SOT, the destination where the teacher was told it, then roads up to and including
the current one. With a window each position has a history of its own; with full history all
positions of a trip share one sequence, read at different places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from config.choices import Window


@dataclass(frozen=True)
class Histories:
    """S sequences, and where each of the Q queried positions reads its hidden state.

    A sequence is filled up on the right of its last place that is read: with causal attention
    nothing there can reach a result.
    """

    tokens: Tensor  # int64 [S, prefix + K]
    length: Tensor  # int64 [S], tokens that matter
    sequence: Tensor  # int64 [Q]
    place: Tensor  # int64 [Q]


def build_histories(
    trace_tokens: Tensor,  # int64 [B, L]
    row: Tensor,  # int64 [Q]
    step: Tensor,  # int64 [Q], the current road's place in its trace
    prefix: Tensor,  # int64 [B, 1 or 2]: SOT and, where the teacher knows it, the destination
    window: Window,
    block_size: int,
) -> Histories:
    """The histories of the positions `(row, step)`, equal ones once."""
    room = block_size - prefix.shape[1]
    if window == "full":
        start, key = _full_start(row, step, room)
        width = min(room, trace_tokens.shape[1])
    else:
        width = min(window, room, trace_tokens.shape[1])
        start, key = (step - width + 1).clamp(min=0), None
    if key is None:
        tokens = _gather(trace_tokens, row, start, step, width)
        tokens = torch.cat([prefix[row], tokens], dim=1)
        representative, sequence = unique_rows(tokens)
        tokens = tokens[representative]
    else:
        unique, sequence = torch.unique(key, return_inverse=True)
        last = torch.zeros_like(unique).scatter_reduce(0, sequence, step, "amax")
        representative = _representatives(sequence, len(unique))
        of_row, first = row[representative], start[representative]
        tokens = _gather(trace_tokens, of_row, first, last, width)
        tokens = torch.cat([prefix[of_row], tokens], dim=1)
    place = step - start + prefix.shape[1]
    length = torch.zeros_like(representative).scatter_reduce(0, sequence, place + 1, "amax")
    return Histories(tokens, length, sequence, place)


def _full_start(row: Tensor, step: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """Where the sequence begins that judges a step, and a key that equal sequences share.

    A trip that does not fit the block is read in stretches of `room` roads that overlap by half:
    a step beyond the first stretch has seen at least the last half of a block.
    """
    stride = max(1, room // 2)
    stretch = torch.div(step - room, stride, rounding_mode="floor") + 1
    stretch = stretch.clamp(min=0)
    most = stretch.max() + 1 if len(stretch) else 1
    return stretch * stride, row * most + stretch


def _gather(tokens: Tensor, row: Tensor, start: Tensor, last: Tensor, width: int) -> Tensor:
    """`width` tokens of each row from `start`; places past `last` repeat it."""
    place = start.unsqueeze(1) + torch.arange(width, device=tokens.device)
    return tokens[row.unsqueeze(1), torch.minimum(place, last.unsqueeze(1))]


def unique_rows(rows: Tensor) -> tuple[Tensor, Tensor]:  # [Q, n] -> [S], [Q]
    """For the distinct rows a representative each, and for each row its place among them.

    Exact and without comparing rows: columns are folded into one number as far as 63 bits reach,
    and the numbers' ranks are folded with the next columns.
    """
    count = rows.shape[0]
    if count == 0:
        empty = torch.zeros(0, dtype=torch.long, device=rows.device)
        return empty, empty
    base = int(rows.max()) + 1
    key = torch.zeros(count, dtype=torch.long, device=rows.device)
    distinct = 1
    for column in rows.T:
        if distinct * base >= 2**62:
            _, key = torch.unique(key, return_inverse=True)
            distinct = count
        key = key * base + column
        distinct *= base
    unique, key = torch.unique(key, return_inverse=True)
    return _representatives(key, len(unique)), key


def _representatives(group: Tensor, num_groups: int) -> Tensor:  # [Q] -> [S]
    """The first member of each group."""
    index = torch.arange(len(group), device=group.device)
    highest = torch.full((num_groups,), len(group), device=group.device)
    return highest.scatter_reduce(0, group, index, "amin")
