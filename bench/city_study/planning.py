"""All steps of a study in the order in which they are done: the first seed's first.

So a study that is stopped early has something of everything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from baselines.generators import BASELINES
from bench.city_study import driving, questions, teaching, uses
from bench.city_study.settings import (
    FOLLOWED,
    LONG,
    PLAIN,
    REALISTIC,
    SEARCHES,
    TAUGHT,
    VANILLA,
    StudySettings,
)
from bench.city_study.steps import Cost, Outcome, Step
from bench.city_study.study import TEACHER, Study
from bench.gain_replay import DEFAULTS, REPLAYED_TRIPS, ways_to_teach
from bench.students import Run, size_name
from runtime.files import sha256_of_file, sha256_of_json
from search.searches import identity_of

QUESTIONS = "questions"
# Seconds a trip shown, driven or scored: San Francisco, two cores, one thread.
_TAUGHT, _VANILLA, _PLAIN, _LONG = 0.022, 0.011, 0.13, 0.05
_DRIVEN = {
    "best_first": 0.05,
    "directed": 0.05,
    "directed_by_time": 0.05,
    "fitted": 0.05,
    "beam_16": 0.03,
    "drawn": 0.02,
    "drawn_fitted": 0.02,
}
_TEACHER, _YARDSTICK, _LEAKAGE, _SCORES = 0.004, 0.01, 0.01, 0.2


class Plan:
    """The steps of a study, as its city and settings ask for them."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.settings: StudySettings = study.settings
        self.city = study.identity

    def steps(self) -> list[Step]:
        """All of them, what is needed before what needs it."""
        settings = self.settings
        first = [self._questions(), self._teacher(), *map(self._yardstick, BASELINES)]
        seeds: list[Step] = []
        for seed in range(settings.seeds):
            for size in settings.sizes:
                runs = [run for run in self.runs(size) if run.seed == seed]
                seeds += map(self._student, runs)
                seeds += [self._drives(run, s) for run in runs for s in settings.searches]
                if seed == 0:
                    seeds += self._uses(runs)
        return [*first, *seeds, *(self._scores(size) for size in settings.sizes)]

    def runs(self, size: int | None) -> list[Run]:
        """All students of a size."""
        settings = self.settings
        num_trips = self.study.num_trips(size)
        first, *further = map(str, self.study.teacher_files)
        taught = {"ckpt": first, "further_ckpts": further, "window": "full", **DEFAULTS}
        ways = ways_to_teach(taught, REPLAYED_TRIPS * num_trips)
        epochs = settings.epochs(num_trips)
        return [
            Run(kind, size, seed, epochs, ways.get(kind, {}))
            for kind in settings.kinds
            for seed in range(settings.plain_seeds if kind == PLAIN else settings.seeds)
        ]

    def _step(
        self,
        name: str,
        cost: Cost,
        do: Callable[[Path, bool], Outcome],
        needs: tuple[str, ...] = (),
        **inputs: Any,
    ) -> Step:
        return Step(name, cost, do, {"city": self.city, **inputs}, needs)

    def _questions(self) -> Step:
        study = self.study
        sizes = sorted({study.num_trips(size) for size in (*self.settings.sizes, None)})

        def answer(folder: Path, resumed: bool) -> Outcome:
            train, val, test = (study.trips(split) for split in ("train", "val", "test"))
            easy = questions.how_easy(study.network, train, val, test, sizes)
            return Outcome(
                {"easy": easy, "matching": questions.matching(study.network, train, test)}
            )

        cost = Cost("questions", study.num_train, 0.001)
        return self._step(QUESTIONS, cost, answer, sizes=sizes, code=_code_of(questions))

    def _teacher(self) -> Step:
        settings, given = self.settings, self.settings.teacher
        epochs = 0 if given else settings.teacher_epochs
        work = self.study.num_train * (epochs + 0.5) * len(self.study.teacher_files)
        return self._step(
            TEACHER,
            Cost("teacher", work, _TEACHER),
            partial(teaching.make_teacher, self.study),
            epochs=epochs,
            teachers=len(self.study.teacher_files),
            given=[sha256_of_file(file) for file in given],
        )

    def _student(self, run: Run) -> Step:
        kind, rate = "vanilla", _VANILLA
        needs: tuple[str, ...] = ()
        if run.variant in TAUGHT:
            kind, rate, needs = run.variant, _TAUGHT, (TEACHER,)
        elif run.variant in (PLAIN, LONG):
            kind, rate = run.variant, _PLAIN if run.variant == PLAIN else _LONG
        if run.variant == LONG:
            needs = (self._trained(run, VANILLA),)
        trips = run.epochs * self.study.num_trips(run.size)
        config = self.study.place.config(run).model_dump(mode="json", by_alias=True)
        for place in ("data_dir", "save_dir"):
            del config[place]
        # What they hold is `needs`' business, not where they lie.
        config["distill"]["ckpt"], config["distill"]["further_ckpts"] = None, []
        return self._step(
            self.study.step_of(run),
            Cost(kind, trips, rate),
            partial(teaching.train_student, self.study, run),
            needs,
            config=sha256_of_json(config),
            kind=run.variant,
        )

    def _trained(self, run: Run, kind: str) -> str:
        (other,) = [
            each for each in self.runs(run.size) if each.variant == kind and each.seed == run.seed
        ]
        return self.study.step_of(other)

    def _drives(self, run: Run, search: str) -> Step:
        count = self.settings.num_generated
        return self._step(
            drives_name(run, search),
            Cost(f"drive, {search}", count, _DRIVEN[search]),
            partial(driving.drive_student, self.study, run, search),
            (self.study.step_of(run),),
            trips=count,
            search=identity_of(SEARCHES[search]),
            measured_by=self.study.measured_by,
        )

    def _yardstick(self, name: Any) -> Step:
        count = self.settings.num_generated
        return self._step(
            yardstick_name(name),
            Cost("yardstick", count, _YARDSTICK),
            partial(driving.drive_yardstick, self.study, name),
            trips=count,
            measured_by=self.study.measured_by,
        )

    def _uses(self, runs: list[Run]) -> list[Step]:
        """Leaks of the trips of some students, and of what use those of the largest size are."""
        steps = []
        for run in runs:
            if run.variant not in FOLLOWED or REALISTIC not in self.settings.searches:
                continue
            driven = drives_name(run, REALISTIC)
            trips = self.study.diary.place(driven) / driving.TRIPS
            needs = (self.study.step_of(run), driven)
            leaks = partial(uses.leakage, self.study, run, trips)
            cost = Cost("leakage", self.study.num_train, _LEAKAGE)
            steps.append(self._step(f"leakage/{run.name}", cost, leaks, needs))
            if run.size == self.settings.sizes[-1]:
                use = partial(uses.utility, self.study, run, trips)
                cost = Cost("utility", 3 * self.settings.trips_seen, _VANILLA)
                steps.append(self._step(f"utility/{run.name}", cost, use, needs))
        return steps

    def _scores(self, size: int | None) -> Step:
        students: uses.Seeds = {}
        for run in self.runs(size):
            if run.variant in FOLLOWED:
                students.setdefault(run.variant, []).append(run)
        needs = [self.study.step_of(run) for runs in students.values() for run in runs]
        work = self.settings.scored_trips * (1 + len(needs))
        return self._step(
            f"scores/{size_name(size)}",
            Cost("scores", work, _SCORES),
            partial(uses.scores, self.study, students),
            (TEACHER, *needs),
            trips=self.settings.scored_trips,
        )


def drives_name(run: Run, search: str) -> str:
    """The step of a student's trips."""
    return f"trips/{search}/{run.name}"


def yardstick_name(name: str) -> str:
    """The step of a yardstick's trips."""
    return f"trips/yardsticks/{name}"


def _code_of(module: Any) -> str:
    """The answers are of this very code, which is quickly run again."""
    return sha256_of_file(module.__file__)
