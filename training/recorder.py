"""What a run leaves behind while it runs: scalars, lines on the screen, files of each epoch.

Only the main process records. How far the run is stays in `Progress`; this writes it down.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from config import Config, dump_config
from critics.distill_hook import DistillationManager
from hoser import HOSER
from models.checkpoint import TrainingData
from runtime.files import atomic_write_text
from runtime.inputs import KEY, Inputs
from runtime.logs import get_logger
from runtime.wandb_run import TrackedRun, start_run
from runtime.wandb_sync import sync_one
from training.accumulation import GroupResult
from training.checkpoint import Progress, save_run, save_student
from training.folder import RunFolder
from training.identity import run_mode
from training.optimization import Optimization
from training.profiling import StepProfiler
from training.reporting import MetricsWriter, write_metrics
from training.resources import Resources

logger = get_logger("train")

MAX_TRIPS_NAMED = 50


class Recorder:
    """Writes a run's folder; with `writes` False it does nothing."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        inputs: Inputs,
        trained_on: TrainingData,
        writes: bool,
    ) -> None:
        self.config = config
        self.trained_on = trained_on
        self.folder = folder
        self.inputs = inputs
        self.writes = writes
        self.tree = config.model_dump(mode="json", by_alias=True)
        self.writer = MetricsWriter(None)
        self.tracked = TrackedRun()

    @property
    def run_name(self) -> str:
        """How the run is called where experiments are tracked."""
        return f"{self.config.dataset}_{self.folder.path.name}"

    @property
    def profiling(self) -> bool:
        """Whether the run only measures itself: then a folder's results are not touched."""
        return self.config.profiling.max_batches is not None

    def open(self, progress: Progress) -> None:
        """Writes the configuration and opens the logs."""
        if not self.writes:
            return
        if not self.profiling:
            atomic_write_text(self.folder.config, dump_config(self.config))
        self.tracked = start_run(
            self.config.wandb,
            name=self.run_name,
            config=self.tree,
            directory=self.folder.path,
            job_type="train",
        )
        # The figures of a whole epoch stand at the step that comes after it: they stay.
        purge = progress.step + (progress.step > 0 and progress.group == 0)
        self.writer = MetricsWriter(self.folder.tensorboard, self.tracked, purge)

    def announce(
        self, resources: Resources, model: HOSER, device: torch.device, distilled: bool
    ) -> None:
        """Says what is about to be trained, on what, and where the files go."""
        if self.writes:
            logger.info(
                "Training %s teacher on %s: %d trips, %d roads, %.1f M parameters, files in %s.",
                "with a" if distilled else "without a",
                device,
                len(resources.train),
                resources.network.num_roads,
                sum(p.numel() for p in model.parameters()) / 1e6,
                self.folder.path,
            )

    def step(
        self,
        progress: Progress,
        result: GroupResult,
        learning_rate: float,
        batches_per_second: float,
        teacher: DistillationManager | None,
    ) -> None:
        """The scalars of an optimizer step."""
        values = {
            "train/loss": result.values["loss"],
            "train/loss_next_step": result.values["loss_next_step"],
            "train/loss_time_pred": result.values["loss_time_pred"],
            "train/next_step_acc": result.accuracy,
            "train/learning_rate": learning_rate,
            "train/grad_norm": result.grad_norm,
            "perf/batches_per_second": batches_per_second,
        }
        if teacher is not None:
            strength = teacher.strength(progress.step)
            values["train/distill_loss"] = result.values["distill_loss"]
            if teacher.settings.zone_weight > 0:
                values["train/distill_zones"] = result.values["distill_zones"]
            if teacher.settings.embedding_weight > 0:
                values["train/distill_relations"] = result.values["distill_relations"]
            values["train/distill_temperature"] = strength.temperature
            values["train/distill_weight"] = strength.weight
            values["train/teacher_nonfinite"] = result.values["teacher_nonfinite"]
            if teacher.settings.replay.trips:
                values["train/replay_loss"] = result.values["replay_loss"]
                values["train/replay_weight"] = strength.replay_weight
        self.writer.scalars(values, progress.step)

    def profile(self, profiler: StepProfiler, step: int) -> None:
        """The breakdown of a profiled step."""
        if self.writes:
            logger.info(profiler.describe())
            self.writer.scalars(profiler.scalars(), step)

    def nonfinite(self, progress: Progress, rows: NDArray[np.int64]) -> None:
        """Names the trips of a step that was skipped by their rows in the file."""
        shown = ", ".join(map(str, rows[:MAX_TRIPS_NAMED].tolist()))
        more = " …" if len(rows) > MAX_TRIPS_NAMED else ""
        logger.warning("Step %d has a non-finite loss and is skipped.", progress.step)
        logger.warning("Its trips' rows in train.csv (from 0, after the header): %s%s", shown, more)

    def epoch(
        self, progress: Progress, record: dict[str, Any], is_best: bool, model: HOSER
    ) -> None:
        """The files, scalars and the line of a finished epoch."""
        if not self.writes or self.profiling:
            return
        if is_best:
            self._save_student(self.folder.best, model, record)
        validation = {
            name.replace("val_", "val/", 1): value
            for name, value in record.items()
            if name.startswith("val_")
        }
        self.writer.scalars(validation, record["step"])
        self.writer.flush()
        write_metrics(self.folder.metrics, self._run(), progress.history, progress.best_epoch)
        logger.info(
            "Epoch %d: loss %.4f, validation accuracy %.4f, MAPE %.4f (log1p), %.4f (seconds)%s%s",
            record["epoch"],
            record["train_loss"],
            record["val_next_step_acc"],
            record["val_time_pred_mape"],
            record["val_time_pred_mape_seconds"],
            f", KL {record['val_kl']:.4f}" if "val_kl" in record else "",
            "; the best so far." if is_best else ".",
        )

    def calibrated(self, progress: Progress, record: dict[str, Any], model: HOSER) -> None:
        """The best student's file, once its logits are calibrated."""
        if not self.writes or self.profiling:
            return
        self._save_student(self.folder.best, model, record)
        write_metrics(self.folder.metrics, self._run(), progress.history, progress.best_epoch)
        logger.info(
            "The best student's logits are divided by %.3f: negative log-likelihood %.4f, "
            "calibration error %.4f on validation trips.",
            record["calibration_temperature"],
            record["val_next_step_nll"],
            record["val_calibration_error"],
        )

    def travel_times(self, progress: Progress, quality: dict[str, float]) -> None:
        """How well the best student's travel times are spread, as scalars and in its metrics."""
        if not self.writes:
            return
        figures = {f"val_time_{name}": value for name, value in quality.items()}
        progress.history[progress.best_epoch] |= figures
        write_metrics(self.folder.metrics, self._run(), progress.history, progress.best_epoch)
        scalars = {f"val/time_{name}": value for name, value in quality.items()}
        self.writer.scalars(scalars, progress.step)

    @staticmethod
    def knows_travel_times(progress: Progress) -> bool:
        """Whether the best student's record has these figures."""
        return "val_time_crps_s" in progress.best

    def _run(self) -> dict[str, Any]:
        """What the metrics are of."""
        mode = run_mode(self.config)
        return {"dataset": self.config.dataset, "mode": mode, KEY: self.inputs.to_json()}

    def stage(self, progress: Progress, stage: int, temperature: float, model: HOSER) -> None:
        """The student as it is at the end of a stage of the temperature."""
        if not self.writes or self.profiling:
            return
        file = self.folder.of_stage(stage)
        file.parent.mkdir(exist_ok=True)
        figures = {"stage": stage, "temperature": temperature, "step": progress.step}
        self._save_student(file, model, figures)
        logger.info(
            "Stage %d (temperature %.3g) ended; its student is %s.", stage, temperature, file
        )

    def _save_student(self, file: Path, model: HOSER, metrics: dict[str, Any]) -> None:
        save_student(
            file,
            model,
            inputs=self.inputs,
            mode=run_mode(self.config),
            config=self.tree,
            metrics=metrics,
            trained_on=asdict(self.trained_on),
        )

    def save(self, progress: Progress, model: HOSER, optimization: Optimization) -> None:
        """The state from which the run goes on."""
        if self.writes and not self.profiling:
            save_run(
                self.folder.latest,
                inputs=self.inputs,
                mode=run_mode(self.config),
                config=self.tree,
                progress=progress,
                model=model,
                optimization=optimization.state_dict(),
            )

    def close(self, exit_code: int) -> None:
        """Ends the logs; a finished run's best student goes along with them where asked for."""
        settings, best = self.config.wandb, self.folder.best
        if not exit_code and best.is_file():
            self.tracked.log_artifact(f"{self.run_name}_best", "model", best)
        tracked_in = self.tracked.directory
        self.writer.close(exit_code)
        sync_one(settings, tracked_in, self.folder.path)
