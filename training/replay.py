"""Replayed trips in a run: made when an epoch wants them, timed by the student as it stands then.

What an epoch learns from is written into the run's folder before its first step. A resumed run
reads it there, and so do the other processes: all see the same trips at the same times.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from config.schema import Config
from critics.distill_hook import DistillationManager
from critics.replay.making import ReplayMaker
from critics.replay.store import read_arrays, write_arrays
from critics.replay.times import predict_times
from critics.replay.trips import ReplayedTrips, join_trips
from hoser import HOSER
from runtime.distributed import Processes
from runtime.errors import UserError
from training.folder import RunFolder
from training.plan import EpochPlan
from training.resources import Resources


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
        key = {"epoch": epoch, "settings": self.settings.model_dump(mode="json", by_alias=True)}
        made = epoch // self.settings.refresh_epochs if self.settings.refresh_epochs else 0
        teachers = self.maker.teacher_drives(self.teacher.cache_dir, made)
        if self.processes.is_main and not steps_done:
            self._drive_students(epoch, made, model)
            self._use(teachers, self.students)
            self._predict_times(epoch, model)
            write_arrays(self.folder.replay, key, self._state())
        self.processes.barrier()
        if self.processes.is_main and not steps_done:
            return
        state = read_arrays(self.folder.replay, key)
        if state is None:
            raise UserError(
                f"{self.folder.replay} is missing or of another epoch, so this one cannot be "
                "continued exactly; start over with --fresh (the old run is moved aside)."
            )
        seconds = state.pop("seconds")
        self.students = ReplayedTrips(**state) if state else None
        self._use(teachers, self.students)
        assert self.plan.replayed is not None
        self.plan.replayed.seconds[:] = seconds

    def _drive_students(self, epoch: int, made: int, model: HOSER) -> None:
        """The student drives at the start, and again when its trips are to be refreshed."""
        if not self.maker.num_students:
            return
        every = self.settings.refresh_epochs
        if self.students is None and epoch:
            self.students = self._earlier_students(epoch)
        if self.students is None or (every and epoch % every == 0):
            model.eval()
            self.students = self.maker.student_drives(model, made)
            model.train()

    def _earlier_students(self, epoch: int) -> ReplayedTrips | None:
        """Those of the epoch before, where a run was resumed between two epochs."""
        settings = self.settings.model_dump(mode="json", by_alias=True)
        state = read_arrays(self.folder.replay, {"epoch": epoch - 1, "settings": settings})
        if state is None:
            return None
        del state["seconds"]
        return ReplayedTrips(**state)

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

    def _state(self) -> dict[str, Any]:
        """What another process needs beside the teacher's drives."""
        assert self.plan.replayed is not None
        state = {} if self.students is None else dict(vars(self.students))
        return {**state, "seconds": self.plan.replayed.seconds}
