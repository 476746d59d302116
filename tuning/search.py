"""Phase 1: one trial after the other until all planned ones are over, whoever ran them."""

from __future__ import annotations

from collections.abc import Callable

from runtime.errors import UserError
from runtime.logs import get_logger
from tuning.pauses import Pauses
from tuning.queue import TrialQueue
from tuning.study import TuningStudy
from tuning.trials import Interruption, TrialRunner

logger = get_logger("tune")


def run_search(
    queue: TrialQueue,
    runner: TrialRunner,
    stopping: Callable[[], bool],
    on_trial_end: Callable[[], None],
) -> int | None:
    """Runs trials until none is left; the exit code of a signal that ended it, else None."""
    waiting, pauses = False, Pauses()
    while not stopping():
        trial = queue.claim()
        if trial is not None:
            ending = runner.run(trial)
            on_trial_end()
            if isinstance(ending, Interruption):
                return ending.exit_code
        elif not queue.others_running():
            return None
        else:
            if not waiting:
                logger.info("All trials are begun; waiting for those of other workers.")
            waiting = True
            pauses.take()
    return None


def check_any_succeeded(study: TuningStudy) -> None:
    """A study without a single trial to show is an error that says why."""
    records = study.records()
    if not records:
        raise UserError(
            f"The study {study.name!r} in {study.address.shown} has no trials yet; run phase 1 "
            "first (--n_trials above 0, no --skip-phase1)."
        )
    if all(record.state == "failed" for record in records):
        raise UserError(
            f"All {len(records)} trials failed; trial {records[0].number}: "
            f"{records[0].failure or 'for an unknown reason'} More are tried with a larger "
            "--n_trials."
        )
