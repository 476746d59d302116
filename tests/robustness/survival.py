"""What programs that are killed again and again must come to: what an undisturbed one does."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.robustness.programs import Ended, Programs, assert_succeeded, kill_at, moments

Command = Callable[[Path], list[str | Path]]  # the program's arguments for a working folder


@dataclass
class Survival:
    """A program with the folder it works in, its result, and how to prepare a fresh folder."""

    programs: Programs
    command: Command
    prepare: Callable[[Path], None]
    result: Callable[[Path], Any]
    root: Path
    is_over: Callable[[Path], bool] = lambda folder: False
    undisturbed_runs: int = 2  # the first may have compiled its loops, which takes long
    kills: int = 0
    undisturbed: Ended = field(init=False)
    expected: Any = field(init=False)
    _folders: int = 0

    def __post_init__(self) -> None:
        results = []
        for _ in range(self.undisturbed_runs):
            folder = self._fresh()
            self.undisturbed = self.programs.run(*self.command(folder), watch=folder, cwd=folder)
            assert_succeeded(self.undisturbed)
            results.append(self.result(folder))
        self.expected = results[0]
        assert results[-1] == self.expected

    def endure(self, kills: int, seed: int) -> None:
        """Kills the program until it was really killed `kills` times, and checks every ending.

        Where it comes through all the same, its result is checked and it begins anew.
        """
        folder = self._fresh()
        before = self.programs.kills
        for moment in moments(self.undisturbed, 4 * kills, seed):
            ended = kill_at(self.programs, moment, *self.command(folder), watch=folder, cwd=folder)
            if ended.code != -signal.SIGKILL:
                self._check(ended, folder)
                folder = self._fresh()
            elif self.is_over(folder):  # killed after its last change
                assert self.result(folder) == self.expected
                folder = self._fresh()
            if self.programs.kills - before == kills:
                break
        self._check(self.programs.run(*self.command(folder), cwd=folder), folder)
        self.kills = self.programs.kills - before
        assert self.kills >= kills // 2, f"only {self.kills} kills came in time"
        print(f"\n{self.kills} kills, {self._folders} folders")

    def _check(self, ended: Ended, folder: Path) -> None:
        assert_succeeded(ended)
        assert self.result(folder) == self.expected

    def _fresh(self) -> Path:
        self._folders += 1
        folder = self.root / f"work{self._folders}"
        folder.mkdir(parents=True)
        self.prepare(folder)
        return folder


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    """The files below a folder that match, byte for byte."""
    files = {file for pattern in patterns for file in folder.rglob(pattern) if file.is_file()}
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(files)}
