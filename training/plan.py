"""Which trips make up each optimizer step of an epoch, and this process's share of them."""

from __future__ import annotations

import numpy as np
import torch

from config.schema import Config
from data.features import TripRows
from data.sampling import (
    IntArray,
    crop_starts,
    micro_batches,
    pairs_saved_by_a_cut,
    rank_share,
    training_steps,
)
from dataset import RowSpec, TripDataset
from runtime.device import prefers_loops
from runtime.distributed import Processes
from training.compilation import uses_cuda_graphs

# Measured on two cores: on a CPU, where padding costs time, a batch that is cut in two by length
# takes some 6 ms more for that and 8 ms less for every 100,000 pairs of steps that it spares.
_PAIRS_WORTH_A_CUT = 75_000
# A CUDA graph is recorded for every shape: trips are padded to multiples of so many positions.
_POSITIONS_A_SHAPE = 16


class EpochPlan:
    """The micro-batches of each optimizer step; they follow from the seed and the epoch alone."""

    def __init__(
        self, config: Config, dataset: TripDataset, processes: Processes, device: torch.device
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.processes = processes
        self.pin_memory = config.dataloader.pin_memory and device.type == "cuda"
        self.few_shapes = uses_cuda_graphs(config.training, device)
        self.trace_lengths = dataset.trace_lengths.astype(np.int64)
        optimizer = config.optimizer_config
        self.batches_per_step = optimizer.accum_steps
        self.trips_per_step = optimizer.batch_size * optimizer.accum_steps
        self.groups_per_epoch = -(-len(dataset) // self.trips_per_step)
        self.by_length = config.dataloader.bucket_by_length
        self.parts = optimizer.accum_steps
        self.padding_costs = prefers_loops(device) and self.by_length
        self.replayed: TripDataset | None = None
        self.replay_share = config.distill.replay.share

    @property
    def replayed_per_epoch(self) -> int:
        """How many replayed trips go with an epoch's real ones."""
        return round(self.replay_share * len(self.dataset))

    def replayed_trips(self, epoch: int, available: int) -> IntArray:
        """Those of the epoch, in order: all are seen before any is seen again."""
        order = np.random.default_rng([self.config.training.seed, available]).permutation(available)
        first = epoch * self.replayed_per_epoch
        return order[np.arange(first, first + self.replayed_per_epoch) % available]

    def groups(self, epoch: int) -> list[list[RowSpec]]:
        """The epoch's optimizer steps, each as micro-batches, with those of replayed trips."""
        groups = self._real_groups(epoch)
        if self.replayed is None or not len(self.replayed):
            return groups
        lengths = self.replayed.trace_lengths.astype(np.int64)
        trips = np.array_split(self.replayed_trips(epoch, len(self.replayed)), len(groups))
        parts = max(1, round(self.parts * self.replay_share))
        for group, of_step in zip(groups, trips, strict=True):
            if len(of_step):
                cut = self._cut(of_step, lengths, parts)
                group += [self._spec(part, epoch, lengths, replayed=True) for part in cut]
        return groups

    def _real_groups(self, epoch: int) -> list[list[RowSpec]]:
        seed = self.config.training.seed
        steps = training_steps(len(self.dataset), self.trips_per_step, seed, epoch)
        return [
            [
                self._spec(trips, epoch, self.trace_lengths)
                for trips in self._cut(step, self.trace_lengths, self.parts)
            ]
            for step in steps
        ]

    def _cut(self, trips: IntArray, lengths: IntArray, parts: int) -> list[IntArray]:
        if self.padding_costs and parts == 1:
            steps = lengths[trips].clip(max=self.config.trajectory_encoder_config.max_len)
            parts = 2 if pairs_saved_by_a_cut(steps) >= _PAIRS_WORTH_A_CUT else 1
        return micro_batches(trips, lengths, parts, self.by_length)

    def _spec(
        self, trips: IntArray, epoch: int, lengths: IntArray, replayed: bool = False
    ) -> RowSpec:
        max_len = self.config.trajectory_encoder_config.max_len
        trace_len = lengths[trips]
        start = crop_starts(trace_len, max_len, self.config.training.seed, epoch, trips)
        return RowSpec(trips, start, trace_len.clip(max=max_len), replayed)

    def gather(self, spec: RowSpec) -> TripRows | None:
        """This process's rows of a global batch; None where none are left for it."""
        share = rank_share(np.arange(len(spec)), self.processes.rank, self.processes.world_size)
        if len(share) == 0:
            return None
        dataset = self.replayed if spec.replayed else self.dataset
        assert dataset is not None
        rows = dataset.rows(spec[share])
        if self.few_shapes:
            rows = rows.padded(_POSITIONS_A_SHAPE, dataset.network.max_candidates)
        return rows.pin_memory() if self.pin_memory else rows
