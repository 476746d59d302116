"""The keys and values of partial trips, kept as a tree so that common beginnings are stored once.

A node is one encoded position; its path leads back to its trip's first road. Two continuations of
one trip are two nodes with the same parent: forking, reordering or dropping beams copies nothing,
the search just holds other node numbers. `keep` makes room by forgetting what no path needs.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FIRST_CAPACITY = 1024
_FIRST_DEPTH = 64


class TripTree:
    """Pools of node data that grow by doubling; node numbers stay valid until `keep` drops them."""

    def __init__(self, num_layers: int, num_heads: int, head_dim: int, centers: Tensor) -> None:
        self.road_centers = centers  # float64 [R, 3]
        self.num_layers, self.num_heads, self.head_dim = num_layers, num_heads, head_dim
        device = centers.device
        self.path = torch.zeros(0, _FIRST_DEPTH, dtype=torch.int32, device=device)
        self.depth = torch.zeros(0, dtype=torch.int64, device=device)  # positions, itself included
        self.center = centers.new_zeros(0, 3)
        self.minutes = torch.zeros(0, dtype=torch.float32, device=device)
        self.keys: list[Tensor] = []  # a layer: [capacity, H, d]
        self.values: list[Tensor] = []
        self._free = torch.zeros(0, dtype=torch.int64, device=device)
        self._num_free = 0

    @property
    def num_nodes(self) -> int:
        """Nodes in use."""
        return self.depth.shape[0] - self._num_free

    def add(self, parents: Tensor, road_id: Tensor, minutes: Tensor) -> Tensor:
        """New nodes [N] under `parents` (-1: a trip's first road), without keys and values yet."""
        nodes = self._take(parents.shape[0])
        is_first = parents < 0
        own_depth = torch.where(is_first, 0, self.depth[parents.clamp(min=0)])
        deepest = int(own_depth.max()) + 1 if len(nodes) else 0
        self._reserve_depth(deepest)
        paths = self.path[parents.clamp(min=0)]
        paths[torch.arange(len(nodes), device=nodes.device), own_depth] = nodes.int()
        self.path[nodes] = paths
        self.depth[nodes] = own_depth + 1
        self.center[nodes] = self.road_centers[road_id]
        self.minutes[nodes] = minutes
        return nodes

    def store(self, layer: int, nodes: Tensor, keys: Tensor, values: Tensor) -> None:
        """Sets keys and values [N, H, d] of nodes in one layer."""
        if len(self.keys) <= layer:
            shape = (self.depth.shape[0], self.num_heads, self.head_dim)
            self.keys.append(keys.new_zeros(shape))
            self.values.append(values.new_zeros(shape))
        self.keys[layer][nodes] = keys
        self.values[layer][nodes] = values

    def keep(self, nodes: Tensor) -> Tensor:
        """Forgets every node that is neither in `nodes` nor an ancestor of one of them.

        Returns which nodes are left: bool [capacity].
        """
        used = torch.zeros(self.depth.shape[0], dtype=torch.bool, device=self.depth.device)
        steps = torch.arange(self.path.shape[1], device=nodes.device)
        on_path = steps < self.depth[nodes].unsqueeze(1)
        used[self.path[nodes][on_path].long()] = True
        free = (~used).nonzero().squeeze(1)
        self._num_free = free.shape[0]
        self._free[: self._num_free] = free
        return used

    def _take(self, count: int) -> Tensor:
        if count > self._num_free:
            self._grow(max(count - self._num_free, self.depth.shape[0], _FIRST_CAPACITY))
        self._num_free -= count
        return self._free[self._num_free : self._num_free + count].clone()

    def _grow(self, extra: int) -> None:
        capacity = self.depth.shape[0]
        for name in ("path", "depth", "center", "minutes"):
            setattr(self, name, _with_more_rows(getattr(self, name), extra))
        self.keys = [_with_more_rows(pool, extra) for pool in self.keys]
        self.values = [_with_more_rows(pool, extra) for pool in self.values]
        self._free = _with_more_rows(self._free, extra)
        added = torch.arange(capacity, capacity + extra, device=self._free.device)
        self._free[self._num_free : self._num_free + extra] = added
        self._num_free += extra

    def _reserve_depth(self, depth: int) -> None:
        missing = depth - self.path.shape[1]
        if missing > 0:
            extra = max(missing, self.path.shape[1])
            self.path = torch.nn.functional.pad(self.path, (0, extra))


def _with_more_rows(pool: Tensor, extra: int) -> Tensor:
    return torch.cat([pool, pool.new_zeros(extra, *pool.shape[1:])])
