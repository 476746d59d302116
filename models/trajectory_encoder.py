"""The transformer over the roads driven so far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.attention import CausalSelfAttention
from models.packing import Packing

if TYPE_CHECKING:
    from config.schema import TrajectoryEncoderConfig

_FUSION_WIDTH = 64


class TemporalEncoder(nn.Module):
    """[cos(t f), sin(t f)] with learned frequencies f."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.freqs = nn.Parameter(torch.randn(width // 2))
        self.scale = math.sqrt(1.0 / (2 * width))

    def forward(self, temporal_info: Tensor) -> Tensor:
        """[...] -> [..., width], phases in float32."""
        phase = temporal_info.float().unsqueeze(-1) * self.freqs.float()
        return torch.cat([phase.cos(), phase.sin()], dim=-1) * self.scale


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden_dim)
        self.attn = CausalSelfAttention(hidden_dim, num_heads, dropout)
        self.ln_2 = nn.LayerNorm(hidden_dim)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim * 4),
            nn.GELU(),
            nn.Linear(hidden_dim * 4, hidden_dim),
            nn.Dropout(dropout),
        )

    def forward(
        self, x: Tensor, distance: Tensor, interval: Tensor, packing: Packing | None
    ) -> Tensor:
        x = x + self.attn(self.ln_1(x), distance, interval, packing)
        return x + self.mlp(self.ln_2(x))


class TrajectoryEncoder(nn.Module):
    """Spatial and temporal embedding of each position, then causal blocks."""

    def __init__(self, config: TrajectoryEncoderConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.hidden_dim = 2 * width
        self.max_len = config.max_len
        self.grad_checkpoint = config.grad_checkpoint
        self.road_zone_fusion_mlp = nn.Sequential(
            nn.Linear(2 * width, _FUSION_WIDTH), nn.GELU(), nn.Linear(_FUSION_WIDTH, 1)
        )
        self.temporal_encoder = TemporalEncoder(width)
        blocks = [
            Block(2 * width, config.num_heads, config.dropout) for _ in range(config.num_layers)
        ]
        self.transformer = nn.ModuleDict(
            {"drop": nn.Dropout(config.dropout), "h": nn.ModuleList(blocks)}
        )

    @property
    def blocks(self) -> list[Block]:
        stack = self.transformer["h"]
        assert isinstance(stack, nn.ModuleList)
        return [block for block in stack if isinstance(block, Block)]

    def fuse_zone(self, road: Tensor, zone: Tensor) -> Tensor:
        """road + sigmoid(MLP([road, zone])) * zone, row by row."""
        gate = self.road_zone_fusion_mlp(torch.cat([road, zone], dim=-1))
        return road + torch.sigmoid(gate) * zone

    def embed(self, spatial: Tensor, temporal_info: Tensor) -> Tensor:
        """[..., d] and [...] -> [..., 2 d], what enters the first block."""
        temporal = self.temporal_encoder(temporal_info).to(spatial.dtype)
        return self.transformer["drop"](torch.cat([spatial, temporal], dim=-1))

    def forward(
        self, x: Tensor, distance: Tensor, interval: Tensor, packing: Packing | None = None
    ) -> Tensor:
        """x: [P, 2 d] packed or [B, T, 2 d]; distance, interval: [B, T, T]."""
        for block in self.blocks:
            if self.grad_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, distance, interval, packing, use_reentrant=False)
            else:
                x = block(x, distance, interval, packing)
        return x
