"""Graph convolution over the zones, with the parameters of PyTorch Geometric's `GCN`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.gatv2 import glorot_


def normalised_adjacency(edge_index: Tensor, edge_weight: Tensor, num_nodes: int) -> Tensor:
    """[N, N]: D^-1/2 (A + I) D^-1/2, row = target; a self-loop of the input keeps its weight."""
    source, target = edge_index
    adjacency = edge_weight.new_zeros(num_nodes, num_nodes, dtype=torch.float64)
    loop_weight = adjacency.new_ones(num_nodes)
    loops = source == target
    loop_weight[source[loops]] = edge_weight[loops].double()
    between = ~loops
    adjacency.index_put_(
        (target[between], source[between]), edge_weight[between].double(), accumulate=True
    )
    adjacency.diagonal().add_(loop_weight)
    degree = adjacency.sum(1)
    scale = torch.where(degree > 0, degree.clamp(min=1e-300).rsqrt(), degree.new_zeros(()))
    return (scale[:, None] * adjacency * scale[None, :]).float()


class GCNLayer(nn.Module):
    """out = A (W x) + bias. Zones are hundreds, so the normalised adjacency A is dense."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))
        self.lin = nn.Linear(width, width, bias=False)
        glorot_(self.lin.weight)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        hidden = self.lin(x)
        return adjacency.to(hidden.dtype) @ hidden + self.bias


class GCN(nn.Module):
    """A stack of layers with ReLU between them."""

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(GCNLayer(width) for _ in range(num_layers))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        for number, conv in enumerate(self.convs):
            if number:
                x = F.relu(x)
            x = conv(x, adjacency)
        return x
