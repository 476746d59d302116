"""LM-TAD: a GPT-2 style transformer over the tokens of a trip (grid cells or roads).

Only the network lives here, with the parameter names of the published checkpoints. How its hidden
states become a teacher's opinion about next roads is in `lmtad_teacher`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import UserError

NUM_SPECIAL_TOKENS = 3  # PAD, EOT and SOT close the vocabulary, in this order


@dataclass(frozen=True)
class LMTADConfig:
    """The sizes of an LM-TAD; names as in the checkpoints' `model_config`."""

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0
    bias: bool = False
    pad_token: int = -1
    integer_poe: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(
                    f"LM-TAD's {name} is {value!r}; it must be a positive whole number."
                )
        if self.n_embd % self.n_head:
            raise UserError(
                f"LM-TAD's n_embd ({self.n_embd}) is not divisible by its n_head ({self.n_head})."
            )
        if self.vocab_size <= NUM_SPECIAL_TOKENS:
            raise UserError(
                f"LM-TAD's vocab_size is {self.vocab_size}; it must hold PAD, EOT, SOT and "
                "at least one place."
            )
        if not isinstance(self.dropout, int | float) or not 0.0 <= self.dropout < 1.0:
            raise UserError(f"LM-TAD's dropout is {self.dropout!r}; it must be in [0, 1).")
        for name in ("bias", "integer_poe"):
            if not isinstance(getattr(self, name), bool | int):
                raise UserError(f"LM-TAD's {name} is {getattr(self, name)!r}; it must be a bool.")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LMTADConfig:
        """Reads a checkpoint's `model_config`; keys that do not shape the network are ignored."""
        known = {field.name for field in fields(cls)}
        required = {"vocab_size", "block_size", "n_layer", "n_head", "n_embd"}
        missing = sorted(required - values.keys())
        if missing:
            raise UserError(f"LM-TAD's model_config lacks {', '.join(missing)}.")
        return cls(**{name: value for name, value in values.items() if name in known})

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back."""
        return asdict(self)

    @property
    def sot_id(self) -> int:
        """Start of trajectory: always the last token."""
        return self.vocab_size - 1

    @property
    def eot_id(self) -> int:
        """End of trajectory."""
        return self.vocab_size - 2

    @property
    def pad_id(self) -> int:
        """Padding: the first of the special tokens."""
        return self.vocab_size - NUM_SPECIAL_TOKENS


class LayerNorm(nn.Module):
    """Layer normalisation whose bias is optional."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:  # [..., E] -> [..., E]
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a position sees itself and what came before."""

    def __init__(self, config: LMTADConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:  # [N, L, E] -> [N, L, E]
        n, length, width = x.shape
        qkv = self.c_attn(x).view(n, length, 3, self.n_head, width // self.n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [N, heads, L, E / heads]
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        y = self.c_proj(y.transpose(1, 2).reshape(n, length, width))
        return F.dropout(y, self.dropout, self.training)


class MLP(nn.Module):
    """Two linear maps, four times as wide in between."""

    def __init__(self, config: LMTADConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:  # [N, L, E] -> [N, L, E]
        return F.dropout(self.c_proj(F.gelu(self.c_fc(x))), self.dropout, self.training)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: LMTADConfig) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd, config.bias)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = LayerNorm(config.n_embd, config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:  # [N, L, E] -> [N, L, E]
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class SinusoidalPositions(nn.Module):
    """Fixed positions (`integer_poe`), not part of the state dict."""

    weight: Tensor  # [block_size, E]

    def __init__(self, block_size: int, width: int) -> None:
        super().__init__()
        step = torch.arange(block_size, dtype=torch.float64)[:, None]
        half = torch.arange(0, width, 2, dtype=torch.float64)
        angle = step * torch.exp(-math.log(10000.0) * half / width)  # [block_size, ceil(E / 2)]
        table = torch.zeros(block_size, width)
        table[:, 0::2] = torch.sin(angle).float()
        table[:, 1::2] = torch.cos(angle[:, : width // 2]).float()
        self.register_buffer("weight", table, persistent=False)


class LMTAD(nn.Module):
    """The network: hidden states by `hidden`, logits of chosen tokens by `candidate_logits`."""

    def __init__(self, config: LMTADConfig) -> None:
        super().__init__()
        self.config = config
        positions: nn.Module
        if config.integer_poe:
            positions = SinusoidalPositions(config.block_size, config.n_embd)
        else:
            positions = nn.Embedding(config.block_size, config.n_embd)
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": positions,
                "h": nn.ModuleList(Block(config) for _ in range(config.n_layer)),
                "ln_f": LayerNorm(config.n_embd, config.bias),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = cast(nn.Embedding, self.transformer["wte"]).weight  # tied
        self.apply(_initialise)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):  # keeps the residual stream's variance in depth
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.n_layer))

    def hidden(self, tokens: Tensor) -> Tensor:  # [N, L] -> [N, L, E]
        """The final hidden states; position i has seen tokens 0..i."""
        length = tokens.shape[1]
        if length > self.config.block_size:
            raise ValueError(f"{length} tokens exceed the block size {self.config.block_size}.")
        positions = cast(Tensor, self.transformer["wpe"].weight)
        x = self.transformer["wte"](tokens) + positions[:length]
        x = F.dropout(x, self.config.dropout, self.training)
        for block in cast(nn.ModuleList, self.transformer["h"]):
            x = block(x)
        return self.transformer["ln_f"](x)

    def token_logits(self, hidden: Tensor, token_ids: Tensor) -> Tensor:  # [M, E], [M] -> [M]
        """The logit of one token for each hidden state: reads only those rows of the head.

        The product is summed in float32 whatever the network's precision is.
        """
        rows = F.embedding(token_ids, self.lm_head.weight)
        return (hidden.float() * rows.float()).sum(-1)

    def candidate_logits(self, hidden: Tensor, token_ids: Tensor) -> Tensor:
        """The logits of C chosen tokens: [..., E] and [..., C] give [..., C] in float32."""
        rows = F.embedding(token_ids, self.lm_head.weight)  # [..., C, E]
        return torch.matmul(rows.float(), hidden.float().unsqueeze(-1)).squeeze(-1)

    def forward(self, tokens: Tensor) -> Tensor:  # [N, L] -> [N, L, V]
        """The logits of the whole vocabulary; neither teaching nor distilling needs them."""
        return self.lm_head(self.hidden(tokens))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
