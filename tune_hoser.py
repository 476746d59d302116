"""Tunes the distillation: a study in two phases that any number of workers may share.

    python tune_hoser.py --data_dir /path/to/hoser_format          the whole study
    python tune_hoser.py --study_name NAME                         goes on where it stopped
    python tune_hoser.py --study_name NAME --n_trials 0            phase 2 alone

Phase 1 searches: trial 0 without a teacher, then distilled trials. Phase 2 trains the best
parameters and the vanilla baseline fully on several seeds. The parts are in `tuning/`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from config import Config
from config.arguments import add_config_arguments, config_from_arguments, example_parser
from runtime.errors import run_main
from runtime.logs import setup_logging
from train_with_distill import train

if TYPE_CHECKING:  # PyTorch and Optuna take seconds to load: not for `--help` or a mistake
    from training.resources import ResourcePool
    from tuning.plan import StudyPlan
    from tuning.report import StudyResult

__all__ = ["plan", "tune"]


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
    from tuning.program import run_study

    return run_study(config, train, pool, *_chosen(config, phase1, phase2))


def plan(
    config: Config,
    *,
    phase1: bool = True,
    phase2: bool = True,
) -> StudyPlan:
    """What `tune` would do, with an estimate of the time."""
    from tuning.program import planned

    return planned(config, train, *_chosen(config, phase1, phase2))


def _chosen(config: Config, phase1: bool, phase2: bool) -> tuple[bool, bool]:
    return phase1 and config.optuna.n_trials > 0, phase2 and config.optuna.final_run.enabled


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
