"""Tunes the distillation: a study in two phases that any number of workers may share.

    python tune_hoser.py --data_dir /path/to/hoser_format          the whole study
    python tune_hoser.py --study_name NAME                         goes on where it stopped
    python tune_hoser.py --study_name NAME --n_trials 0            phase 2 alone

Phase 1 searches: trial 0 without a teacher, then distilled trials. Phase 2 trains the best
parameters and the vanilla baseline fully on several seeds. The parts are in `tuning/`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from config import Config
from config.arguments import add_config_arguments, config_from_arguments, example_parser
from pipeline.folder import make_evaluation_folder
from pipeline.study import compare_final_models
from runtime.distributed import num_processes
from runtime.errors import UserError, run_main
from runtime.logs import add_log_file, get_logger, remove_log_file, setup_logging
from runtime.shutdown import ShutdownSignals, Stopped
from train_with_distill import train
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
from tuning.trials import TrialRunner

__all__ = ["StudyPlan", "StudyResult", "plan", "tune"]

logger = get_logger("tune")


def tune(
    config: Config,
    *,
    phase1: bool = True,
    phase2: bool = True,
    pool: ResourcePool | None = None,
) -> StudyResult:
    """Runs the study that `config.optuna` describes, or what is left of it.

    `pool` holds the data that all runs share. A signal ends the study between two steps; the
    result then says `finished` False, and the same call goes on.
    """
    _refuse_torchrun()
    pool = pool or ResourcePool()
    with storage_errors(StorageAddress.parse(config.optuna.storage)):
        study = open_study(config)
        log_file = add_log_file(study.folder / "study.log")
        try:
            with ShutdownSignals() as signals:
                try:
                    result = _run_phases(study, pool, signals, *_chosen(config, phase1, phase2))
                except Stopped:
                    return _report(study, None, signals.exit_code, interrupted=True)
            # From here on signals end the program at once: a repeated command goes on.
            _compare_groups(study, result)
            return result
        finally:
            remove_log_file(log_file)


def plan(
    config: Config,
    *,
    phase1: bool = True,
    phase2: bool = True,
) -> StudyPlan:
    """What `tune` would do, with an estimate of the time."""
    search, final = _chosen(config, phase1, phase2)
    with storage_errors(StorageAddress.parse(config.optuna.storage)):
        return plan_study(config, train, search=search, final=final)


def _chosen(config: Config, phase1: bool, phase2: bool) -> tuple[bool, bool]:
    return phase1 and config.optuna.n_trials > 0, phase2 and config.optuna.final_run.enabled


def _run_phases(
    study: TuningStudy, pool: ResourcePool, signals: ShutdownSignals, search: bool, final: bool
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


EXAMPLES = """\
  python tune_hoser.py
  python tune_hoser.py --dataset Beijing --data_dir /path/to/hoser_format --cuda 0
  python tune_hoser.py --study_name hoser-distill-beijing --n_trials 20
  python tune_hoser.py --study_name quick --storage memory --n_trials 3 --max_epochs 2 --skip-phase2
  python tune_hoser.py --storage postgresql://user@host/studies     one worker of several
  python tune_hoser.py --dry_run
"""


def _parser() -> argparse.ArgumentParser:
    parser = example_parser("Tune the distillation in a two-phase study.", EXAMPLES)
    add_config_arguments(parser)
    group = parser.add_argument_group("study")
    group.add_argument("--study_name", help="a study to begin, or to go on with")
    group.add_argument(
        "--storage",
        help="sqlite:///file.db (default), journal:///path/file.log, memory, postgresql://...",
    )
    group.add_argument(
        "--n_trials", type=int, metavar="N", help="trials in all; 0 leaves only phase 2"
    )
    group.add_argument("--max_epochs", type=int, metavar="N", help="of a trial in phase 1")
    group.add_argument("--trials_dir", help="where trials are kept; default: optuna_trials")
    group.add_argument("--results_dir", help="where results go; default: optuna_results")
    group.add_argument("--skip-phase1", action="store_true", help="no search")
    group.add_argument("--skip-phase2", action="store_true", help="no final runs")
    group.add_argument("--dry_run", action="store_true", help="print the plan and about how long")
    return parser


def _config(arguments: argparse.Namespace) -> Config:
    """The configuration with the study's own arguments, which stand for keys of `optuna`."""
    names = ("study_name", "storage", "n_trials", "max_epochs", "trials_dir", "results_dir")
    own = {f"optuna.{name}": getattr(arguments, name) for name in names}
    own |= {"optuna.base_seed": arguments.seed, "optuna.sampler.seed": arguments.seed}
    return config_from_arguments(arguments, own)


def main(argv: list[str] | None = None) -> int:
    """The command line of `tune`."""
    arguments = _parser().parse_args(argv)
    setup_logging()
    config = _config(arguments)
    phase1, phase2 = not arguments.skip_phase1, not arguments.skip_phase2
    if arguments.dry_run:
        print(plan(config, phase1=phase1, phase2=phase2).text())
        return 0
    return tune(config, phase1=phase1, phase2=phase2).exit_code


if __name__ == "__main__":
    run_main(main)
