"""A process that has imported everything, and becomes one program of the tests after the other.

A program's start costs seconds: PyTorch, PyTorch Geometric, polars and numba are imported. Here
they are imported once; each program is a fork, which begins in a few milliseconds and else is a
process as any other: with its own number, session, environment, folder, arguments and files. It
is no stand-in where a test is about the start itself (what is imported, what libraries read from
the environment while they are loaded); `tests.programs` starts such programs for real.

This process must never start a thread, which would not survive a fork.

    python -m tests.program_server SOCKET

serves each connection to SOCKET: a request comes with the program's open files, its process
number and later its exit code go back. It ends with its own standard input. Processes that
`multiprocessing` spawns in a program are forks as well, where a `python` lies beside SOCKET.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import multiprocessing
import multiprocessing.process
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import types
from pathlib import Path
from typing import Any, NoReturn

from tests.program_client import LENGTH

REPOSITORY = Path(__file__).parent.parent
MOST_FILES = 64  # that a program may be handed
STARTS_THREADS = ("polars",)  # programs import these themselves
LIBRARIES = (
    "torch",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "torch_geometric.nn",
    "numba",
    "numba.core.typed_passes",
    "numba.np.ufunc.parallel",
    "optuna",
    "optuna.storages.journal",
    "optuna.importance",
    "sklearn.ensemble",
    "cmaes",
    "scipy.stats",
    "scipy.sparse.csgraph",
    "scipy.spatial",
    "matplotlib.pyplot",
    "sqlalchemy.dialects.sqlite",
)


def our_modules() -> list[str]:
    """The project's modules, without what belongs to its development."""
    names = [file.stem for file in REPOSITORY.glob("*.py")]
    packages = [
        file.parent.name
        for file in REPOSITORY.glob("*/__init__.py")
        if file.parent.name not in ("tests", "bench")
    ]
    for package in packages:
        inner = pkgutil.walk_packages([str(REPOSITORY / package)], f"{package}.")
        names += [package, *(module.name for module in inner)]
    return [name for name in names if not name.endswith("__main__")]


def preload(names: list[str]) -> None:
    """Imports what programs import; what is not installed here is no program's need either."""
    for name in STARTS_THREADS:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in STARTS_THREADS:
        del sys.modules[name]
    set_up_libraries()
    gc.collect()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, (
        "a thread would be missing in every fork"
    )
    gc.freeze()  # so that no fork copies what it does not change


def set_up_libraries() -> None:
    """What three libraries do once in a process.

    PyTorch Geometric writes the code of each kind of layer; numba fills the tables of its compiler;
    Optuna loads what it needs of SQLAlchemy and Alembic when its first database is opened.
    """
    import numba
    import torch
    from optuna.storages import RDBStorage
    from torch_geometric.nn import GATv2Conv, GCNConv

    with torch.random.fork_rng(devices=[]):
        for layer in (GATv2Conv, GCNConv):
            layer(1, 1)
    numba.njit(lambda: 0)()
    database = RDBStorage("sqlite://")
    database.remove_session()
    database.engine.dispose()


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request and the program's open files."""
    head, files, _, _ = socket.recv_fds(connection, LENGTH.size, MOST_FILES)
    missing = LENGTH.unpack(head)[0]
    parts = []
    while missing:
        parts.append(connection.recv(missing))
        if not parts[-1]:
            raise ConnectionResetError("the request ends early")
        missing -= len(parts[-1])
    return json.loads(b"".join(parts)), files


class Server:
    """Forks programs and tells their ends."""

    def __init__(self, address: str) -> None:
        self.programs: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(64)
        self.bell, ringing = socket.socketpair()
        self.bell.setblocking(False)
        ringing.setblocking(False)
        self.ringing = ringing
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end us
        signal.set_wakeup_fd(ringing.fileno())

    def serve(self) -> None:
        """Until standard input ends; then no program is left."""
        for source in (self.listener, self.bell, sys.stdin):
            self.selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is sys.stdin:
                    for pid in self.programs:
                        end(pid)
                    return
                if key.fileobj is self.bell:
                    self.bell.recv(4096)
                    self.reap()
                elif key.fileobj is self.listener:
                    self.start()
                elif key.data in self.programs:  # who asked for it is no longer there
                    self.selector.unregister(key.fileobj)
                    end(key.data)

    def start(self) -> None:
        connection, _ = self.listener.accept()
        try:
            request, files = receive(connection)
        except (OSError, struct.error, ValueError):  # who asked has died in the middle of it
            connection.close()
            return
        pid = os.fork()
        if pid == 0:
            self.selector.close()
            for other in (self.listener, self.bell, self.ringing, *self.programs.values()):
                other.close()
            become(request, files, connection)
        for file in files:
            os.close(file)
        self.programs[pid] = connection
        self.selector.register(connection, selectors.EVENT_READ, pid)

    def reap(self) -> None:
        while self.programs:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            connection = self.programs.pop(pid)
            with contextlib.suppress(KeyError):
                self.selector.unregister(connection)
            with contextlib.suppress(OSError):  # nobody waits for it any longer
                tell(connection, code=os.waitstatus_to_exitcode(status))
            connection.close()


def end(pid: int) -> None:
    """Kills a program with everything that it started."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def tell(connection: socket.socket, **answer: int) -> None:
    connection.sendall(json.dumps(answer).encode() + b"\n")


def become(request: dict[str, Any], files: list[int], connection: socket.socket) -> NoReturn:
    """Makes this fork the program and ends with it."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tell(connection, pid=os.getpid())
        connection.close()
        take_over(files, request["numbers"])
        settle(request)
        code = run(request["argv"])
        code = leave(code)
    except BaseException as error:
        report(error)
    finally:
        os._exit(code)


def take_over(files: list[int], numbers: list[int]) -> None:
    """Gives the open files the numbers by which the program knows them."""
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, max(*numbers, *files) + 1) for file in files]
    for file in files:
        os.close(file)
    for number, file in zip(numbers, aside, strict=True):
        os.dup2(file, number)
        os.close(file)


def settle(request: dict[str, Any]) -> None:
    """Takes over the environment and the folder, and forgets what is another process's."""
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    multiprocessing.process.ORIGINAL_DIR = request["cwd"]  # type: ignore[attr-defined]
    tempfile.tempdir = None
    python = Path(sys.argv[1]).with_name("python")
    if python.exists():
        multiprocessing.set_executable(str(python))
    first, *rest = request["argv"]
    sys.argv = [first, *rest]
    sys.path[0] = str(Path(first).resolve().parent) if first.endswith(".py") else request["cwd"]
    before = request.get("before")
    if before is not None:
        module, _, name = before.partition(":")
        getattr(importlib.import_module(module), name)(**request["options"])


def run(argv: list[str]) -> int:
    """Runs `FILE.py …`, `-m MODULE …` or `-c CODE …`; the exit code."""
    first, *rest = argv
    try:
        if first == "-m":
            sys.argv = rest
            is_package = hasattr(sys.modules.get(rest[0]), "__path__")
            # Python warns when the module that it is to run has been imported already.
            sys.modules.pop(f"{rest[0]}.__main__" if is_package else rest[0], None)
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            main = types.ModuleType("__main__")
            sys.modules["__main__"] = main
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)
        else:
            runpy.run_path(first, run_name="__main__")
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        print(ending.code, file=sys.stderr)
        return 1
    except BaseException as error:
        report(error)
        return 1
    return 0


def report(error: BaseException) -> None:
    """Says what ended a program as the interpreter does; one that was interrupted ends by that."""
    sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def leave(code: int) -> int:
    """What the interpreter does at a program's end, but for taking its modules apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120
    return code


def main() -> None:
    preload([*LIBRARIES, *our_modules()])
    server = Server(sys.argv[1])
    print("ready", flush=True)
    server.serve()


if __name__ == "__main__":
    main()
