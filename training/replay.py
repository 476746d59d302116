"""Replayed trips in a run: made when an epoch wants them, timed by the student as it stands then.

What an epoch learns from is written into the run's folder before its first step. A resumed run
reads it there, and so do the other processes: all see the same trips at the same times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.schema import Config
from critics.distill_hook import DistillationManager
from critics.replay.making import ReplayMaker
from critics.replay.store import Arrays, read_arrays, write_arrays
from critics.replay.times import predict_times
from critics.replay.trips import ReplayedTrips, join_trips
from data.turn_counts import edge_counts
from hoser import HOSER
from runtime.distributed import Processes
from runtime.errors import UserError
from training.folder import RunFolder
from training.plan import EpochPlan
from training.resources import Resources

# What a drive is worth to the counts of turns, beside a trip: the likeliest on validation trips of
# students of 1,500 and 8,000 trips of a demo city, and of 3,000 of San Francisco.
A_DRIVE = 0.1


class Replay:
    """Keeps the plan's and the teacher's replayed trips up to date."""

    def __init__(
        self,
        config: Config,
        resources: Resources,
        teacher: DistillationManager,
        plan: EpochPlan,
        folder: RunFolder,
        processes: Processes,
    ) -> None:
        self.settings = config.distill.replay
        self.only_measures = config.profiling.max_batches is not None
        self.batch_size = config.optimizer_config.batch_size
        self.train = resources.train
        self.teacher = teacher
        self.plan = plan
        self.folder = folder
        self.processes = processes
        self.maker = ReplayMaker(
            self.settings,
            resources.train,
            teacher.teacher,
            config.training.seed,
            config.optimizer_config.max_epoch,
        )
        self.students: ReplayedTrips | None = None

    def begin_epoch(self, epoch: int, steps_done: int, model: HOSER) -> None:
        """Makes this epoch's replayed trips, or reads them where the epoch had begun before."""
        makes = self.processes.is_main and not steps_done
        if makes and not self._resumed_between_epochs(epoch):
            self._make(epoch, model)
        if self.only_measures and not steps_done:
            self._hand_out(epoch)
            return
        self.processes.barrier()
        if not makes and not self._read(epoch):
            raise UserError(
                f"{self.folder.replay} is missing or of another epoch, so this one cannot be "
                "continued exactly; start over with --fresh (the old run is moved aside)."
            )

    def turn_counts(self, epoch: int) -> NDArray[np.float64] | None:
        """How often the student's own trips and the teacher's drives take each edge. [E]

        None where only students drive: what they do shows what they believe already.
        """
        drives, train = self._teachers(epoch), self.train
        if drives is None:
            return None
        offsets = np.concatenate([[0], np.cumsum(drives.lengths, dtype=np.int64)])
        own = edge_counts(train.network, train.road_ids, train.offsets)
        return own + A_DRIVE * edge_counts(train.network, drives.road_ids, offsets)

    def _make(self, epoch: int, model: HOSER) -> None:
        self._drive_students(epoch, model)
        self._use(self._teachers(epoch), self.students)
        self._predict_times(epoch, model)
        if not self.only_measures:  # a run that was interrupted here goes on from its own file
            write_arrays(self.folder.replay, self._key(epoch), self._state())

    def _hand_out(self, epoch: int) -> None:
        """The other processes have the main one's trips, of which there is no file."""
        state = self.processes.broadcast(self._state() if self.processes.is_main else None)
        if not self.processes.is_main:
            self._take(epoch, state)

    def _resumed_between_epochs(self, epoch: int) -> bool:
        """Takes up what a run that was resumed here had; whether that is all the epoch needs.

        It had written this epoch's trips, or else those of the epoch before, from which it goes on.
        """
        if not epoch or self.plan.replayed is not None:
            return False
        if self._read(epoch):
            return True
        self._read(epoch - 1)
        return False

    def _read(self, epoch: int) -> bool:
        """Takes an epoch's trips and their times from the run's folder, where they are there."""
        state = read_arrays(self.folder.replay, self._key(epoch))
        if state is None:
            return False
        self._take(epoch, state)
        return True

    def _take(self, epoch: int, state: Arrays) -> None:
        seconds = state.pop("seconds")
        self.students = ReplayedTrips(**state) if state else None
        self._use(self._teachers(epoch), self.students)
        assert self.plan.replayed is not None
        self.plan.replayed.seconds[:] = seconds

    def _key(self, epoch: int) -> dict[str, Any]:
        settings = self.settings.model_dump(mode="json", by_alias=True)
        return {"epoch": epoch, "settings": settings, **self.maker.version}

    def _refreshes(self, epoch: int) -> int:
        """How often all has been driven anew by then."""
        return epoch // self.settings.refresh_epochs if self.settings.refresh_epochs else 0

    def _teachers(self, epoch: int) -> ReplayedTrips | None:
        return self.maker.teacher_drives(self.teacher.cache_dir, self._refreshes(epoch))

    def _drive_students(self, epoch: int, model: HOSER) -> None:
        """The student drives at the start, and again when its trips are to be refreshed."""
        every = self.settings.refresh_epochs
        if not self.maker.num_students:
            return
        if self.students is None or (every and epoch % every == 0):
            model.eval()
            self.students = self.maker.student_drives(model, self._refreshes(epoch))
            model.train()

    def _use(self, *parts: ReplayedTrips | None) -> None:
        trips = join_trips([part for part in parts if part is not None])
        dataset = trips.dataset(self.train)
        before = self.plan.replayed
        if before is not None and np.array_equal(before.road_ids, dataset.road_ids):
            dataset.seconds[:] = before.seconds  # what the student predicted last
        self.plan.replayed = dataset
        self.teacher.attach_answers(dataset, trips.answers(dataset, self.teacher.device))

    def _predict_times(self, epoch: int, model: HOSER) -> None:
        dataset = self.plan.replayed
        if dataset is not None and len(dataset):
            trips = np.unique(self.plan.replayed_trips(epoch, len(dataset)))
            predict_times(model, dataset, trips, self.batch_size)

    def _state(self) -> Arrays:
        """What another process needs beside the teacher's drives."""
        assert self.plan.replayed is not None
        state = {} if self.students is None else dict(vars(self.students))
        return {**state, "seconds": self.plan.replayed.seconds}
