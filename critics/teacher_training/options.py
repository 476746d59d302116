"""What a teacher is and how it is trained; which of it a resumed training must agree on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from config.choices import Vocabulary
from data.road_network import Bounds
from runtime.errors import UserError

TeacherLoss = Literal["candidates", "vocabulary"]

_LEAST_BLOCK_SIZE = 4
# Measured on a demo city (1,500 and 3,000 steps) and on San Francisco (9,375): at the highest peak
# the longer trainings overfit, at the lowest the shortest one does not get far enough.
HIGHEST_PEAK, STEPS_AT_HIGHEST, LOWEST_PEAK = 3e-3, 1500, 1e-3


@dataclass(frozen=True)
class TeacherOptions:
    """What the teacher is and how it is trained.

    `loss` is what the head is trained on: the whole vocabulary, as published, or only the tokens
    of the roads that can come next, which is all that distillation asks about. By default the
    former for grid cells and the latter for roads.
    """

    output: Path
    vocabulary: Vocabulary = "road"
    destination_prefix: bool = True
    grid_size: float = 0.001
    downsample: int = 1
    bounds: Bounds | None = None
    n_layer: int = 2
    n_head: int = 4
    n_embd: int = 128
    block_size: int | None = None  # by default what the longest trip needs, at most 512
    dropout: float = 0.1
    bias: bool = False
    loss: TeacherLoss | None = None
    geometry: float = 0.15  # how much of the initial embeddings is the places' geometry
    random_start: float = 0.0  # share of trips read from a random road on, as windows are
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float | None = None  # the peak; by default as the length of the training asks
    weight_decay: float = 0.1
    warmup_ratio: float = 0.05
    max_norm: float = 1.0
    amp: Literal["auto", "off"] = "auto"
    seed: int = 0
    device: str = "cpu"
    max_trips: int | None = None
    way: bool = False  # whether it is given a sense of the way in the end
    checkpoint_minutes: float = 5.0
    progress: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "grid_size", "downsample"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--{name} is {value}; it must be above 0.")
        if self.block_size is not None and self.block_size < _LEAST_BLOCK_SIZE:
            raise UserError(
                f"The block size is {self.block_size}; it must be at least {_LEAST_BLOCK_SIZE}, "
                "for the start, the destination and two roads."
            )
        if not 0.0 <= self.geometry < float("inf"):
            raise UserError(f"--geometry is {self.geometry}; it must be at least 0.")
        if self.way and self.vocabulary != "road":
            raise UserError("--way needs a teacher of roads; give --vocabulary road.")
        for name in ("random_start", "warmup_ratio"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be in 0..1.")

    def peak_learning_rate(self, total_steps: int) -> float:
        """The given one; else the longer the training, the lower."""
        if self.learning_rate is not None:
            return self.learning_rate
        return max(LOWEST_PEAK, HIGHEST_PEAK * min(1.0, STEPS_AT_HIGHEST / total_steps))

    @property
    def trained_loss(self) -> TeacherLoss:
        """`loss`, or the vocabulary's default."""
        return self.loss or ("vocabulary" if self.vocabulary == "grid" else "candidates")

    def identity(self) -> dict[str, Any]:
        """What a resumed run must agree on."""
        free = ("output", "progress", "device", "checkpoint_minutes", "way")
        values = {name: value for name, value in asdict(self).items() if name not in free}
        return {name: value for name, value in values.items() if value is not None}
