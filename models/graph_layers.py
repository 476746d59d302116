"""The student's graph layers: PyTorch Geometric's own GAT (v2) over roads and GCN over zones.

Modules, parameters and what accelerators compute are PyG's. On a CPU the very same modules are
computed in a faster way: attention by a compiled kernel, convolution as one dense product, since
zones are hundreds. PyG is imported where a layer is built: it takes a second that a program which
builds no student need not wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from models.graph_attention import attend_on_cpu
from models.road_graph import MessageGraph
from runtime.device import prefers_loops

if TYPE_CHECKING:
    from torch_geometric.nn import GAT, GCN


@dataclass
class ZoneMessages:
    """D^-1/2 (A + I) D^-1/2 of the zones' graph: as edges for PyG, and dense for the CPU."""

    edge_index: Tensor  # int64 [2, E], source and target
    weight: Tensor  # float32 [E]
    dense: Tensor  # float32 [Z, Z], row = target


def build_attention(width: int, num_layers: int, edge_dim: int) -> GAT:
    """A stack of GATv2 layers of one head; self-loops are part of the graphs it is given."""
    from torch_geometric.nn import GAT

    return GAT(width, width, num_layers, v2=True, edge_dim=edge_dim, add_self_loops=False)


def build_convolution(width: int, num_layers: int) -> GCN:
    """A stack of GCN layers; the weights of the edges it is given are normalised already."""
    from torch_geometric.nn import GCN

    return GCN(width, width, num_layers, normalize=False)


def zone_messages(edge_index: Tensor, edge_weight: Tensor, num_zones: int) -> ZoneMessages:
    """The edges with self-loops where they lack and normalised weights, as GCN wants them."""
    from torch_geometric.nn.conv.gcn_conv import gcn_norm
    from torch_geometric.utils import to_dense_adj

    index, weight = gcn_norm(edge_index, edge_weight, num_zones)
    dense = to_dense_adj(index, edge_attr=weight, max_num_nodes=num_zones)[0]  # [source, target]
    return ZoneMessages(index, weight, dense.t().contiguous())


def attend(layers: GAT, x: Tensor, graphs: Sequence[MessageGraph]) -> Tensor:
    """The roads' embeddings: layer n over `graphs[n]`, ReLU between layers."""
    if not prefers_loops(x.device):
        whole = graphs[0]  # accelerators encode all roads at once
        return layers(x, whole.edge_index, edge_attr=whole.attr)
    for number, (layer, graph) in enumerate(zip(layers.convs, graphs, strict=True)):
        x = attend_on_cpu(layer, F.relu(x) if number else x, graph)
    return x


def convolve(layers: GCN, x: Tensor, zones: ZoneMessages) -> Tensor:
    """The zones' embeddings [Z, d], ReLU between layers."""
    if not prefers_loops(x.device):
        return layers(x, zones.edge_index, edge_weight=zones.weight)
    for number, layer in enumerate(layers.convs):
        hidden = layer.lin(F.relu(x) if number else x)
        x = zones.dense.to(hidden.dtype) @ hidden + layer.bias
    return x
