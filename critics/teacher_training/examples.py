"""Trips as examples for a teacher: token sequences and what they should predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from critics.lmtad import LMTADConfig
from critics.losses import first_of_group
from data.masks import real_entries
from data.road_network import RoadNetwork
from dataset import RowSpec, TripDataset


@dataclass(frozen=True)
class Examples:
    """B sequences `[SOT, (destination,) t_1 … t_n]`, padded; P predictions of tokens, Q choices.

    A choice is a position after a road, where one of the reachable roads comes next; candidates
    that share a token are one outcome.
    """

    tokens: Tensor  # int64 [B, L]
    targets: Tensor  # int64 [B, L], the next token, EOT after the last; -1 where none
    choice_row: Tensor  # int64 [Q]
    choice_place: Tensor  # int64 [Q]
    candidate_token: Tensor  # int64 [M], of all choices
    owner: Tensor  # int64 [M], whose candidate it is
    candidate_place: Tensor  # int64 [M], its column
    candidate_shape: tuple[int, int]  # (Q, C)
    label: Tensor  # int64 [Q], the column that was taken


class ExampleMaker:
    """Makes examples of trips; deterministic for a seed and epoch."""

    def __init__(
        self,
        config: LMTADConfig,
        network: RoadNetwork,
        road_to_token: NDArray[np.int64],
        destination_prefix: bool,
        random_start: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self.config = config
        self.destination_prefix = destination_prefix
        self.room = config.block_size - (2 if destination_prefix else 1)
        self.random_start = random_start
        self.seed = seed
        self.device = device
        self.road_to_token = torch.from_numpy(road_to_token).to(device)
        self.reach_offsets = torch.from_numpy(network.reach_offsets).to(device)
        targets = network.reach_targets if len(network.reach_targets) else np.zeros(1, np.int64)
        self.reach_targets = torch.from_numpy(targets).to(device)

    def __call__(
        self, dataset: TripDataset, trip_id: NDArray[np.int64], epoch: int | None
    ) -> Examples:
        """Examples of whole trips; without an epoch nothing is random.

        A trip that exceeds the block is cropped: at a random place in training, else at its start.
        """
        trip_id = np.asarray(trip_id, dtype=np.int64)
        steps = dataset.trace_lengths[trip_id].astype(np.int64)
        start = np.zeros_like(steps)
        if epoch is not None:
            spare = np.maximum(steps + 1 - self.room, 0)
            draws = np.random.default_rng([self.seed, epoch, int(trip_id[0])])
            chance, place = draws.random((2, len(steps)))
            spare = np.where(chance < self.random_start, np.maximum(steps - 1, spare), spare)
            start = (place * (spare + 1)).astype(np.int64)
        length = np.minimum(steps - start, max(self.room - 1, 1))
        rows = dataset.rows(RowSpec(trip_id, start, length))
        reached_end = torch.from_numpy(start + length == steps).to(self.device)
        roads = rows.road_ids.to(self.device)
        destination = rows.destination_road_id.to(self.device)
        return self._examples(roads, rows.trace_len.to(self.device), destination, reached_end)

    def _examples(
        self, roads: Tensor, trace_len: Tensor, destination: Tensor, reached_end: Tensor
    ) -> Examples:
        num_rows, width = roads.shape  # trace_len + 1 roads are real
        index = torch.arange(width, device=self.device)
        real = index <= trace_len.unsqueeze(1)
        token = torch.where(real, self.road_to_token[roads], self.config.pad_id)
        sot = torch.full((num_rows, 1), self.config.sot_id, device=self.device)
        parts = [sot, token]
        if self.destination_prefix:
            parts.insert(1, self.road_to_token[destination].unsqueeze(1))
        prefix = len(parts) - 1
        ending = torch.where(reached_end, self.config.eot_id, -1).unsqueeze(1)
        after = torch.cat([token[:, 1:], token[:, :1]], dim=1)  # the last column is never real
        follows = index < trace_len.unsqueeze(1)
        after = torch.where(follows, after, torch.where(real, ending, -1))
        silent = torch.full((num_rows, prefix - 1), -1, device=self.device)
        targets = torch.cat([silent, token[:, :1], after], dim=1)
        row, step = follows.nonzero(as_tuple=True)
        return self._with_choices(torch.cat(parts, dim=1), targets, roads, row, step, prefix)

    def _with_choices(
        self, tokens: Tensor, targets: Tensor, roads: Tensor, row: Tensor, step: Tensor, prefix: int
    ) -> Examples:
        begin = self.reach_offsets[roads[row, step]]
        count = self.reach_offsets[roads[row, step] + 1] - begin
        width = int(count.max()) if len(count) else 1
        mask = real_entries(count, width)
        place = torch.arange(width, device=self.device)
        candidate = self.reach_targets[torch.where(mask, begin.unsqueeze(1) + place, 0)]
        taken = (candidate == roads[row, step + 1].unsqueeze(1)) & mask
        token = self.road_to_token[candidate]
        first = first_of_group(token, count)
        outcome = mask & (first == place)
        owner, column = outcome.nonzero(as_tuple=True)
        label = first.gather(1, taken.int().argmax(1, keepdim=True)).squeeze(1)
        return Examples(
            tokens=tokens,
            targets=targets,
            choice_row=row,
            choice_place=step + prefix,
            candidate_token=token[owner, column],
            owner=owner,
            candidate_place=column,
            candidate_shape=(len(row), width),
            label=label,
        )
