"""The frozen LM-TAD: its logits for the candidates of every position of a batch.

Speaks tokens only; which token a road has is `grid_mapper`'s business, and `road_teacher` puts
both together. Memory is bounded by the batch and independent of the vocabulary: the head is
multiplied with the candidates' rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from config.choices import TeacherDtype, Window
from critics.histories import build_histories
from critics.lmtad import NUM_SPECIAL_TOKENS
from critics.weights import TeacherWeights, build_lmtad, load_weights
from data.masks import real_entries
from runtime.errors import UserError
from runtime.logs import get_logger
from runtime.precision import fastest_dtype

logger = get_logger("teacher")
CPU_CHUNK_ELEMENTS = 1 << 20  # hidden values of a chunk: small enough for the processor's cache
GPU_CHUNK_ELEMENTS = 1 << 26


class LMTADTeacher:
    """Loads a weights-only file and answers with logits; never trains.

    `dtype="auto"` is bfloat16 where the GPU has it, else float16, and float32 on the CPU.
    """

    def __init__(
        self,
        weights: str | Path | TeacherWeights,
        device: torch.device | str = "cpu",
        dtype: TeacherDtype = "auto",
    ) -> None:
        if not isinstance(weights, TeacherWeights):
            weights = load_weights(weights)
        self.device = torch.device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self.model = build_lmtad(weights).to(self.device, self.dtype).eval().requires_grad_(False)
        self.config = self.model.config
        self.source = weights.source
        self.dataset_config = weights.dataset_config
        self.vocabulary = weights.vocabulary
        self.destination_prefix = weights.destination_prefix
        self.fingerprint = weights.fingerprint()
        self.way_sense = weights.way
        on_cpu = self.device.type == "cpu"
        self.chunk_elements = CPU_CHUNK_ELEMENTS if on_cpu else GPU_CHUNK_ELEMENTS
        prefix = 2 if self.destination_prefix else 1
        if self.config.block_size <= prefix:
            raise UserError(f"{self.source}: a block of {self.config.block_size} holds no road.")

    @property
    def sot_id(self) -> int:
        """Start of trajectory."""
        return self.config.sot_id

    @property
    def num_places(self) -> int:
        """How many tokens may stand for places."""
        return self.config.vocab_size - NUM_SPECIAL_TOKENS

    @torch.no_grad()
    def candidate_logits(
        self,
        trace_tokens: Tensor,  # int64 [B, L]
        trace_len: Tensor,  # int64 [B]
        candidate_tokens: Tensor,  # int64 [B, T, C]
        candidate_len: Tensor,  # int64 [B, T]
        destination_tokens: Tensor | None = None,  # int64 [B]
        *,
        window: Window = "full",
        position_mask: Tensor | None = None,  # bool [B, T]
        first_step: Tensor | None = None,  # int64 [B]
    ) -> Tensor:
        """Logits [B, T, C] in float32; minus infinity where there is no candidate.

        Position t judges what follows the trace's step `first_step + t` (0 + t by default), from
        the history that ends there. Positions outside `position_mask` are not computed.
        """
        logits = torch.full(candidate_tokens.shape, -torch.inf, device=self.device)
        mask = self._positions(trace_len, candidate_len, position_mask)
        row, position = mask.nonzero(as_tuple=True)
        step = position if first_step is None else position + first_step[row]
        for query, hidden in self._hidden_at(trace_tokens, row, step, destination_tokens, window):
            at = row[query], position[query]
            logits[at] = self._head(hidden, candidate_tokens[at], candidate_len[at])
        return logits

    @torch.no_grad()
    def hidden_states(
        self,
        trace_tokens: Tensor,  # int64 [B, L]
        row: Tensor,  # int64 [Q]
        step: Tensor,  # int64 [Q]
        destination_tokens: Tensor | None = None,  # int64 [B]
        *,
        window: Window = "full",
    ) -> Tensor:  # [Q, E]
        """The final hidden states of chosen positions."""
        result = torch.empty(len(row), self.config.n_embd, dtype=self.dtype, device=self.device)
        for query, hidden in self._hidden_at(trace_tokens, row, step, destination_tokens, window):
            result[query] = hidden
        return result

    def place_vectors(self) -> Tensor:
        """The embedding [V, E] of every token, with which its head reads, too."""
        return self.model.lm_head.weight

    def _positions(
        self, trace_len: Tensor, candidate_len: Tensor, position_mask: Tensor | None
    ) -> Tensor:  # bool [B, T]
        steps = torch.arange(candidate_len.shape[1], device=candidate_len.device)
        mask = (steps < trace_len.unsqueeze(1)) & (candidate_len > 0)
        return mask if position_mask is None else mask & position_mask

    def _prefix(self, num_rows: int, destination_tokens: Tensor | None) -> Tensor:
        sot = torch.full((num_rows, 1), self.sot_id, dtype=torch.long, device=self.device)
        if not self.destination_prefix:
            return sot
        if destination_tokens is None:
            raise ValueError("This teacher must be told the destinations.")
        return torch.cat([sot, destination_tokens.unsqueeze(1)], dim=1)

    def _hidden_at(
        self,
        trace_tokens: Tensor,
        row: Tensor,
        step: Tensor,
        destination_tokens: Tensor | None,
        window: Window,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Some of the queried positions at a time: which [q], and their hidden states [q, E]."""
        if len(row) == 0:
            return
        prefix = self._prefix(trace_tokens.shape[0], destination_tokens)
        block = self.config.block_size
        histories = build_histories(trace_tokens, row, step, prefix, window, block)
        # Sequences of like length together, and the queries in the order of their sequences.
        length, order = histories.length.sort(descending=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=self.device)
        query_rank, query_order = rank[histories.sequence].sort(stable=True)
        max_tokens = max(1, self.chunk_elements // self.config.n_embd)
        spans = _chunks(length.tolist(), max_tokens)
        edges = torch.tensor([first for first, _ in spans] + [len(order)], device=self.device)
        cuts = torch.searchsorted(query_rank, edges).tolist()
        for (first, last), begin, end in zip(spans, cuts[:-1], cuts[1:], strict=True):
            longest = int(length[first])
            with torch.autocast(self.device.type, enabled=False):
                hidden = self.model.hidden(histories.tokens[order[first:last], :longest])
            for part in range(begin, end, max_tokens):  # many positions may share a history
                of_part = slice(part, min(part + max_tokens, end))
                query = query_order[of_part]
                yield query, hidden[query_rank[of_part] - first, histories.place[query]]

    def _head(self, hidden: Tensor, token: Tensor, count: Tensor) -> Tensor:
        """Logits [q, C] in float32 of each state's own candidates; minus infinity past them."""
        logits = torch.full(token.shape, -torch.inf, device=self.device)
        real = real_entries(count, token.shape[1])
        owner, wanted = real.nonzero(as_tuple=True)[0], token[real]
        size = max(1, self.chunk_elements // self.config.n_embd)
        with torch.autocast(self.device.type, enabled=False):
            parts = [
                self.model.token_logits(hidden[owner[i : i + size]], wanted[i : i + size])
                for i in range(0, len(owner), size)
            ]
        if parts:
            logits[real] = torch.cat(parts)
        return logits


def _chunks(lengths: list[int], max_tokens: int) -> list[tuple[int, int]]:
    """Cuts sequences of descending length into spans of at most `max_tokens` padded tokens."""
    spans: list[tuple[int, int]] = []
    first = 0
    while first < len(lengths):
        last = min(len(lengths), first + max(1, max_tokens // lengths[first]))
        spans.append((first, last))
        first = last
    return spans


def resolve_dtype(name: TeacherDtype, device: torch.device) -> torch.dtype:
    """The precision of the teacher's network on a device."""
    types = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    return fastest_dtype(device) if name == "auto" else types[name]
