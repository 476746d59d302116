"""Incremental inference: each step encodes one new position of every partial trip.

Equals the full forward pass at that position; the cost is that of one position instead of the
whole trip. Search algorithms hold node numbers of a `TripTree` and decide which to continue.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.features import MAX_DISTANCE_M, MAX_INTERVAL_MINUTES
from data.geometry import EARTH_RADIUS_M
from models.attention import attend_path
from models.cpu_parallel import even_chunks, run_chunks
from models.road_tables import RoadTables
from models.row_map import RowMap
from models.trajectory_encoder import Block, TrajectoryEncoder
from models.trip_tree import TripTree
from runtime.device import prefers_loops

_UNITS_PER_RADIAN = EARTH_RADIUS_M / MAX_DISTANCE_M
_MINUTES_A_DAY = 1440.0
_ROWS_A_CHUNK = 16


class TripDecoder:
    """`nodes, hidden = decoder.encode_step(parents, roads, times)`; see `HOSER.start`.

    Forking: pass one parent several times. Dropping: hold its node no longer, and now and then call
    `keep` with all nodes still held, so that memory is used again.
    """

    def __init__(self, encoder: TrajectoryEncoder, tables: RoadTables, centers: Tensor) -> None:
        self.encoder, self.tables = encoder, tables
        self._blocks = encoder.blocks
        attention = self._blocks[0].attn
        self.tree = TripTree(len(self._blocks), attention.num_heads, attention.head_dim, centers)
        self._maps = [_BlockMaps.of(block) for block in self._blocks]

    @property
    def num_nodes(self) -> int:
        """Positions held in memory."""
        return self.tree.num_nodes

    def keep(self, nodes: Tensor) -> Tensor:
        """Frees all positions that lie on the paths of none of `nodes`; says which are left."""
        return self.tree.keep(nodes)

    @torch.no_grad()
    def encode_step(
        self, parents: Tensor | None, road_id: Tensor, temporal_info: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Appends one road to each of N partial trips.

        parents: int64 [N], the nodes to continue (-1, or None for all: a new trip);
        road_id: int64 [N]; temporal_info: float32 [N] as in a batch.
        Returns the new nodes [N] and the trajectory embeddings [N, 2 d] there.
        """
        if parents is None:
            parents = torch.full_like(road_id, -1)
        minutes = temporal_info.float() * _MINUTES_A_DAY
        nodes = self.tree.add(parents, road_id, minutes)
        spatial = F.embedding(self.tables.rows(road_id), self.tables.spatial)
        temporal = self.encoder.temporal_encoder(temporal_info)
        x = torch.cat([spatial, temporal.to(spatial.dtype)], dim=-1)
        if not len(nodes):
            return nodes, x
        depth = int(self.tree.depth[nodes].max())
        distance, interval = self._relations(nodes, depth)
        for layer, block in enumerate(self._blocks):
            x = self._block(layer, block, x, nodes, distance, interval)
        return nodes, x

    def _block(
        self, layer: int, block: Block, x: Tensor, nodes: Tensor, distance: Tensor, interval: Tensor
    ) -> Tensor:
        attention, tree = block.attn, self.tree
        maps = self._maps[layer]
        qkv = maps.projection(block.ln_1(x))
        q, k, v = qkv.view(len(nodes), 3, attention.num_heads, attention.head_dim).unbind(1)
        tree.store(layer, nodes, k, v)
        relation = q @ attention.relative_position_emb_k.weight.to(q.dtype)  # [N, H, 2]
        attend = self._attend_compiled if _is_compiled(q) else self._attend_gathered
        context, sums = attend(layer, nodes, q, relation, distance, interval)
        context = context + sums @ attention.relative_position_emb_v.weight.to(sums.dtype).t()
        x = x + maps.output(context.reshape(len(nodes), -1))
        return x + maps.narrow(F.gelu(maps.widen(block.ln_2(x))))

    def _relations(self, nodes: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Distances and intervals [N, depth] from each node to the positions of its path."""
        tree = self.tree
        if prefers_loops(nodes.device):
            from models.path_kernels import path_relations

            distance, interval = torch.zeros(len(nodes), depth), torch.zeros(len(nodes), depth)
            arguments = (
                nodes.numpy(), tree.path.numpy(), tree.depth.numpy(), tree.center.numpy(),
                tree.minutes.numpy(), _UNITS_PER_RADIAN, MAX_INTERVAL_MINUTES,
                distance.numpy(), interval.numpy(),
            )  # fmt: skip
            run_chunks(path_relations, _chunks(len(nodes)), lambda _: arguments)
            return distance, interval
        path = tree.path[nodes, :depth].long()
        chord = (tree.center[nodes].unsqueeze(1) - tree.center[path]).norm(dim=-1)
        minutes = (tree.minutes[nodes].unsqueeze(1) - tree.minutes[path]).abs()
        distance = (chord * _UNITS_PER_RADIAN).clamp(max=1.0).float()
        return distance, minutes.clamp(max=MAX_INTERVAL_MINUTES) / MAX_INTERVAL_MINUTES

    def _attend_compiled(
        self,
        layer: int,
        nodes: Tensor,
        q: Tensor,
        relation: Tensor,
        distance: Tensor,
        interval: Tensor,
    ) -> tuple[Tensor, Tensor]:
        from models.path_kernels import attend_paths

        tree = self.tree
        context, sums = torch.empty(q.shape), torch.empty(relation.shape)
        arguments = (
            nodes.numpy(), tree.path.numpy(), tree.depth.numpy(), q.contiguous().numpy(),
            relation.contiguous().numpy(), tree.keys[layer].numpy(), tree.values[layer].numpy(),
            distance.numpy(), interval.numpy(), context.numpy(), sums.numpy(),
        )  # fmt: skip
        run_chunks(attend_paths, _chunks(len(nodes)), lambda _: arguments)
        return context, sums

    def _attend_gathered(
        self,
        layer: int,
        nodes: Tensor,
        q: Tensor,
        relation: Tensor,
        distance: Tensor,
        interval: Tensor,
    ) -> tuple[Tensor, Tensor]:
        tree = self.tree
        path = tree.path[nodes, : distance.shape[1]].long()
        keys = tree.keys[layer][path].transpose(1, 2)  # [N, H, T, d]
        values = tree.values[layer][path].transpose(1, 2)
        return attend_path(q, keys, values, relation, distance, interval, tree.depth[nodes])


@dataclass(frozen=True)
class _BlockMaps:
    """The linear maps of a block."""

    projection: RowMap
    output: RowMap
    widen: RowMap
    narrow: RowMap

    @classmethod
    @torch.no_grad()
    def of(cls, block: Block) -> _BlockMaps:
        own = [layer for layer in block.mlp if isinstance(layer, nn.Linear)]
        maps = (RowMap(layer.weight, layer.bias) for layer in (block.attn.c_proj, *own))
        return cls(RowMap(*block.attn.projection()), *maps)


def _is_compiled(q: Tensor) -> bool:
    return prefers_loops(q.device) and q.dtype == torch.float32


def _chunks(num_rows: int) -> list[tuple[int, int]]:
    return even_chunks(num_rows, max(1, num_rows // _ROWS_A_CHUNK))
