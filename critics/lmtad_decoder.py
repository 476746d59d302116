"""LM-TAD one token at a time: the keys and values of what was read are kept.

Sequences grow together and have equal lengths, as those of trips that set out at the same moment.
Equals `LMTAD.hidden` at the last place.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from critics.lmtad import LMTAD, Block

_FIRST_CAPACITY = 32


class LMTADDecoder:
    """`hidden = read(tokens)` appends to each of N sequences; `keep` forgets some of them."""

    def __init__(self, model: LMTAD) -> None:
        self.model = model
        self.length = 0
        self._blocks = cast("list[Block]", list(cast(nn.ModuleList, model.transformer["h"])))
        self._memory: list[Tensor] = []  # a layer: [2, N, heads, capacity, E / heads]

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:  # int64 [N, L] -> [N, E]
        """Appends L tokens to every sequence; the hidden states after the last of them."""
        count, added = tokens.shape
        end = self.length + added
        if end > self.model.config.block_size:
            raise ValueError(f"{end} tokens exceed the block size {self.model.config.block_size}.")
        self._reserve(count, end)
        positions = cast(Tensor, self.model.transformer["wpe"].weight)[self.length : end]
        x = self.model.transformer["wte"](tokens) + positions
        for block, memory in zip(self._blocks, self._memory, strict=True):
            x = x + self._attend(block, memory, block.ln_1(x), end)
            x = x + block.mlp(block.ln_2(x))
        self.length = end
        return self.model.transformer["ln_f"](x[:, -1])

    def keep(self, rows: Tensor) -> None:
        """Goes on with these sequences alone, in this order."""
        capacity = self._memory[0].shape[3]
        kept = [memory[:, rows, :, : self.length] for memory in self._memory]
        self._memory = [F.pad(memory, (0, 0, 0, capacity - self.length)) for memory in kept]

    def _attend(self, block: Block, memory: Tensor, x: Tensor, end: int) -> Tensor:
        attention = block.attn
        count, added, width = x.shape
        shape = (count, added, 3, attention.n_head, width // attention.n_head)
        q, k, v = attention.c_attn(x).view(shape).permute(2, 0, 3, 1, 4)  # each [N, H, L, d]
        memory[0, :, :, self.length : end] = k
        memory[1, :, :, self.length : end] = v
        # Only the first tokens are several at once; later ones see all that was read before.
        first = self.length == 0
        keys, values = memory[:, :, :, :end]
        if first or added == 1:
            y = F.scaled_dot_product_attention(q, keys, values, is_causal=first and added > 1)
        else:
            place = torch.arange(end, device=x.device)
            seen = place <= place[self.length :].unsqueeze(1)
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
        return attention.c_proj(y.transpose(1, 2).reshape(count, added, width))

    def _reserve(self, count: int, end: int) -> None:
        capacity = self._memory[0].shape[3] if self._memory else 0
        if end <= capacity:
            return
        wanted = min(max(end, 2 * capacity, _FIRST_CAPACITY), self.model.config.block_size)
        attention, weight = self._blocks[0].attn, self.model.lm_head.weight
        size = self.model.config.n_embd // attention.n_head
        shape = (2, count, attention.n_head, wanted, size)
        grown = [weight.new_empty(shape) for _ in self._blocks]
        for new, old in zip(grown, self._memory):
            new[:, :, :, : self.length] = old[:, :, :, : self.length]
        self._memory = grown
