"""The project's programs as the tests start, kill and question them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.training_helpers import REPOSITORY, environment

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Ended:
    """How a program ended; a negative code is the signal that killed it."""

    code: int
    stdout: str
    stderr: str
    file_events: int
    seconds: float

    @property
    def error_line(self) -> str:
        """The one line a user's mistake ends with."""
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class Running:
    """A program that has been started."""

    pid: int
    stdout: Path
    stderr: Path
    started: float
    piped: bool


class Programs:
    """Starts programs from the folder `scratch`, which also takes their output."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.kills = 0
        self._numbers = itertools.count()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.robustness.server"],
            cwd=REPOSITORY,
            env=environment(NUMBA_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def close(self) -> None:
        """Ends the server."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=30)

    def start(
        self,
        *argv: str | Path,
        cwd: Path | None = None,
        watch: Path | None = None,
        kill_before: int | None = None,
        file_limit: int | None = None,
        memory_limit: int | None = None,
        encoding: str | None = None,
    ) -> Running:
        """Starts a script (`gene.py`) or a module (`tools.train_lmtad`) with arguments.

        `kill_before` kills it right before its n-th change of a file below `watch`; `file_limit`
        is the size in bytes that no file may exceed, as on a full disk; `memory_limit` is how
        many bytes it may allocate; `encoding` is that of its screen.
        """
        program = str(argv[0])
        path = str(REPOSITORY / program) if program.endswith(".py") else program
        stem = self.scratch / f"program{next(self._numbers)}"
        stdout, stderr = stem.with_suffix(".out"), stem.with_suffix(".err")
        pid = self._ask(
            argv=[path, *map(str, argv[1:])],
            cwd=str(cwd or self.scratch),
            stdout=str(stdout),
            stderr=str(stderr),
            watch=str(watch) if watch else None,
            kill_before=kill_before,
            file_limit=file_limit,
            memory_limit=memory_limit,
            encoding=encoding,
        )
        return Running(pid, stdout, stderr, time.monotonic(), file_limit is not None)

    def wait(self, running: Running, timeout_s: float = TIMEOUT_S) -> Ended:
        """Waits for the end; a program that hangs is killed and fails the test."""
        code = self._ask(wait=running.pid, timeout_s=timeout_s)
        if code is None:
            self._kill(running)
            self._ask(wait=running.pid, timeout_s=30.0)
            raise AssertionError(f"It hung: {running.stderr.read_text()[-2000:]}")
        if running.piped:
            self._wait_for_output(running)
        events = Path(f"{running.stdout}.events")
        return Ended(
            code,
            _text(running.stdout),
            _text(running.stderr),
            int(events.read_text()) if events.exists() else 0,
            time.monotonic() - running.started,
        )

    def _wait_for_output(self, running: Running) -> None:
        deadline = time.monotonic() + 10.0
        while not Path(f"{running.stderr}.whole").exists() and time.monotonic() < deadline:
            time.sleep(0.002)

    def run(self, *argv: str | Path, timeout_s: float = TIMEOUT_S, **options: Any) -> Ended:
        """Runs a program to its end."""
        return self.wait(self.start(*argv, **options), timeout_s)

    def kill_after(self, seconds: float, *argv: str | Path, **options: Any) -> Ended:
        """Starts a program and kills it with everything it started, unless it is quicker."""
        running = self.start(*argv, **options)
        code = self._ask(wait=running.pid, timeout_s=seconds)
        if code is not None:
            return Ended(code, _text(running.stdout), _text(running.stderr), 0, seconds)
        self._kill(running)
        return self._count_kill(self.wait(running))

    def kill_before_file_event(self, number: int, *argv: str | Path, **options: Any) -> Ended:
        """Kills a program right before its n-th change of a file, if there is one."""
        return self._count_kill(self.run(*argv, kill_before=number, **options))

    def wait_until(self, running: Running, condition: Callable[[], bool]) -> None:
        """Waits for a sign of a program that runs on."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            code = self._ask(wait=running.pid, timeout_s=0.01)
            assert code is None, f"it ended early ({code}): {_text(running.stderr)[-2000:]}"
            assert time.monotonic() < deadline, "it did not get there in time"

    def stop(self, running: Running) -> Ended:
        """Kills a program that a test needs no longer."""
        self._kill(running)
        return self.wait(running)

    def _count_kill(self, ended: Ended) -> Ended:
        self.kills += ended.code == -signal.SIGKILL
        return ended

    def _kill(self, running: Running) -> None:
        for attempt in (os.killpg, os.kill):  # the group exists as soon as the child has begun
            with contextlib.suppress(ProcessLookupError):
                attempt(running.pid, signal.SIGKILL)

    def _ask(self, **request: Any) -> Any:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server of programs has died"
        return json.loads(line)


def moments(ended: Ended, count: int, seed: int) -> Iterator[tuple[str, float]]:
    """`count` moments to kill a program at that took `ended` undisturbed.

    By turns a time drawn from its duration, and a number of one of its changes of files.
    """
    draw = random.Random(seed)
    for number in range(count):
        if number % 2:
            yield "time", draw.uniform(0.0, ended.seconds)
        else:
            yield "event", draw.randint(1, max(1, ended.file_events))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def kill_at(
    programs: Programs, moment: tuple[str, float], *argv: str | Path, **options: Any
) -> Ended:
    """Kills a program at one of `moments`."""
    kind, value = moment
    if kind == "time":
        return programs.kill_after(value, *argv, **options)
    return programs.kill_before_file_event(int(value), *argv, **options)


def assert_refused(ended: Ended, *named: str) -> None:
    """One line on standard error that names what is wrong, and exit code 2."""
    assert "Traceback" not in ended.stderr, ended.stderr[-3000:]
    assert ended.code == 2, (ended.code, ended.stderr[-3000:])
    assert ended.error_line.startswith("error: "), ended.stderr[-3000:]
    for text in named:
        assert text in ended.error_line, ended.error_line


def assert_succeeded(ended: Ended) -> None:
    """Exit code 0 and no traceback on the way."""
    assert ended.code == 0, (ended.code, ended.stderr[-3000:])
    assert "Traceback" not in ended.stderr, ended.stderr[-3000:]
