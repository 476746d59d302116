"""What a program of the tests meets: a death at a certain change of a file, a full disk, no memory.

`impose` runs in the program's process before it begins.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

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


def impose(
    watch: str,
    count_file: str,
    kill_before: int | None,
    file_limit: int | None,
    memory_limit: int | None,
    encoding: str | None,
) -> None:
    """Sets the limits for the rest of this process's life, and has its changes of files counted."""
    if file_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit,) * 2)
    if memory_limit is not None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory_limit,) * 2)
    if encoding is not None:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding=encoding)  # type: ignore[union-attr]
    events = FileEvents(watch, kill_before)
    sys.addaudithook(events)
    if kill_before is None and file_limit is None:
        atexit.register(lambda: Path(count_file).write_text(str(events.count)))
