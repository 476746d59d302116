"""One trial: its configuration, its training, and what it is recorded as."""

from __future__ import annotations

import contextlib
import gc
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from config.schema import Config
from runtime.errors import UserError, is_out_of_memory, one_line
from runtime.files import is_disk_failure, read_json
from runtime.logs import get_logger
from training.folder import RunFolder
from training.reporting import format_duration
from training.resources import ResourcePool
from training.result import EpochCallback, TrainResult
from tuning.artifacts import Outcome, TrialFolder, TrialFolders, write_failure
from tuning.latency import inference_latency_ms
from tuning.liveness import Heartbeat
from tuning.queue import TrialQueue
from tuning.records import Mode, TrialRecord
from tuning.space import suggest
from tuning.storage import failure_types
from tuning.study import TuningStudy

if TYPE_CHECKING:
    from optuna import Trial

logger = get_logger("tune")

ACCURACY = "val_next_step_acc"
TAKEN_OVER = "given to another worker while this one did not answer"


class Train(Protocol):
    """`train_with_distill.train`."""

    def __call__(
        self,
        config: Config,
        *,
        pool: ResourcePool | None = None,
        folder: RunFolder | None = None,
        on_epoch_end: EpochCallback | None = None,
        finish: bool = True,
    ) -> TrainResult: ...


@dataclass(frozen=True)
class Interruption:
    """A trial that a signal ended; it was put back and goes on later."""

    exit_code: int


def run_config(
    config: Config,
    mode: Mode,
    *,
    seed: int,
    epochs: int,
    params: dict[str, Any],
    run_name: str,
) -> Config:
    """The configuration of one run of the study."""
    result = config.model_copy(deep=True)
    result.training.seed = seed
    result.optimizer_config.max_epoch = epochs
    result.profiling.max_batches = None
    result.distill.enable = mode == "distilled"
    for name, value in params.items():
        setattr(result.distill, "lambda_" if name == "lambda" else name, value)
    result.wandb.group = config.optuna.study_name
    result.wandb.run_name = run_name
    result.wandb.tags = [*config.wandb.tags, mode]
    return result


class TrialRunner:
    """Runs the trials a queue hands out."""

    def __init__(
        self,
        train: Train,
        study: TuningStudy,
        folders: TrialFolders,
        queue: TrialQueue,
        pool: ResourcePool,
    ) -> None:
        self.train = train
        self.study = study
        self.folders = folders
        self.queue = queue
        self.pool = pool
        self.settings = study.config.optuna

    def run(self, trial: Trial) -> TrialRecord | Interruption:
        """Trains one trial to its end, whatever that is, and tells the study."""
        record = TrialRecord.of(self._frozen(trial), self.settings.base_seed)
        trial.set_user_attr("mode", record.mode)
        trial.set_user_attr("seed", record.seed)
        started = time.perf_counter()
        with Heartbeat(self.study.storage, trial._trial_id, self.settings.heartbeat_interval):
            try:
                ending = self._train(trial, record)
            except KeyboardInterrupt:
                ending = Interruption(130)
            release_memory()
            seconds = record.wall_seconds + time.perf_counter() - started
            if isinstance(ending, Interruption):
                trial.set_user_attr("wall_seconds", seconds)
                self.queue.put_back(trial)
                logger.info("Trial %d was interrupted; it goes on later.", record.number)
                return ending
        return self._tell(trial, record, ending, seconds)

    def _train(self, trial: Trial, record: TrialRecord) -> _Ending | Interruption:
        from optuna import TrialPruned
        from optuna.exceptions import UpdateFinishedTrialError

        folder = self.folders.running(record.number, record.mode)
        try:
            params = suggest(trial, self.study.space) if record.mode == "distilled" else {}
            config = run_config(
                self.study.config,
                record.mode,
                seed=record.seed,
                epochs=self.settings.max_epochs,
                params=params,
                run_name=f"trial_{record.number:03d}_{record.mode}",
            )
            self._announce(record, params)
            if record.retry_of is not None:
                self.folders.inherit(record.number, record.mode, record.retry_of)
            result = self.train(
                config,
                pool=self.pool,
                folder=folder,
                on_epoch_end=lambda epoch, values: self._report(trial, record, epoch, values),
                finish=False,  # trials are compared by accuracy, and few of them ever generate
            )
            if not result.finished:
                return Interruption(result.exit_code)
            return self._completed(config, trial, result)
        except TrialPruned:
            return _Ending("pruned", metrics=_best_metrics(folder))
        except UpdateFinishedTrialError:
            return _Ending("failed", metrics={}, failure=TAKEN_OVER)
        except failure_types():
            raise  # the store's trouble is not the trial's
        except Exception as error:  # whatever ends a trial must not end the study
            if is_disk_failure(error):  # but a disk that is full is not the trial's fault
                self._give_back(trial)
                raise UserError(
                    f"The study stops, as its trial {record.number} could not be kept: "
                    f"{one_line(error)} Start again with the same --study_name once there is room."
                ) from error
            if not isinstance(error, UserError):
                write_failure(folder, traceback.format_exc())
            return _Ending("failed", metrics={}, failure=failure_reason(error))

    def _give_back(self, trial: Trial) -> None:
        """Leaves the trial to the next start, unless the store has no room for that either."""
        with contextlib.suppress(*failure_types()):
            self.queue.put_back(trial)

    def _announce(self, record: TrialRecord, params: dict[str, Any]) -> None:
        shown = ", ".join(f"{name} {format_param(value)}" for name, value in params.items())
        again = f", again after trial {record.retry_of}" if record.retry_of is not None else ""
        logger.info(
            "Trial %d (%s, seed %d%s): %s.",
            record.number,
            record.mode,
            record.seed,
            again,
            shown or "no teacher",
        )

    def _report(
        self, trial: Trial, record: TrialRecord, epoch: int, values: dict[str, Any]
    ) -> None:
        """Tells the study an epoch's accuracy and asks whether to go on."""
        from optuna import TrialPruned

        if self.settings.objectives != ["accuracy"]:
            trial.set_user_attr("epochs", epoch)
            return
        trial.report(values[ACCURACY], epoch)
        last = epoch >= self.settings.max_epochs
        # The baseline runs to its end, yet the others are measured against it.
        if not last and trial.should_prune() and record.mode == "distilled":
            raise TrialPruned

    def _completed(self, config: Config, trial: Trial, result: TrainResult) -> _Ending:
        if self.settings.objectives == ["accuracy"]:
            reported = self._frozen(trial).intermediate_values
            for entry in result.history:  # what an earlier worker trained but could not report
                if entry["epoch"] not in reported:
                    trial.report(entry[ACCURACY], entry["epoch"])
        trial.set_user_attr("batches_per_second", result.batches_per_second)
        measured = {"accuracy": result.best_val_acc, "throughput": result.batches_per_second}
        if "latency" in self.settings.objectives:
            measured["latency"] = inference_latency_ms(config, result.checkpoint, self.pool)
            trial.set_user_attr("latency_ms", measured["latency"])
        values = [measured[name] for name in self.settings.objectives]
        return _Ending("complete", result.metrics, values=values)

    def _tell(
        self, trial: Trial, record: TrialRecord, ending: _Ending, seconds: float
    ) -> TrialRecord:
        """Names the folder after the outcome, then makes the outcome known."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        folder = self.folders.finish(record.number, record.mode, ending.outcome)
        attributes = {
            "wall_seconds": seconds,
            "folder": str(folder.path),
            "metrics": plain(ending.metrics) or None,
            "failure": ending.failure,
        }
        states = {
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        try:
            for name, value in attributes.items():
                if value is not None:
                    trial.set_user_attr(name, value)
            self.study.optuna.tell(trial, ending.values, state=states[ending.outcome])
        except UpdateFinishedTrialError:
            logger.warning("Trial %d was %s.", record.number, TAKEN_OVER)
        told = TrialRecord.of(self._frozen(trial), self.settings.base_seed)
        _log_ending(told)
        return told

    def _frozen(self, trial: Trial) -> Any:
        return self.study.storage.get_trial(trial._trial_id)


@dataclass(frozen=True)
class _Ending:
    """How a trial ended."""

    outcome: Outcome
    metrics: dict[str, Any]
    values: list[float] | None = None
    failure: str | None = None


def failure_reason(error: Exception) -> str:
    """Why a run failed, in one line; running out of memory is said in the same words always."""
    reason = one_line(error) or type(error).__name__
    if isinstance(error, UserError):
        return reason
    if is_out_of_memory(error):
        return f"out of memory: {reason}"
    return f"{type(error).__name__}: {reason}"


def _log_ending(record: TrialRecord) -> None:
    if record.state == "failed":
        logger.warning("Trial %d failed: %s", record.number, record.failure)
        return
    accuracy = record.accuracy
    logger.info(
        "Trial %d is %s after %d epochs and %s: accuracy %s.",
        record.number,
        record.state,
        record.epochs,
        format_duration(record.wall_seconds),
        f"{accuracy:.4f}" if accuracy is not None else "unknown",
    )


def _best_metrics(folder: TrialFolder) -> dict[str, Any]:
    return read_json(folder.metrics).get("best") or {}


def plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """Only what any store's JSON takes: numbers that are finite, texts, None."""
    return {
        name: value if not isinstance(value, float) or value - value == 0 else None
        for name, value in metrics.items()
    }


def format_param(value: Any) -> str:
    """`0.0291`, `3.42` or `4`."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def release_memory() -> None:
    """Gives back what a run held, above all after it ran out of memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
