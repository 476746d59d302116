"""Phase 2: the best parameters and the vanilla baseline, trained fully on the same seeds.

Run by run, so that a study killed here goes on with the run it was in; a finished run is known
by its record and never trained again. Several workers share the runs.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.schema import Config
from runtime.errors import UserError
from runtime.files import FolderInUse, FolderLock, read_json, sha256_of_json, write_json
from runtime.logs import get_logger
from training.reporting import format_duration
from training.resources import ResourcePool
from tuning.artifacts import TrialFolder, link, write_failure
from tuning.pauses import Pauses
from tuning.records import Mode, TrialRecord
from tuning.study import TuningStudy, comparable_settings, known_inputs
from tuning.trials import (
    Interruption,
    Train,
    failure_reason,
    plain,
    release_memory,
    run_config,
)

logger = get_logger("tune")

RUNS_FOLDER = "final_runs"
MODELS_FOLDER = "models"
RECORD_NAME = "final_run.json"


@dataclass(frozen=True)
class FinalRun:
    """One full training; `fingerprint` is what decides its result."""

    mode: Mode
    seed: int
    params: dict[str, Any]
    config: Config
    folder: TrialFolder
    fingerprint: str

    @property
    def name(self) -> str:
        return self.folder.path.name

    @property
    def record(self) -> Path:
        return self.folder.path / RECORD_NAME

    @property
    def metrics(self) -> dict[str, Any] | None:
        """The best epoch's figures of a finished run; None where it is not finished."""
        if not self.record.exists() or not self.folder.best.exists():
            return None
        try:
            content = read_json(self.record)
        except UserError:
            return None
        ours = isinstance(content, dict) and content.get("fingerprint") == self.fingerprint
        return content.get("metrics") if ours else None


@dataclass(frozen=True)
class FinalOutcome:
    """What phase 2 ended with."""

    runs: list[FinalRun] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    best_trial: int | None = None
    failures: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None  # where a signal ended it

    def metrics(self, mode: Mode) -> dict[int, dict[str, Any]]:
        """The finished runs' figures by seed."""
        found = {run.seed: run.metrics for run in self.runs if run.mode == mode}
        return {seed: metrics for seed, metrics in found.items() if metrics is not None}

    @property
    def finished(self) -> bool:
        """Whether every run is trained."""
        return bool(self.runs) and all(run.metrics is not None for run in self.runs)


def best_distilled(records: list[TrialRecord]) -> TrialRecord | None:
    """The distilled trial that phase 2 trains fully: the most accurate complete one.

    Where all were pruned, the most accurate of those.
    """
    scored = [
        (record.state == "complete", record.accuracy, -record.number, record)
        for record in records
        if record.ended and record.mode == "distilled" and record.accuracy is not None
    ]
    return max(scored, key=lambda entry: entry[:3])[3] if scored else None


def plan_final_runs(study: TuningStudy, best: TrialRecord | None) -> list[FinalRun]:
    """Vanilla and distilled for each seed; vanilla alone where no distilled trial ended."""
    modes: list[tuple[Mode, dict[str, Any]]] = [("vanilla", {})]
    if best is not None:
        modes.append(("distilled", best.params))
    seeds = list(dict.fromkeys(study.config.optuna.final_run.seeds))
    return [_final_run(study, mode, seed, params) for seed in seeds for mode, params in modes]


def _final_run(study: TuningStudy, mode: Mode, seed: int, params: dict[str, Any]) -> FinalRun:
    epochs = study.config.optuna.final_run.max_epochs
    name = f"{mode}_seed{seed}"
    config = run_config(
        study.config, mode, seed=seed, epochs=epochs, params=params, run_name=f"final_{name}"
    )
    settings = {
        key: value
        for key, value in comparable_settings(config).items()
        if not key.startswith("optuna.") and (mode == "distilled" or "distill." not in key)
    }
    data = known_inputs(study).to_json()
    if mode == "vanilla":  # neither a teacher nor the code of a loss has a say
        data = {name: value for name, value in data.items() if name not in ("teacher", "code")}
    decisive = {
        "settings": settings,
        "params": params,
        "epochs": epochs,
        "seed": seed,
        "mode": mode,
        "data": data,
    }
    folder = TrialFolder(study.folder / RUNS_FOLDER / name)
    return FinalRun(mode, seed, params, config, folder, sha256_of_json(decisive))


def run_final(
    study: TuningStudy, train: Train, pool: ResourcePool, stopping: Callable[[], bool]
) -> FinalOutcome:
    """Trains what is not trained yet, and waits for what other workers are training."""
    best = best_distilled(study.records())
    runs = plan_final_runs(study, best)
    outcome = FinalOutcome(
        runs, best.params if best else {}, best.number if best else None, failures={}
    )
    _announce(outcome)
    pauses = Pauses()
    while True:
        todo = [run for run in runs if run.metrics is None and run.name not in outcome.failures]
        if not todo or stopping():
            break
        exit_code = _take_turns(todo, train, pool, outcome.failures, stopping, pauses)
        if exit_code is not None:
            return FinalOutcome(
                runs, outcome.params, outcome.best_trial, outcome.failures, exit_code
            )
    for run in runs:
        if run.metrics is not None:
            link(study.folder / MODELS_FOLDER / f"{run.name}.pth", run.folder.best)
    return outcome


def _take_turns(
    todo: list[FinalRun],
    train: Train,
    pool: ResourcePool,
    failures: dict[str, str],
    stopping: Callable[[], bool],
    pauses: Pauses,
) -> int | None:
    """One pass over the open runs; the exit code of a signal that ended one, else None."""
    busy = 0
    for run in todo:
        if stopping():
            return None
        with _claim(run) as ours:
            if not ours:
                busy += 1
                continue
            if run.metrics is not None:  # another worker finished it meanwhile
                continue
            ending = _train(run, train, pool)
            if ending is None and run.metrics is None:
                ending = f"{run.folder.best} is missing; delete {run.folder.path} to train it anew"
        if isinstance(ending, Interruption):
            return ending.exit_code
        if ending is not None:
            failures[run.name] = ending
            logger.warning("The final run %s failed: %s", run.name, ending)
    if busy:
        pauses.take()
    return None


@contextmanager
def _claim(run: FinalRun) -> Iterator[bool]:
    """Yields whether this worker has the run to itself."""
    lock = FolderLock(run.folder.path.parent, name=f".{run.name}.claim", guards=run.folder.path)
    try:
        lock.acquire()
    except FolderInUse:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _train(run: FinalRun, train: Train, pool: ResourcePool) -> Interruption | str | None:
    """Trains one run to its end; the reason where it fails."""
    folder = run.folder
    if folder.path.exists() and not _belongs(run):
        folder.set_aside()  # of other parameters, settings or data
    content: dict[str, Any] = {
        "fingerprint": run.fingerprint,
        "mode": run.mode,
        "seed": run.seed,
        "params": run.params,
    }
    write_json(run.record, content)
    logger.info("Final run %s: %d epochs.", run.name, run.config.optimizer_config.max_epoch)
    try:
        result = train(run.config, pool=pool, folder=folder)
    except Exception as error:  # one failed run must not take the others with it
        if not isinstance(error, UserError):
            write_failure(folder, traceback.format_exc())
        return failure_reason(error)
    finally:
        folder.drop_lock()
        release_memory()
    if not result.finished:
        logger.info("The final run %s was interrupted; it goes on later.", run.name)
        return Interruption(result.exit_code)
    content.update(
        metrics=plain(result.metrics),
        best_epoch=result.best_epoch,
        seconds=result.seconds,
        batches_per_second=result.batches_per_second,
    )
    write_json(run.record, content)
    duration = format_duration(result.seconds)
    logger.info("Final run %s: accuracy %.4f after %s.", run.name, result.best_val_acc, duration)
    return Interruption(result.exit_code) if result.exit_code else None


def _belongs(run: FinalRun) -> bool:
    """Whether the folder was begun for just this run."""
    if not run.record.exists():
        return not any(run.folder.path.iterdir())
    try:
        content = read_json(run.record)
    except UserError:
        return False
    ours = isinstance(content, dict) and content.get("fingerprint") == run.fingerprint
    return ours and ("metrics" not in content or run.folder.best.exists())


def _announce(outcome: FinalOutcome) -> None:
    done = sum(run.metrics is not None for run in outcome.runs)
    if outcome.best_trial is None:
        logger.warning(
            "No distilled trial ended: the final runs are those of the vanilla baseline alone."
        )
    else:
        logger.info(
            "Phase 2: %d final runs with the parameters of trial %d and without a teacher%s.",
            len(outcome.runs),
            outcome.best_trial,
            f"; {done} are done already" if done else "",
        )
