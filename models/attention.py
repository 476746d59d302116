"""Causal self-attention with keys and values that depend linearly on two pairwise numbers.

With r_ij = [distance_ij, interval_ij] the scores are q_i.k_j + distance_ij (q_i.K0) + interval_ij
(q_i.K1) and the values sum_j a_ij v_j + (sum_j a_ij distance_ij) V0 + (sum_j a_ij interval_ij) V1,
so nothing of size steps x steps x width is formed. The weights a_ij themselves are needed for the
two row sums, which fused attention functions do not return; the explicit product below keeps one
tensor of weights for the backward pass and nothing else of that size.

What a position may look at, and with which weights, stands here in tensors, for whole trips and
for one position at a time, and in `models/path_kernels.py` as the compiled loop of the latter.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.packing import Packing


class _RelativeAttention(torch.autograd.Function):
    """(q, k, v, query_relation) -> context and the two row sums; recomputes all but the weights."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        q: Tensor,  # [B, H, T, d], already divided by sqrt(d)
        k: Tensor,  # [B, H, T, d]
        v: Tensor,  # [B, H, T, d]
        query_relation: Tensor,  # [B, H, T, 2]: q.K0, q.K1
        distance: Tensor,  # [B, T, T]
        interval: Tensor,  # [B, T, T]
    ) -> tuple[Tensor, Tensor]:
        weights = _weights(q, k, query_relation, distance, interval)
        ctx.save_for_backward(q, k, v, query_relation, distance, interval, weights)
        return weights @ v, _row_sums(weights, distance, interval)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """With scores S, weights A = softmax(S), C = A V and R_n = row sums of A * relation_n:

        dA = dC V' + sum_n dR_n relation_n, dS = A * (dA - row sums of A * dA), and from dS as from
        any product: dq = dS k, dk = dS' q, d(q.K_n) = row sums of dS * relation_n; dV = A' dC.
        Distances and intervals are data. One buffer holds dA, then dS.
        """
        grad_context, grad_sums = grads
        q, k, v, _, distance, interval, weights = ctx.saved_tensors
        dtype = weights.dtype
        grad_context, grad_sums = grad_context.to(dtype), grad_sums.to(dtype)
        grad_v = weights.transpose(-2, -1) @ grad_context
        grad = grad_context @ v.transpose(-2, -1)
        grad = _add_relations(grad, grad_sums, distance, interval)  # dA
        grad = grad.float().mul_(weights)
        grad = grad.addcmul_(weights, grad.sum(-1, keepdim=True), value=-1.0).to(dtype)  # dS
        grad_relation = _row_sums(grad, distance, interval)
        return grad @ k, grad.transpose(-2, -1) @ q, grad_v, grad_relation, None, None


def _add_relations(scores: Tensor, factors: Tensor, distance: Tensor, interval: Tensor) -> Tensor:
    """scores += distance * factors[..., 0] + interval * factors[..., 1], in place."""
    scores.addcmul_(distance.unsqueeze(1), factors[..., 0:1])
    return scores.addcmul_(interval.unsqueeze(1), factors[..., 1:2])


def _row_sums(weights: Tensor, distance: Tensor, interval: Tensor) -> Tensor:
    """[B, H, T, 2]: sums over the keys of weight times distance and times interval."""
    sums = [(weights * relation.unsqueeze(1)).sum(-1) for relation in (distance, interval)]
    return torch.stack(sums, dim=-1)


def _weights(
    q: Tensor, k: Tensor, query_relation: Tensor, distance: Tensor, interval: Tensor
) -> Tensor:
    """Causal softmax of the scores, taken in float32."""
    scores = _add_relations(q @ k.transpose(-2, -1), query_relation, distance, interval)
    num_steps = scores.shape[-1]
    future = torch.ones(num_steps, num_steps, dtype=torch.bool, device=scores.device).triu(1)
    scores = scores.masked_fill_(future, -torch.inf)
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)


def attend_path(
    q: Tensor,  # [N, H, d], already divided by sqrt(d)
    keys: Tensor,  # [N, H, T, d]
    values: Tensor,  # [N, H, T, d]
    query_relation: Tensor,  # [N, H, 2]
    distance: Tensor,  # [N, T]
    interval: Tensor,  # [N, T]
    depth: Tensor,  # int64 [N]
) -> tuple[Tensor, Tensor]:
    """Context [N, H, d] and row sums [N, H, 2] of the last of `depth` positions of N trips."""
    relations = torch.stack([distance, interval], dim=-1).to(q.dtype)  # [N, T, 2]
    scores = (keys @ q.unsqueeze(-1)).squeeze(-1) + query_relation @ relations.transpose(1, 2)
    beyond = torch.arange(scores.shape[-1], device=q.device) >= depth.unsqueeze(1)
    scores = scores.float().masked_fill(beyond.unsqueeze(1), -torch.inf)
    weights = scores.softmax(dim=-1).to(q.dtype)  # [N, H, T]
    return (weights.unsqueeze(2) @ values).squeeze(2), weights @ relations


class CausalSelfAttention(nn.Module):
    """Multi-head attention; the relation maps K and V are shared by the heads."""

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.hidden_dim, self.num_heads = hidden_dim, num_heads
        self.head_dim = hidden_dim // num_heads
        self.relative_position_emb_k = nn.Linear(2, self.head_dim)
        self.relative_position_emb_v = nn.Linear(2, self.head_dim)
        self.c_attn = nn.Linear(hidden_dim, hidden_dim * 3)
        self.c_proj = nn.Linear(hidden_dim, hidden_dim)
        self.resid_dropout = nn.Dropout(dropout)

    def projection(self) -> tuple[Tensor, Tensor]:
        """Weight and bias that give queries (divided by sqrt(d)), keys and values at once.

        The biases of both relation maps are added to keys and values here: weights sum to one, so
        they reach the same place as when added per pair.
        """
        scale = 1.0 / math.sqrt(self.head_dim)
        own_q, own_k, own_v = self.c_attn.bias.chunk(3)
        key_bias = own_k + self.relative_position_emb_k.bias.repeat(self.num_heads)
        value_bias = own_v + self.relative_position_emb_v.bias.repeat(self.num_heads)
        weight_q, weight_kv = self.c_attn.weight.split([self.hidden_dim, 2 * self.hidden_dim])
        weight = torch.cat([weight_q * scale, weight_kv])
        bias = torch.cat([own_q * scale, key_bias, value_bias])
        return weight, bias

    def forward(
        self, x: Tensor, distance: Tensor, interval: Tensor, packing: Packing | None
    ) -> Tensor:
        """x: [P, hidden] when packed, else [B, T, hidden]; the result likewise."""
        qkv = F.linear(x, *self.projection())
        padded = qkv if packing is None else packing.unpack_positions(qkv)
        batch_size, num_steps, _ = padded.shape
        heads = padded.view(batch_size, num_steps, 3, self.num_heads, self.head_dim)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each [B, H, T, d]
        relation = q @ self.relative_position_emb_k.weight.to(q.dtype)
        context, sums = _RelativeAttention.apply(
            q, k, v, relation, distance.to(q.dtype), interval.to(q.dtype)
        )
        context = context + sums @ self.relative_position_emb_v.weight.to(sums.dtype).t()
        merged = context.transpose(1, 2).reshape(batch_size, num_steps, self.hidden_dim)
        if packing is not None:
            merged = packing.pack_positions_with_grad(merged)
        return self.resid_dropout(self.c_proj(merged))
