"""What a training run tells whoever started it: after every epoch, and at its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.logs import get_logger

if TYPE_CHECKING:
    from training.checkpoint import Progress
    from training.folder import RunFolder

logger = get_logger("train")

EpochCallback = Callable[[int, dict[str, Any]], None]

NLL, UNCALIBRATED = "val_next_step_nll", "val_next_step_nll_uncalibrated"


def before_calibration(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A student's figures with its likelihood before it was calibrated, if it ever was."""
    return {UNCALIBRATED: figures.get(NLL), **figures}


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
    received: int | None = None  # a signal that came during the run, be it after its last step

    def end_if_stopped(self) -> None:
        """For a program that has more to do after the run: it ends where it was told to."""
        if self.received is not None or not self.finished:
            logger.info("Stopped; the next start goes on from here.")
            raise SystemExit(self.exit_code or (130 if self.received == signal.SIGINT else 0))

    @classmethod
    def of(
        cls, progress: Progress, folder: RunFolder, batches_per_second: float, exit_code: int
    ) -> TrainResult:
        """That of a run as far as it is."""
        return cls(
            best_val_acc=progress.best_val_acc,
            best_epoch=progress.best_epoch + 1,
            checkpoint=folder.best,
            folder=folder.path,
            metrics=progress.best,
            history=progress.history,
            seconds=progress.seconds,
            batches_per_second=batches_per_second,
            finished=progress.finished,
            exit_code=exit_code,
        )
