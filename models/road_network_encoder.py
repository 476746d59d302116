"""Embeddings of all roads and zones from the road network alone: no trip enters here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.graph_layers import (
    ZoneMessages,
    attend,
    build_attention,
    build_convolution,
    convolve,
    zone_messages,
)
from models.road_graph import MessageGraph, RoadSubset, roads_for_targets, with_self_loops
from runtime.errors import UserError

if TYPE_CHECKING:
    from config.schema import RoadNetworkEncoderConfig
    from data.road_network import RoadNetwork

NUM_LAYERS = 2
_GRAPH_BUFFERS = (
    "in_offsets",
    "in_source",
    "in_target",
    "attr",
    "out_offsets",
    "out_edge",
)


class RoadNetworkEncoder(nn.Module):
    """Graph attention over touching roads, graph convolution over zones that trips join."""

    # Persistent buffers (the original keeps the city inside its checkpoints) and derived ones.
    road_attr_len: Tensor
    road_attr_type: Tensor
    road_attr_lon: Tensor
    road_attr_lat: Tensor
    road_edge_index: Tensor
    intersection_attr: Tensor
    zone_edge_index: Tensor
    zone_edge_weight: Tensor
    zone_messages_edge_index: Tensor
    zone_messages_weight: Tensor
    zone_messages_dense: Tensor

    def __init__(self, config: RoadNetworkEncoderConfig, network: RoadNetwork) -> None:
        super().__init__()
        if network.zones is None:
            raise UserError(
                f"{network.folder} has no zones (road_network_partition, zone_trans_mat.npy); "
                "run `python -m data.preprocess` on it first"
            )
        width = config.hidden_dim
        self.width = width
        self.num_roads, self.num_zones = network.num_roads, network.zones.num_zones
        self._register_city(network)
        self.road_id_emb = nn.Embedding(network.num_roads, config.road_id_emb_dim)
        self.len_emb = nn.Linear(1, config.len_emb_dim)
        self.type_emb = nn.Embedding(len(network.type_names), config.type_emb_dim)
        self.lon_emb = nn.Linear(1, config.lon_emb_dim)
        self.lat_emb = nn.Linear(1, config.lat_emb_dim)
        self.zone_id_emb = nn.Embedding(self.num_zones, config.zone_id_emb_dim)
        self.road_gat = build_attention(width, NUM_LAYERS, self.intersection_attr.shape[1])
        self.zone_gcn = build_convolution(config.zone_id_emb_dim, NUM_LAYERS)

    def _register_city(self, network: RoadNetwork) -> None:
        assert network.zones is not None
        city = {
            "road_attr_len": network.road_attr_len,
            "road_attr_type": network.road_attr_type,
            "road_attr_lon": network.road_attr_lon,
            "road_attr_lat": network.road_attr_lat,
            "road_edge_index": network.road_edge_index,
            "intersection_attr": network.intersection_attr,
            "zone_edge_index": network.zones.edge_index,
            "zone_edge_weight": network.zones.edge_weight,
        }
        for name, array in city.items():
            self.register_buffer(name, torch.from_numpy(np.array(array)))
        graph = with_self_loops(
            network.road_edge_index, network.intersection_attr, network.num_roads
        )
        for name in _GRAPH_BUFFERS:
            self.register_buffer(f"graph_{name}", getattr(graph, name), persistent=False)
        messages = zone_messages(self.zone_edge_index, self.zone_edge_weight, self.num_zones)
        for name, tensor in vars(messages).items():
            self.register_buffer(f"zone_messages_{name}", tensor, persistent=False)

    @property
    def road_graph(self) -> MessageGraph:
        """The whole network with self-loops."""
        return MessageGraph(**{name: getattr(self, f"graph_{name}") for name in _GRAPH_BUFFERS})

    def forward(self) -> tuple[Tensor, Tensor]:
        """Embeddings of all roads [R, d] and of all zones [Z, d]."""
        return self.encode_roads(), self.encode_zones()

    def subset_for(self, roads: Tensor) -> RoadSubset:
        """What the embeddings of `roads` (sorted, on the CPU) depend on."""
        return roads_for_targets(self.road_graph, roads.numpy(), NUM_LAYERS)

    def encode_roads(self, subset: RoadSubset | None = None) -> Tensor:
        """Embeddings of all roads, or exactly the same rows for the roads of a subset."""
        if subset is None:
            graphs = [self.road_graph] * NUM_LAYERS
            return attend(self.road_gat, self._road_features(None), graphs)
        inputs = torch.from_numpy(subset.inputs)
        return attend(self.road_gat, self._road_features(inputs), subset.layers)

    def encode_zones(self) -> Tensor:
        """Embeddings of all zones [Z, d]."""
        zones = ZoneMessages(
            self.zone_messages_edge_index, self.zone_messages_weight, self.zone_messages_dense
        )
        return convolve(self.zone_gcn, self.zone_id_emb.weight, zones)

    def _road_features(self, roads: Tensor | None) -> Tensor:
        """[n, d]: id, length, type, longitude and latitude, each embedded."""

        def rows(attribute: Tensor) -> Tensor:
            return attribute if roads is None else attribute[roads]

        ids = self.road_id_emb.weight
        parts = [
            ids if roads is None else F.embedding(roads, ids),
            self.len_emb(rows(self.road_attr_len).unsqueeze(1)),
            self.type_emb(rows(self.road_attr_type)),
            self.lon_emb(rows(self.road_attr_lon).unsqueeze(1)),
            self.lat_emb(rows(self.road_attr_lat).unsqueeze(1)),
        ]
        return torch.cat([part.to(parts[1].dtype) for part in parts], dim=1)
