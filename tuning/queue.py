"""Which trial a worker runs next, with any number of workers on one study.

Trials of dead workers are failed and tried again, interrupted ones are put back, and no more are
begun than planned. What a trial does is not known here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from runtime.logs import get_logger
from tuning.artifacts import TrialFolders
from tuning.liveness import OWNER, HeartbeatWatch, Owner
from tuning.records import WORKER_DIED, TrialRecord
from tuning.sampling import make_sampler
from tuning.study import TuningStudy

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

logger = get_logger("tune")


class TrialQueue:
    """Hands out the study's trials."""

    def __init__(self, study: TuningStudy, folders: TrialFolders) -> None:
        self.study = study
        self.folders = folders
        self.settings = study.config.optuna
        self.owner = Owner.this_process()
        self.watch = HeartbeatWatch(self.settings.heartbeat_interval)

    def claim(self) -> Trial | None:
        """A trial of this worker's own; None when every planned trial is begun."""
        with self.study.lock():
            self._bury_the_dead()
            records = self.study.records()
            waiting = any(record.state == "waiting" for record in records)
            if not waiting and num_planned(records) >= self.settings.n_trials:
                return None
            trial = self._begin_next()
            place = planned_place(trial.number, self.study.records())
            if "seed" not in trial.user_attrs:
                trial.set_user_attr("seed", self.settings.base_seed + place)
        # Parameters are drawn on first use, by a sampler that is seeded for the trial's place:
        # a second try, and every trial after it, is what it would have been without a failure.
        sampler = make_sampler(self.settings, self.study.space, place)
        self.study.optuna.sampler = sampler
        return trial

    def _begin_next(self) -> Trial:
        """Begins the next waiting trial, or a new one.

        It is signed while it still waits, so that there is no moment at which it runs unsigned: a
        worker killed then could not be told from one on another machine.
        """
        from optuna.trial import TrialState, create_trial

        signature = self.owner.attributes()
        waiting = self.study.optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if waiting:
            self._sign(waiting[0]._trial_id, signature)
        else:
            new = create_trial(state=TrialState.WAITING, user_attrs=signature)
            self.study.optuna.add_trial(new)
        trial = self.study.optuna.ask()
        if trial.user_attrs.get(OWNER) != signature[OWNER]:  # a worker without our lock was faster
            self._sign(trial._trial_id, signature)
        return trial

    def _sign(self, trial_id: int, signature: dict[str, Any]) -> None:
        for name, value in signature.items():
            self.study.storage.set_trial_user_attr(trial_id, name, value)

    def others_running(self) -> bool:
        """Whether trials of living workers are under way."""
        with self.study.lock():
            self._bury_the_dead()
        return any(record.state in ("running", "waiting") for record in self.study.records())

    def put_back(self, trial: Trial) -> None:
        """Leaves an interrupted trial to the next worker that asks; its folder stays."""
        from optuna.trial import TrialState

        self.study.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def _bury_the_dead(self) -> None:
        """Fails the trials of dead workers, and sees to it that each has its second try."""
        from optuna.trial import TrialState

        for trial in self.study.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self.watch.is_dead(trial._trial_id, trial.user_attrs):
                self._fail(trial)
        trials = self.study.optuna.get_trials(deepcopy=False)
        tried_again = {trial.user_attrs.get("retry_of") for trial in trials}
        for trial in trials:
            died = trial.user_attrs.get("failure", "").startswith(WORKER_DIED)
            if trial.state == TrialState.FAIL and died and trial.number not in tried_again:
                self._retry(trial)

    def _fail(self, trial: FrozenTrial) -> None:
        from optuna.exceptions import OptunaError
        from optuna.trial import TrialState

        record = TrialRecord.of(trial, self.settings.base_seed)
        owner = Owner.of(trial.user_attrs)
        who = f" (process {owner.pid} on {owner.host})" if owner else ""
        storage = self.study.storage
        # Another worker without our lock, on another machine, may be doing the same.
        with contextlib.suppress(OptunaError, RuntimeError, ValueError):
            storage.set_trial_user_attr(trial._trial_id, "failure", f"{WORKER_DIED}{who}")
            folder = self.folders.finish(record.number, record.mode, "failed")
            storage.set_trial_user_attr(trial._trial_id, "folder", str(folder.path))
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            logger.warning("Trial %d failed: its worker%s died.", trial.number, who)

    def _retry(self, trial: FrozenTrial) -> None:
        """Queues the same trial again: same parameters, same seed, its epochs kept."""
        from optuna.trial import TrialState, create_trial

        record = TrialRecord.of(trial, self.settings.base_seed)
        if record.retries >= self.settings.max_retries:
            return
        place = planned_place(trial.number, self.study.records())
        attributes = {
            "mode": record.mode,
            "seed": trial.user_attrs.get("seed", self.settings.base_seed + place),
            "retry_of": record.number,
            "retries": record.retries + 1,
            "wall_seconds": record.wall_seconds,
        }
        self.study.optuna.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
                intermediate_values=trial.intermediate_values,
            )
        )
        logger.info("Trial %d will be tried again.", record.number)


def num_planned(records: list[TrialRecord]) -> int:
    """How many of the planned trials are begun; a second try takes the place of the first."""
    return sum(record.retry_of is None for record in records)


def planned_place(number: int, records: list[TrialRecord]) -> int:
    """Which of the planned trials a trial is; a second try is the one it repeats."""
    retry_of = {record.number: record.retry_of for record in records}
    first = number
    while (earlier := retry_of.get(first)) is not None:
        first = earlier
    return sum(retry is None and other < first for other, retry in retry_of.items())
