"""Where a run's figures go: TensorBoard, WandB, metrics.json, the screen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.files import write_json
from runtime.logs import get_logger
from runtime.wandb_run import TrackedRun

if TYPE_CHECKING:
    from training.checkpoint import Progress
    from training.folder import RunFolder

logger = get_logger("train")


class MetricsWriter:
    """Scalars to TensorBoard and WandB; a failure of either is logged and training goes on."""

    def __init__(
        self,
        tensorboard: Path | None,
        wandb: TrackedRun | None = None,
        purge_step: int = 0,
    ) -> None:
        self.wandb = wandb or TrackedRun()
        self._writer: Any = None
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter

                # A run repeats the steps since its checkpoint, or all: the old ones give way.
                self._writer = SummaryWriter(str(tensorboard), purge_step=purge_step)
            except (ImportError, OSError, UnicodeError) as error:  # a name beyond UTF-8
                logger.warning("TensorBoard is off: %s", error)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes several scalars at one step; those that are None or NaN are left out."""
        values = {k: v for k, v in values.items() if v is not None and not math.isnan(v)}
        if self._writer is not None:
            try:
                for name, value in values.items():
                    self._writer.add_scalar(name, value, step)
            except OSError as error:
                logger.warning("TensorBoard is off for the rest of this run: %s", error)
                self._writer = None
        self.wandb.log(values, step)

    def flush(self) -> None:
        """Brings what was written to disk."""
        if self._writer is not None:
            try:
                self._writer.flush()
            except OSError as error:
                logger.warning("TensorBoard is off for the rest of this run: %s", error)
                self._writer = None

    def close(self, exit_code: int = 0) -> None:
        """Ends both."""
        self.flush()
        if self._writer is not None:
            self._writer.close()
        self.wandb.finish(exit_code)


def write_metrics(
    path: Path, run: dict[str, Any], history: list[dict[str, Any]], best_epoch: int
) -> None:
    """Writes every epoch's figures, and which was best, to `metrics.json`."""
    best = history[best_epoch] if 0 <= best_epoch < len(history) else None
    write_json(path, {"run": run, "best": best, "epochs": history})


def epoch_record(
    progress: Progress, validation: dict[str, Any], terms: Iterable[str]
) -> dict[str, Any]:
    """An epoch's figures: means over its steps (of these `terms`, too), and validation's."""
    sums = progress.epoch_sums
    steps = max(sums.get("steps", 0.0), 1.0)
    record = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "train_loss": sums.get("loss", 0.0) / steps,
        "train_next_step_acc": sums.get("correct", 0.0) / max(sums.get("positions", 0.0), 1.0),
        **validation,
        "seconds": progress.seconds,
    }
    return record | {f"train_{name}": sums.get(name, 0.0) / steps for name in terms}


def summary_table(
    best: dict[str, Any], seconds: float, steps_per_second: float, folder: RunFolder
) -> str:
    """The table a run ends with."""
    files = {
        "Best student": folder.best,
        "Newest state": folder.latest,
        "Metrics": folder.metrics,
        "TensorBoard": folder.tensorboard,
    }
    rows = [
        ("Best epoch", str(best["epoch"])),
        ("Next-step accuracy", f"{best['val_next_step_acc']:.4f}"),
        ("Travel-time MAPE (log1p)", f"{best['val_time_pred_mape']:.4f}"),
        ("Travel-time MAPE (seconds)", f"{best['val_time_pred_mape_seconds']:.4f}"),
        ("Negative log-likelihood", f"{best['val_next_step_nll']:.4f}"),
    ]
    if best.get("val_kl") is not None:
        rows.append(("KL to the teacher", f"{best['val_kl']:.4f}"))
    if best.get("val_time_crps_s") is not None:
        inside = (f"{100 * best[f'val_time_coverage_{p}']:.0f}" for p in (50, 80, 95))
        rows.append(("Inside 50/80/95 % intervals of time", f"{' / '.join(inside)} %"))
        rows.append(("Travel-time CRPS", f"{best['val_time_crps_s']:.2f} s"))
    rows += [
        ("Time", format_duration(seconds)),
        ("Batches per second", f"{steps_per_second:.2f}"),
        *((title, str(path)) for title, path in files.items()),
    ]
    width = max(len(title) for title, _ in rows)
    return "\n".join(f"  {title.ljust(width)}  {value}" for title, value in rows)


def format_duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min 20 s` or `12.3 s`."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{seconds:.1f} s"
