"""Which trips make up each optimizer step of an epoch, and this process's share of them."""

from __future__ import annotations

import numpy as np
import torch

from config.schema import Config
from data.features import TripRows
from data.sampling import crop_starts, rank_share, training_batches
from dataset import RowSpec, TripDataset
from runtime.distributed import Processes


class EpochPlan:
    """Groups of batches; they follow from the seed and the epoch alone."""

    def __init__(
        self, config: Config, dataset: TripDataset, processes: Processes, device: torch.device
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.processes = processes
        self.pin_memory = config.dataloader.pin_memory and device.type == "cuda"
        self.trace_lengths = dataset.trace_lengths.astype(np.int64)
        optimizer = config.optimizer_config
        batches = -(-len(dataset) // optimizer.batch_size)
        self.groups_per_epoch = -(-batches // optimizer.accum_steps)

    def groups(self, epoch: int) -> list[list[RowSpec]]:
        """The epoch's batches, `accum_steps` to a group; the last group may be short."""
        seed, optimizer = self.config.training.seed, self.config.optimizer_config
        max_len = self.config.trajectory_encoder_config.max_len
        bucket = self.config.dataloader.bucket_by_length
        specs = []
        for trips in training_batches(
            self.trace_lengths, optimizer.batch_size, seed, epoch, bucket
        ):
            trace_len = self.trace_lengths[trips]
            start = crop_starts(trace_len, max_len, seed, epoch, trips)
            specs.append(RowSpec(trips, start, trace_len.clip(max=max_len)))
        size = optimizer.accum_steps
        return [specs[i : i + size] for i in range(0, len(specs), size)]

    def gather(self, spec: RowSpec) -> TripRows | None:
        """This process's rows of a global batch; None where none are left for it."""
        share = rank_share(np.arange(len(spec)), self.processes.rank, self.processes.world_size)
        if len(share) == 0:
            return None
        rows = self.dataset.rows(spec[share])
        return rows.pin_memory() if self.pin_memory else rows
