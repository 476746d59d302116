"""The project's programs as the tests start, kill and question them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any

from tests.programs import REPOSITORY, TIMEOUT_S, Program, environment, start


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
    """A program that has been started, and where its output goes."""

    program: Program
    stdout: Path
    stderr: Path
    count_file: Path
    copying: list[Thread]


class Programs:
    """Starts programs from the folder `scratch`, which also takes their output."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.kills = 0
        self._numbers = itertools.count()

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
        name = str(argv[0])
        program = [str(REPOSITORY / name)] if name.endswith(".py") else ["-m", name]
        stem = self.scratch / f"program{next(self._numbers)}"
        stdout, stderr, count_file = (stem.with_suffix(end) for end in (".out", ".err", ".events"))
        folder = cwd or self.scratch
        copying: list[Thread] = []
        with stdout.open("wb") as out, stderr.open("wb") as err:
            streams: list[IO[bytes]] = [out, err]
            if file_limit is not None:  # which holds for its own files, not for a pipe
                streams = [_through_pipe(path, copying) for path in (stdout, stderr)]
            started = start(
                [sys.executable, *program, *map(str, argv[1:])],
                folder,
                environment(NUMBA_NUM_THREADS="1"),
                *streams,
                before="tests.robustness.limits:impose",
                options={
                    "watch": str(watch or folder),
                    "count_file": str(count_file),
                    "kill_before": kill_before,
                    "file_limit": file_limit,
                    "memory_limit": memory_limit,
                    "encoding": encoding,
                },
            )
        if file_limit is not None:
            for stream in streams:
                stream.close()
        return Running(started, stdout, stderr, count_file, copying)

    def wait(self, running: Running, timeout_s: float = TIMEOUT_S) -> Ended:
        """Waits for the end; a program that hangs is killed and fails the test."""
        try:
            code = running.program.wait(timeout_s)
        except subprocess.TimeoutExpired:
            running.program.kill()
            running.program.wait(30.0)
            raise AssertionError(f"It hung: {_text(running.stderr)[-2000:]}") from None
        for thread in running.copying:
            thread.join(10.0)
        return Ended(
            code,
            _text(running.stdout),
            _text(running.stderr),
            int(_text(running.count_file) or 0),
            time.monotonic() - running.program.started,
        )

    def run(self, *argv: str | Path, timeout_s: float = TIMEOUT_S, **options: Any) -> Ended:
        """Runs a program to its end."""
        return self.wait(self.start(*argv, **options), timeout_s)

    def kill_after(self, seconds: float, *argv: str | Path, **options: Any) -> Ended:
        """Starts a program and kills it with everything it started, unless it is quicker."""
        running = self.start(*argv, **options)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.program.wait(seconds)
            return self.wait(running)
        running.program.kill()
        return self._count_kill(self.wait(running))

    def kill_before_file_event(self, number: int, *argv: str | Path, **options: Any) -> Ended:
        """Kills a program right before its n-th change of a file, if there is one."""
        return self._count_kill(self.run(*argv, kill_before=number, **options))

    def wait_until(self, running: Running, condition: Callable[[], bool]) -> None:
        """Waits for a sign of a program that runs on."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            code = running.program.poll()
            assert code is None, f"it ended early ({code}): {_text(running.stderr)[-2000:]}"
            assert time.monotonic() < deadline, "it did not get there in time"
            time.sleep(0.01)

    def stop(self, running: Running) -> Ended:
        """Kills a program that a test needs no longer."""
        running.program.kill()
        return self.wait(running)

    def _count_kill(self, ended: Ended) -> Ended:
        self.kills += ended.code == -signal.SIGKILL
        return ended


def _through_pipe(path: Path, copying: list[Thread]) -> IO[bytes]:
    """The end of a pipe to write to; a thread of ours carries what comes to a file."""
    reader, writer = os.pipe()

    def copy() -> None:
        with os.fdopen(reader, "rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)

    copying.append(Thread(target=copy, daemon=True))
    copying[-1].start()
    return os.fdopen(writer, "wb")


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
