"""A study from its first trial to its report: what `tune_hoser.py` runs."""

from __future__ import annotations

from pathlib import Path

from config import Config
from pipeline.folder import make_evaluation_folder
from pipeline.study import compare_final_models
from runtime.errors import UserError
from runtime.launched import num_processes
from runtime.logs import add_log_file, get_logger, remove_log_file
from runtime.placing import placing
from runtime.shutdown import ShutdownSignals, Stopped
from training.resources import ResourcePool
from tuning.artifacts import TrialFolders, drop_dangling
from tuning.final import FinalOutcome, run_final
from tuning.plan import StudyPlan, plan_study
from tuning.preparation import prepare
from tuning.queue import TrialQueue
from tuning.report import (
    BEST_LINK,
    StudyResult,
    study_result,
    track_study,
    write_report,
    write_summary,
)
from tuning.search import check_any_succeeded, run_search
from tuning.storage import StorageAddress, storage_errors
from tuning.study import TuningStudy, open_study
from tuning.trials import Train, TrialRunner

logger = get_logger("tune")


def run_study(
    config: Config, train: Train, pool: ResourcePool | None, search: bool, final: bool
) -> StudyResult:
    """Runs the phases asked for, or what is left of them; a signal ends it between two steps."""
    _refuse_torchrun()
    pool = pool or ResourcePool()
    with storage_errors(StorageAddress.parse(config.optuna.storage)):
        study = open_study(config)
        log_file = add_log_file(study.folder / "study.log")
        places = (study.folder, Path(config.optuna.trials_dir))
        try:
            with placing("tune_hoser.py", *places):
                with ShutdownSignals() as signals:
                    try:
                        result = _run_phases(study, train, pool, signals, search, final)
                    except Stopped:
                        return _report(study, None, signals.exit_code, interrupted=True)
                # From here on signals end the program at once: a repeated command goes on.
                _compare_groups(study, result)
                return result
        finally:
            remove_log_file(log_file)


def planned(config: Config, train: Train, search: bool, final: bool) -> StudyPlan:
    """What `run_study` would do, with an estimate of the time."""
    with storage_errors(StorageAddress.parse(config.optuna.storage)):
        return plan_study(config, train, search=search, final=final)


def _run_phases(
    study: TuningStudy,
    train: Train,
    pool: ResourcePool,
    signals: ShutdownSignals,
    search: bool,
    final: bool,
) -> StudyResult:
    def stopping() -> bool:
        return signals.received is not None

    prepare(study, pool, search)
    exit_code, outcome = None, None
    if search:
        with study.lock():
            trials_dir = study.config.optuna.trials_dir
            place = study.address.place
            folders = TrialFolders.open(trials_dir, study.name, study.identity, place)
            drop_dangling(study.folder / BEST_LINK)
        queue = TrialQueue(study, folders)
        runner = TrialRunner(train, study, folders, queue, pool)
        exit_code = run_search(
            queue, runner, stopping, lambda: write_summary(study, study_result(study))
        )
    if exit_code is None and not stopping():
        check_any_succeeded(study)
        if final:
            outcome = run_final(study, train, pool, stopping)
            exit_code = outcome.exit_code
    return _report(
        study,
        outcome,
        exit_code if exit_code is not None else signals.exit_code,
        interrupted=exit_code is not None or stopping(),
    )


def _report(
    study: TuningStudy, outcome: FinalOutcome | None, exit_code: int, interrupted: bool
) -> StudyResult:
    """Writes what the study leaves and shows its tables."""
    finished = not interrupted and (outcome is None or outcome.finished)
    result = study_result(study, outcome, exit_code=exit_code, finished=finished)
    write_summary(study, result)
    if interrupted:
        logger.info("Stopped; go on with --study_name %s.", study.name)
        return result
    write_report(study, result)
    track_study(study, result)
    if outcome is not None:
        settings = study.config
        make_evaluation_folder(study.folder, settings.dataset, Path(settings.data_dir))
    tables = "\n\n".join(table.text() for table in result.tables)
    logger.info("Study %s: results in %s.\n\n%s\n", study.name, study.folder, tables)
    if study.address.dashboard_command is not None:
        logger.info("Look at it with: %s", study.address.dashboard_command)
    if outcome is not None and outcome.failures and not any(run.metrics for run in outcome.runs):
        name, reason = next(iter(outcome.failures.items()))
        raise UserError(f"All final runs failed; {name}: {reason}")
    return result


def _compare_groups(study: TuningStudy, result: StudyResult) -> None:
    """Ends phase 2 with the trips of its models, compared as groups over their seeds."""
    num_gene = study.config.optuna.final_run.num_gene
    if not result.finished or result.final is None or not num_gene:
        return
    if not any((study.folder / "models").glob("*.pth")):
        return
    tables = compare_final_models(study.folder, num_gene, study.config.training.device)
    if tables is not None:
        logger.info("Groups over training seeds, also in %s.\n\n%s", study.folder / "eval", tables)


def _refuse_torchrun() -> None:
    if num_processes() > 1:
        raise UserError(
            "A study has no use for torchrun: start tune_hoser.py once for each worker, all with "
            "the same --study_name and --storage."
        )
