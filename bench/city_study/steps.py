"""Steps of a study that takes many hours: each is done once, whatever kills the process.

A step's record holds the key of what went in (its settings and the results it needs) and the
checksums of what came out. One that was begun goes on where it can; one whose inputs have changed
is done anew.
"""

from __future__ import annotations

import shutil
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.ledger import Entry
from runtime.files import FolderInUse, FolderLock, read_json, sha256_of_json, write_json

RESULT, RECORD = "result.json", "step.json"
_OF_THE_WORK = ("seconds", "resumed", "training_seconds")  # and not of what came out
POLL_S = 2.0


class StudyStopped(Exception):
    """A signal ended a step; started again, the study goes on there."""


@dataclass(frozen=True)
class Outcome:
    """What a step found: plain figures, the files to keep, and the folders to remove."""

    figures: dict[str, Any]
    files: tuple[Path, ...] = ()
    leftovers: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Step:
    """`do(folder, resumed)` leaves its files in `folder`, which is empty unless it is resumed."""

    name: str
    cost: Cost
    do: Callable[[Path, bool], Outcome]
    inputs: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """How much of which kind of work: what a step that is not done will take is guessed from it."""

    kind: str
    work: float
    seconds_each: float  # as measured once on San Francisco and two cores, to plan with


class Diary:
    """The folder in which every step has a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, name: str) -> Path:
        """Where a step's files lie."""
        return self.folder / name

    def result(self, name: str) -> dict[str, Any]:
        """The figures of a step that is done."""
        return dict(read_json(self.place(name) / RESULT))

    def entry(self, step: Step) -> Entry:
        """A step's record, with what it depends on now."""
        needs = {name: self._digest(name) for name in step.needs}
        return Entry(self.place(step.name) / RECORD, {**step.inputs, "needs": needs})

    def _digest(self, name: str) -> str:
        """What a step found and left: the same where it was only done once more."""
        folder = self.place(name)
        if not (folder / RESULT).exists():
            return "not there"
        found = {key: value for key, value in self.result(name).items() if key not in _OF_THE_WORK}
        outputs = dict(read_json(folder / RECORD)["outputs"])
        outputs.pop(RESULT, None)
        return sha256_of_json([found, outputs])

    def done(self, steps: Iterable[Step]) -> list[Step]:
        """Those of the steps that need not be done again."""
        return [step for step in steps if self.entry(step).is_done()]


@dataclass(frozen=True)
class Forecast:
    """What the steps have taken, or will probably take. Seconds, by step."""

    done: dict[str, float]
    missing: dict[str, float]

    @classmethod
    def of(cls, diary: Diary, steps: Sequence[Step]) -> Forecast:
        """Steps that are done say how long others of their kind will take."""
        finished = diary.done(steps)
        done = {step.name: float(diary.result(step.name)["seconds"]) for step in finished}
        rates: dict[str, list[float]] = {}
        for step in finished:
            if not diary.result(step.name)["resumed"]:
                rates.setdefault(step.cost.kind, []).append(done[step.name] / step.cost.work)
        missing = {}
        for step in steps:
            known = rates.get(step.cost.kind, [step.cost.seconds_each])
            if step.name not in done:
                missing[step.name] = step.cost.work * statistics.median(known)
        return cls(done, missing)


def carry_out(diary: Diary, steps: Sequence[Step]) -> list[str]:
    """Does what is not done; a step that fails does not stop those that do not need it.

    Several processes may do the steps of one diary: each takes what nobody else is at, and waits
    where it needs what another one is making. Returns the names of the steps that failed.
    """
    failed: list[str] = []
    left = dict(enumerate(steps, 1))
    while left:
        names = {step.name for step in left.values()}
        for number, step in left.items():
            where = f"[{number}/{len(steps)}] {step.name}"
            if not names & set(step.needs) and _settle(diary, step, where, failed):
                del left[number]
                break
        else:
            time.sleep(POLL_S)
    return failed


def _settle(diary: Diary, step: Step, where: str, failed: list[str]) -> bool:
    """Does a step unless it is done; False where another process is at it."""
    if set(step.needs) & set(failed):
        print(f"{where}: left out, since what it needs has failed", flush=True)
        failed.append(step.name)
        return True
    try:
        with FolderLock(diary.folder, name=f".{step.name.replace('/', '-')}.lock"):
            entry = diary.entry(step)
            if not entry.is_done():
                seconds = _do(diary, step, entry)
                print(f"{where}: {seconds:.0f} s", flush=True)
    except FolderInUse:
        return False
    except StudyStopped:
        raise
    except Exception as error:
        traceback.print_exc()
        print(f"{where}: failed: {error}", flush=True)
        failed.append(step.name)
    return True


def _do(diary: Diary, step: Step, entry: Entry) -> float:
    """Does one step, and says how long it took."""
    folder = diary.place(step.name)
    resumed = entry.was_begun()
    if folder.exists() and not resumed:
        shutil.rmtree(folder)
    entry.begin()
    started = time.perf_counter()
    outcome = step.do(folder, resumed)
    measured = time.perf_counter() - started
    write_json(folder / RESULT, {**outcome.figures, "seconds": measured, "resumed": resumed})
    entry.finish([folder / RESULT, *outcome.files])
    for leftover in outcome.leftovers:
        shutil.rmtree(leftover, ignore_errors=True)
    return measured
