"""Road graphs in compressed sparse rows, ready for message passing.

`MessageGraph` holds one bipartite layer graph (messages go from sources to targets) both by
target and by source, because the forward pass walks the first and the backward pass the second.
`roads_for_targets` cuts out of the whole network what the embeddings of a few roads depend on.
Nothing here knows about features or weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass
class MessageGraph:
    """Edges sorted by target, and the same edges again by source."""

    in_offsets: Tensor  # int64 [targets + 1]: edges of target i are in_offsets[i]:in_offsets[i + 1]
    in_source: Tensor  # int64 [E]
    in_target: Tensor  # int64 [E]
    attr: Tensor  # float32 [E, 2], in the order of in_source
    out_offsets: Tensor  # int64 [sources + 1]
    out_edge: Tensor  # int64 [E]: positions in in_source, grouped by source
    target_as_source: Tensor | None = None  # int64 [targets]; None where targets are the sources

    @property
    def num_targets(self) -> int:
        return self.in_offsets.shape[0] - 1

    @property
    def edge_index(self) -> Tensor:
        """[2, E], as PyG takes edges: sources, then targets, sorted by target."""
        return torch.stack([self.in_source, self.in_target])

    @property
    def num_sources(self) -> int:
        return self.out_offsets.shape[0] - 1


@dataclass
class RoadSubset:
    """The roads whose tables are wanted and the graphs of the layers that lead to them."""

    roads: np.ndarray  # int64, sorted: the roads that get an embedding
    inputs: np.ndarray  # int64, sorted: the roads whose features enter the first layer
    layers: list[MessageGraph]  # first layer first


def with_self_loops(edge_index: np.ndarray, edge_attr: np.ndarray, num_roads: int) -> MessageGraph:
    """The graph with one self-loop a road, whose attributes are the mean over incoming edges.

    Self-loops of the input are replaced, as PyTorch Geometric's GATv2 does.
    """
    keep = edge_index[0] != edge_index[1]
    source, target = edge_index[0][keep], edge_index[1][keep]
    attr = edge_attr[keep].astype(np.float32)
    in_degree = np.bincount(target, minlength=num_roads)
    sums = np.stack(
        [np.bincount(target, attr[:, k], minlength=num_roads) for k in range(attr.shape[1])], axis=1
    )
    loop_attr = (sums / np.maximum(in_degree, 1)[:, None]).astype(np.float32)
    loops = np.arange(num_roads)
    return _sorted_graph(
        np.concatenate([source, loops]),
        np.concatenate([target, loops]),
        np.concatenate([attr, loop_attr]),
        num_sources=num_roads,
        num_targets=num_roads,
    )


def _sorted_graph(
    source: np.ndarray, target: np.ndarray, attr: np.ndarray, num_sources: int, num_targets: int
) -> MessageGraph:
    by_target = np.lexsort((source, target))
    source, target, attr = source[by_target], target[by_target], attr[by_target]
    return MessageGraph(
        in_offsets=torch.from_numpy(_offsets(target, num_targets)),
        in_source=torch.from_numpy(np.ascontiguousarray(source, dtype=np.int64)),
        in_target=torch.from_numpy(np.ascontiguousarray(target, dtype=np.int64)),
        attr=torch.from_numpy(np.ascontiguousarray(attr)),
        out_offsets=torch.from_numpy(_offsets(source, num_sources)),
        out_edge=torch.from_numpy(np.argsort(source, kind="stable")),
    )


def _offsets(ids: np.ndarray, num: int) -> np.ndarray:
    offsets = np.zeros(num + 1, dtype=np.int64)
    np.cumsum(np.bincount(ids, minlength=num), out=offsets[1:])
    return offsets


def roads_for_targets(graph: MessageGraph, roads: np.ndarray, num_layers: int) -> RoadSubset:
    """What `num_layers` of message passing need so that exactly `roads` come out.

    Each layer keeps all incoming edges of its targets, so the embeddings equal those of the
    whole network.
    """
    from models.graph_kernels import incoming_subgraph

    offsets, sources = graph.in_offsets.numpy(), graph.in_source.numpy()
    layers: list[MessageGraph] = []
    targets = roads
    for _ in range(num_layers):
        arrays = incoming_subgraph(offsets, sources, targets)
        needed, in_offsets, in_source, in_target, edge_ids, out_offsets, out_edge, own = arrays
        layer = MessageGraph(
            in_offsets=torch.from_numpy(in_offsets),
            in_source=torch.from_numpy(in_source),
            in_target=torch.from_numpy(in_target),
            attr=graph.attr[torch.from_numpy(edge_ids)],
            out_offsets=torch.from_numpy(out_offsets),
            out_edge=torch.from_numpy(out_edge),
            target_as_source=torch.from_numpy(own),
        )
        layers.insert(0, layer)
        targets = needed
    return RoadSubset(roads=roads, inputs=targets, layers=layers)
