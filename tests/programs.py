"""Programs as processes, started in milliseconds by a server of forks.

`run` and `start` take a command as `subprocess` does. One whose environment says something that a
library or the interpreter reads while it is loaded is started for real.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import multiprocessing
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tests.program_client import ADDRESS, send_request
from tests.program_server import REPOSITORY

TIMEOUT_S = 120.0
READ_AT_START = ("PYTHON", "LC_", "LANG", "OMP_", "MKL_", "NUMBA_", "TORCH", "LD_")


def environment(**extra: str) -> dict[str, str]:
    """The environment of a child process: one thread, our modules, no tracking accounts."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "COV"))}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **extra}


def install_python(folder: Path, address: str) -> Path:
    """Puts a `python` into `folder` which has the server start what it is given."""
    folder.mkdir(exist_ok=True)
    client = f'"{sys.executable}" -S -E "{REPOSITORY / "tests" / "program_client.py"}"'
    for name in ("python3", "python"):
        (folder / name).write_text(f'#!/bin/sh\nexport {ADDRESS}="{address}"\nexec {client} "$@"\n')
        (folder / name).chmod(0o755)
    return folder / "python"


class ProgramServer:
    """The process that forks, for as long as this one lives; see `tests.program_server`.

    The modules that it has imported are those of the folder `project`.
    """

    def __init__(self, project: Path = REPOSITORY) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="programs"))
        self.address = str(self.folder / "socket")
        self.python = install_python(self.folder, self.address)
        self.environment = environment(NUMBA_NUM_THREADS="1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.program_server", self.address],
            cwd=project,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._is_ready = False

    def wait_until_ready(self) -> None:
        if not self._is_ready:
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"ready\n", "the server did not start"
            self._is_ready = True

    def connect(self) -> socket.socket:
        self.wait_until_ready()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.address)
        return connection

    def close(self) -> None:
        """Ends it, with the programs that still run."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30.0)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def forked_workers() -> Iterator[None]:
    """Processes that `multiprocessing` spawns in this process are the server's forks meanwhile."""
    server().wait_until_ready()
    multiprocessing.set_executable(str(server().python))
    try:
        yield
    finally:
        multiprocessing.set_executable(sys.executable)


@functools.cache
def server() -> ProgramServer:
    """The server of this process; it ends when this process does."""
    made = ProgramServer()
    atexit.register(made.close)
    return made


class Program:
    """A program that was started; as much of `subprocess.Popen` as tests need."""

    def __init__(self, connection: socket.socket, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.returncode: int | None = None
        self.started = time.monotonic()
        self._connection, self._stdout, self._stderr = connection, stdout, stderr
        self._unread = b""
        self.pid: int = self._answer(30.0)["pid"]

    def poll(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = int(self._answer(timeout)["code"])
            self._connection.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end; what it wrote."""
        self.wait(timeout)
        texts = []
        for stream in (self._stdout, self._stderr):
            stream.seek(0)
            texts.append(stream.read().decode())
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it with everything that it started."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _answer(self, timeout: float | None) -> dict[str, int]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._unread:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._connection], [], [], left)[0]:
                raise subprocess.TimeoutExpired("the program", timeout or 0.0)
            received = self._connection.recv(4096)
            assert received, "the server of programs has died"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, int] = json.loads(line)
        return answer


def start(
    command: list[str],
    cwd: str | Path,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    **more: Any,
) -> Program:
    """Starts `[python, FILE.py | -m MODULE | -c CODE, …]`; its output goes to files.

    `before` names a function `module:name` which the program's process calls with `options` before
    it begins.
    """
    streams = [given or tempfile.TemporaryFile() for given in (stdout, stderr)]  # noqa: SIM115
    given = dict(env) if env is not None else environment()
    with Path(os.devnull).open("rb") as nothing:
        connection = server().connect()
        numbers = [nothing.fileno(), *(stream.fileno() for stream in streams)]
        send_request(connection, numbers, command[1:], cwd=str(cwd), env=given, **more)
    return Program(connection, *streams)


def run(
    command: list[str],
    cwd: str | Path,
    timeout: float = TIMEOUT_S,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, as `subprocess.run` with captured text."""
    given = dict(env) if env is not None else environment()
    if must_be_real(command, given):
        return run_for_real(command, cwd, timeout, given)
    program = start(command, cwd, given)
    try:
        stdout, stderr = program.communicate(timeout)
    except subprocess.TimeoutExpired:
        program.kill()
        raise
    return subprocess.CompletedProcess(command, program.wait(), stdout, stderr)


def run_for_real(
    command: list[str],
    cwd: str | Path,
    timeout: float = TIMEOUT_S,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end as an interpreter of its own, for what is about the start."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=dict(env) if env is not None else environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def call(
    function: Callable[..., None], *arguments: str | int | float | Path, **env: str
) -> Program:
    """Starts a module's function in a process of its own."""
    words = [f"Path({str(a)!r})" if isinstance(a, Path) else repr(a) for a in arguments]
    module, name = function.__module__, function.__qualname__
    code = f"from pathlib import Path\nfrom {module} import {name}\n{name}({', '.join(words)})"
    return start([sys.executable, "-c", code], REPOSITORY, environment(**env))


def rank_environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """What `torchrun` tells each of its processes."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def must_be_real(command: list[str], env: Mapping[str, str]) -> bool:
    """Whether a fork could not be this program: its environment has an effect at the start."""
    usual = server().environment
    changed = {name for name in {*env, *usual} if env.get(name) != usual.get(name)}
    changed -= {"NUMBA_NUM_THREADS", "TORCHINDUCTOR_CACHE_DIR"}  # no start depends on these
    is_launcher = command[1:3] == ["-m", "torch.distributed.run"]
    return is_launcher or any(name.startswith(READ_AT_START) for name in changed)
