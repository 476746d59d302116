"""What a training run tells whoever started it: after every epoch, and at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EpochCallback = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with; `metrics` are the best epoch's, `best_epoch` counts from 1."""

    best_val_acc: float
    best_epoch: int
    checkpoint: Path
    folder: Path
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float
    batches_per_second: float
    finished: bool
    exit_code: int = 0
