"""The parity city's student and batch, and random trips on it, for the tests of the student."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from config import Config, load_config
from data.batch import Batch
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from models.losses import SupervisedLosses, supervised_losses

PARITY_MAX_LEN = 64


@dataclass(frozen=True)
class ParityStudent:
    """The published student on its city, and the trips it was run on."""

    folder: Path
    config: Config
    network: RoadNetwork
    trips: TripDataset

    @classmethod
    def load(cls, folder: Path) -> ParityStudent:
        config = load_config(None, {"trajectory_encoder_config.max_len": PARITY_MAX_LEN})
        network = RoadNetwork.load(folder / "city")
        return cls(folder, config, network, TripDataset.load(folder / "city", "train", network))

    @property
    def checkpoint(self) -> Path:
        return self.folder / "hoser_state.pth"

    def model(self) -> HOSER:
        return HOSER.load(self.checkpoint, self.config, self.network)

    def batch(self, size: int = 8, first: int = 0) -> Batch:
        return self.trips.batch(list(range(first, first + size)))


def losses_of(model: Callable[[Batch], tuple[Tensor, Tensor]], batch: Batch) -> SupervisedLosses:
    logits, time_pred = model(batch)
    return supervised_losses(logits, time_pred, batch)


def real_candidates(batch: Batch) -> np.ndarray:
    """bool [B, T, C]: candidates of real positions."""
    return (batch.candidate_mask & batch.position_mask.unsqueeze(2)).numpy()


def largest_difference(first: Tensor, second: Tensor | None) -> float:
    assert second is not None
    return float((first.detach().float() - second.detach().float()).abs().max())
