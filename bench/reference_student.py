"""The student by its plain formulas: what the fast one is measured against and must equal.

Every pair of positions has its relation vector, every candidate its concatenated features, padding
is computed like the rest, and the whole road network is encoded in every step. Parameters, unused
ones and mask buffers included, are named as in the published files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import GAT, GCN

if TYPE_CHECKING:
    from config.schema import Config
    from data.batch import Batch
    from data.road_network import RoadNetwork


class PlainRoadNetworkEncoder(nn.Module):
    """Graph attention and graph convolution by PyTorch Geometric."""

    def __init__(self, config: Config, network: RoadNetwork) -> None:
        super().__init__()
        widths = config.road_network_encoder_config
        zones = network.zones
        assert zones is not None
        for name, array in {
            "road_attr_len": network.road_attr_len,
            "road_attr_type": network.road_attr_type,
            "road_attr_lon": network.road_attr_lon,
            "road_attr_lat": network.road_attr_lat,
            "road_edge_index": network.road_edge_index,
            "intersection_attr": network.intersection_attr,
            "zone_edge_index": zones.edge_index,
            "zone_edge_weight": zones.edge_weight,
        }.items():
            self.register_buffer(name, torch.from_numpy(np.array(array)))
        self.road_id_emb = nn.Embedding(network.num_roads, widths.road_id_emb_dim)
        self.len_emb = nn.Linear(1, widths.len_emb_dim)
        self.type_emb = nn.Embedding(len(network.type_names), widths.type_emb_dim)
        self.lon_emb = nn.Linear(1, widths.lon_emb_dim)
        self.lat_emb = nn.Linear(1, widths.lat_emb_dim)
        self.zone_id_emb = nn.Embedding(zones.num_zones, widths.zone_id_emb_dim)
        width = widths.hidden_dim
        self.road_gat = GAT(width, width, num_layers=2, v2=True, edge_dim=2)
        self.zone_gcn = GCN(widths.zone_id_emb_dim, widths.zone_id_emb_dim, num_layers=2)

    def forward(self) -> tuple[Tensor, Tensor]:
        buffer = self.get_buffer
        features = [
            self.road_id_emb.weight,
            self.len_emb(buffer("road_attr_len").unsqueeze(1)),
            self.type_emb(buffer("road_attr_type")),
            self.lon_emb(buffer("road_attr_lon").unsqueeze(1)),
            self.lat_emb(buffer("road_attr_lat").unsqueeze(1)),
        ]
        roads = self.road_gat(
            torch.cat(features, dim=1),
            buffer("road_edge_index"),
            edge_attr=buffer("intersection_attr"),
        )
        zones = self.zone_gcn(
            self.zone_id_emb.weight,
            buffer("zone_edge_index"),
            edge_weight=buffer("zone_edge_weight"),
        )
        return roads, zones


class PlainAttention(nn.Module):
    """Forms K(r_ij) and V(r_ij) for every pair of positions: [B, T, T, d] each."""

    def __init__(self, width: int, num_heads: int, max_len: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, width // num_heads
        self.relative_position_emb_k = nn.Linear(2, self.head_dim)
        self.relative_position_emb_v = nn.Linear(2, self.head_dim)
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        causal = torch.ones(max_len, max_len).tril()
        self.register_buffer("bias", causal.view(1, 1, max_len, max_len))

    def forward(self, x: Tensor, relation: Tensor, trace_len: Tensor) -> Tensor:
        batch_size, steps, width = x.shape
        shape = (batch_size, steps, 3, self.num_heads, self.head_dim)
        q, k, v = self.c_attn(x).view(shape).permute(2, 0, 3, 1, 4)  # [B, H, T, d]
        pair_key = self.relative_position_emb_k(relation)  # [B, T, T, d]
        pair_value = self.relative_position_emb_v(relation)
        by_step = q.transpose(1, 2)  # [B, T, H, d]
        scores = q @ k.transpose(-2, -1) + (by_step @ pair_key.transpose(-2, -1)).transpose(1, 2)
        scores = scores / math.sqrt(self.head_dim)
        padding = torch.arange(steps, device=x.device) >= trace_len.view(-1, 1, 1, 1)
        hidden = (self.get_buffer("bias")[:, :, :steps, :steps] == 0) | padding
        weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
        context = weights @ v + (weights.transpose(1, 2) @ pair_value).transpose(1, 2)
        return self.c_proj(context.transpose(1, 2).reshape(batch_size, steps, width))


class PlainBlock(nn.Module):
    """A pre-norm block."""

    def __init__(self, width: int, num_heads: int, max_len: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = PlainAttention(width, num_heads, max_len)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, relation: Tensor, trace_len: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x), relation, trace_len)
        return x + self.mlp(self.ln_2(x))


class PlainTemporalEncoder(nn.Module):
    """Learned Fourier features of the time of day."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.freqs = nn.Parameter(torch.randn(width // 2))

    def forward(self, temporal_info: Tensor) -> Tensor:
        phase = temporal_info.unsqueeze(-1) * self.freqs
        return torch.cat([phase.cos(), phase.sin()], dim=-1) / math.sqrt(2 * self.width)


class PlainTrajectoryEncoder(nn.Module):
    """Fuses road and zone at every position, then the blocks."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        settings = config.trajectory_encoder_config
        width = 2 * settings.hidden_dim
        self.road_zone_fusion_mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, 1))
        self.temporal_encoder = PlainTemporalEncoder(settings.hidden_dim)
        blocks = [
            PlainBlock(width, settings.num_heads, settings.max_len)
            for _ in range(settings.num_layers)
        ]
        self.transformer = nn.ModuleDict({"h": nn.ModuleList(blocks)})

    def forward(self, road: Tensor, zone: Tensor, batch: Batch) -> Tensor:
        gate = torch.sigmoid(self.road_zone_fusion_mlp(torch.cat([road, zone], dim=-1)))
        x = torch.cat([road + gate * zone, self.temporal_encoder(batch.temporal_info)], dim=-1)
        relation = torch.stack([batch.trace_distance_mat, batch.trace_time_interval_mat], dim=-1)
        for block in self.transformer["h"].children():
            x = block(x, relation, batch.trace_len)
        return x


class PlainNavigator(nn.Module):
    """Concatenates the features of every candidate: [B, T, C, 3 d]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.metric_distance_proj = nn.Linear(1, width)
        self.metric_angle_proj = nn.Linear(1, width)
        self.q_proj = nn.Linear(3 * width, width, bias=False)
        self.k_proj = nn.Linear(3 * width, width, bias=False)
        self.v_proj = nn.Linear(width, 1, bias=False)
        half = width // 2
        self.time_estimator = nn.Sequential(
            nn.Linear(3 * width, half), nn.GELU(), nn.Linear(half, 1)
        )
        self.time_estimator_linear_1 = nn.Linear(2 * width, half)
        self.time_estimator_linear_2 = nn.Linear(width, half)
        self.time_estimator_linear_3 = nn.Linear(width, 1)

    def forward(
        self, hidden: Tensor, destination_zone: Tensor, candidate: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        zone = destination_zone.unsqueeze(1).expand(-1, hidden.shape[1], -1)
        query = self.q_proj(torch.cat([hidden, zone], dim=-1)).unsqueeze(2)
        distance = self.metric_distance_proj(batch.metric_dis.unsqueeze(-1))
        angle = self.metric_angle_proj(batch.metric_angle.unsqueeze(-1))
        key = self.k_proj(torch.cat([candidate, distance, angle], dim=-1))
        logits = self.v_proj(torch.tanh(query + key)).squeeze(-1)
        of_trip = self.time_estimator_linear_1(hidden).unsqueeze(2)
        of_trip = of_trip.expand(-1, -1, candidate.shape[2], -1)
        both = torch.cat([of_trip, self.time_estimator_linear_2(candidate)], dim=-1)
        time_pred = self.time_estimator_linear_3(nn.functional.gelu(both)).squeeze(-1)
        return logits, time_pred


class PlainHOSER(nn.Module):
    """`logits, time_pred = model(batch)`."""

    road2zone: Tensor

    def __init__(self, config: Config, network: RoadNetwork) -> None:
        super().__init__()
        assert network.zones is not None
        self.register_buffer("road2zone", torch.from_numpy(np.array(network.zones.road2zone)))
        self.road_network_encoder = PlainRoadNetworkEncoder(config, network)
        self.trajectory_encoder = PlainTrajectoryEncoder(config)
        self.navigator = PlainNavigator(config.navigator_config.hidden_dim)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        roads, zones = self.road_network_encoder()
        trace = batch.trace_road_id
        hidden = self.trajectory_encoder(roads[trace], zones[self.road2zone[trace]], batch)
        destination_zone = zones[self.road2zone[batch.destination_road_id]]
        return self.navigator(hidden, destination_zone, roads[batch.candidate_road_id], batch)
