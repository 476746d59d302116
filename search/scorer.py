"""Scores the next roads of many partial trips in one forward pass of the student.

Rows are padded to whole blocks: matrix kernels may round differently for different numbers of
rows, and a trip must come out the same whatever other trips share its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.features import FeatureTables, temporal_info
from hoser import HOSER
from runtime.device import prefers_loops
from runtime.errors import UserError
from search.candidates import CandidateScorer, CandidateScores
from search.graph import SearchGraph
from search.interface import NO_NODE, IntArray, NextRoads, PartialTrips
from search.known import KnownTrips
from search.pools import with_room

ROWS_A_BLOCK_CPU = 16
ROWS_A_BLOCK_GPU = 1024
# Far beyond any road; keeps clock times printable however badly a model was trained.
MAX_WAIT_SECONDS = 604_800


@dataclass
class ScoringCost:
    """What has been computed so far."""

    forward_passes: int = 0
    positions: int = 0

    def add(self, other: ScoringCost) -> None:
        """Adds what another process has computed."""
        self.forward_passes += other.forward_passes
        self.positions += other.positions


class Scorer:
    """Encodes partial trips into tree nodes and scores the candidates of their last roads."""

    def __init__(
        self,
        model: HOSER,
        features: FeatureTables,
        graph: SearchGraph,
        time_mean: float,
        time_std: float,
    ) -> None:
        self.graph, self.device = graph, features.device
        self.time_mean, self.time_std = np.float32(time_mean), np.float32(time_std)
        self.decoder = model.start()
        self.candidates = CandidateScorer(model, self.decoder, features, graph)
        self.block = ROWS_A_BLOCK_CPU if prefers_loops(self.device) else ROWS_A_BLOCK_GPU
        self.cost = ScoringCost()
        self.known: KnownTrips | None = None
        self._node_road = np.zeros(0, dtype=np.int64)
        self._node_seconds = np.zeros(0, dtype=np.int64)

    def score(self, trips: PartialTrips, destination: IntArray, start: IntArray) -> NextRoads:
        """Continues every trip; destination and start are those of the trips. [N] each"""
        if self.known is None:
            return self._score(trips, destination, start)

        def score_rows(rows: IntArray) -> NextRoads:
            return self._score(trips[rows], destination[rows], start[rows])

        return self.known.score(trips, destination, start, score_rows)

    def _score(self, trips: PartialTrips, destination: IntArray, start: IntArray) -> NextRoads:
        step = len(trips) if prefers_loops(self.device) else self.block
        parts = []
        for first in range(0, len(trips), step):
            rows = slice(first, first + step)
            parts.append(self._score_block(trips[rows], destination[rows], start[rows]))
        return parts[0] if len(parts) == 1 else NextRoads.concatenate(parts)

    def _score_block(
        self, trips: PartialTrips, destination: IntArray, start: IntArray
    ) -> NextRoads:
        count = len(trips)
        padded = -(-count // self.block) * self.block
        columns = np.zeros((5, padded), dtype=np.int64)
        columns[0] = NO_NODE
        columns[:3, :count] = trips.at[1:]
        columns[3, :count], columns[4, :count] = destination, start
        parent, road, seconds, goal, first = torch.from_numpy(columns).to(self.device)
        info = temporal_info(seconds.unsqueeze(1), first).squeeze(1)
        nodes, hidden = self.decoder.encode_step(parent, road, info)
        scores = self.candidates.score(hidden, road, goal)
        self.cost.forward_passes += 1
        self.cost.positions += count
        node = nodes[:count].cpu().numpy()
        self._remember(node, trips)
        return NextRoads(node, *self._continue(trips, scores))

    def _continue(
        self, trips: PartialTrips, scores: CandidateScores
    ) -> tuple[NDArray[np.float32], IntArray]:
        from search.kernels.common import continue_trips

        shape = (len(trips), self.graph.max_candidates)
        log_prob = np.zeros(shape, dtype=np.float32)
        seconds = np.zeros(shape, dtype=np.int64)
        is_finite = continue_trips(
            scores.logits, scores.time_pred, scores.first, trips.road, trips.log_prob,
            trips.seconds, self.graph.offsets, self.time_mean, self.time_std,
            np.float32(MAX_WAIT_SECONDS), log_prob, seconds,
        )  # fmt: skip
        if not is_finite:
            raise UserError(
                "The model gives scores that are not finite numbers; its checkpoint is damaged or "
                "its training diverged. Give another one with --model_path."
            )
        return log_prob, seconds

    def _remember(self, node: IntArray, trips: PartialTrips) -> None:
        size = int(node.max(initial=-1)) + 1
        self._node_road = with_room(self._node_road, size)
        self._node_seconds = with_room(self._node_seconds, size)
        self._node_road[node] = trips.road
        self._node_seconds[node] = trips.seconds

    def history(self, node: int) -> tuple[IntArray, IntArray]:
        """The roads and times of an encoded partial trip; of `NO_NODE` none."""
        if node == NO_NODE:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        tree = self.decoder.tree
        path = tree.path[node, : int(tree.depth[node])].cpu().numpy()
        return self._node_road[path], self._node_seconds[path]

    @property
    def num_nodes(self) -> int:
        """Encoded positions held in memory."""
        return self.decoder.num_nodes

    def keep(self, nodes: IntArray) -> None:
        """Forgets all encoded positions but those on the paths of `nodes`."""
        used = self.decoder.keep(torch.from_numpy(nodes).to(self.device))
        if self.known is not None:
            self.known.keep(used.cpu().numpy())

    def expect_alike(self) -> None:
        """Remembers the scores of partial trips from now on, since others will come to them."""
        if self.known is None:
            self.known = KnownTrips(self.graph.num_roads, self.graph.max_candidates)
