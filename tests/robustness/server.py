"""Runs the project's programs in forks of a process that has imported everything already.

A program then starts in a few milliseconds, so that it can be killed many times in a test. Run as
a module by `tests.robustness.programs`; speaks JSON lines on its standard input and output.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

PRELOADED = [
    "torch",
    "torch.utils.tensorboard",
    "optuna",
    "optuna.storages.journal",
    "cmaes",
    "scipy.stats",
    "torch_geometric.nn",
    "train_with_distill",
    "tune_hoser",
    "gene",
    "evaluation",
    "python_pipeline",
    "critics.cache_builder",
    "critics.teacher_training",
    "data.demo_city.build",
    "data.demo_city.streets",
    "data.demo_city.trips",
    "data.demo_city.writer",
    "data.preprocess.get_zone_trans_mat",
    "data.preprocess.partition_road_network",
    "data.trip_kernels",
    "metrics.generated_kernels",
    "metrics.pair_kernels",
    "metrics.trip_kernels",
    "models.graph_kernels",
    "models.path_kernels",
    "search.kernels.beam",
    "search.kernels.best_first",
    "search.kernels.shortest_path",
    "tools.export_hoser",
    "tools.export_lmtad_weights",
    "tools.precompute_distill_tokens",
    "tools.train_lmtad",
]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class FileEvents:
    """Counts a program's changes of files below a folder, and kills it right before one."""

    def __init__(self, folder: str, kill_before: int | None) -> None:
        self.folder = os.path.realpath(folder) + os.sep
        self.kill_before = kill_before
        self.count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
        else:
            changes = event in ("os.rename", "os.remove", "os.mkdir", "os.truncate", "os.chmod")
        if not changes or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if not os.path.realpath(os.fsdecode(arguments[0])).startswith(self.folder):
            return
        self.count += 1
        if self.count == self.kill_before:
            os.kill(os.getpid(), signal.SIGKILL)


def open_output(path: str, limited: bool) -> int:
    """Where the program writes: a file, or a pipe to one where its own files are limited."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    if not limited:
        return file
    reader, writer = os.pipe()
    if os.fork() == 0:  # lives until the program closes the pipe
        os.close(writer)
        while data := os.read(reader, 1 << 16):
            os.write(file, data)
        Path(path + ".whole").touch()
        os._exit(0)
    os.close(reader)
    os.close(file)
    return writer


def run_program(request: dict[str, Any]) -> int:
    """Runs a script or module as `__main__` in this process; returns its exit code."""
    os.setsid()
    os.chdir(request["cwd"])
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(open_output(request[name], request["file_limit"] is not None), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request["file_limit"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"],) * 2)
    if request["memory_limit"] is not None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + request["memory_limit"],) * 2)
    if request["encoding"] is not None:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding=request["encoding"])  # type: ignore[union-attr]
    events = FileEvents(request["watch"] or request["cwd"], request["kill_before"])
    sys.addaudithook(events)
    program, *arguments = request["argv"]
    sys.argv = [program, *arguments]
    try:
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if request["kill_before"] is None and request["file_limit"] is None:
        Path(request["stdout"] + ".events").write_text(str(events.count))
    return code


def wait(pid: int, timeout_s: float) -> int | None:
    """The program's exit code, minus the signal that ended it; None when it runs on."""
    deadline = time.monotonic() + timeout_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.002)


def main() -> None:
    """Answers requests until the input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for name in PRELOADED:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    replies.write(json.dumps("ready") + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = wait(request["wait"], request["timeout_s"])
        else:
            answer = os.fork()
            if answer == 0:
                code = 1
                try:
                    code = run_program(request)
                finally:
                    os._exit(code)
        replies.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
