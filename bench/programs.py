"""What a program costs that a bench runs: seconds, and the memory of all its processes together."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import psutil

from runtime.errors import UserError

LOOKS = 50  # in the time so far: often at a short program, seldom at a long one
LONGEST_WAIT_S = 1.0


@dataclass(frozen=True)
class Cost:
    """What a program took; pages that its processes share are counted once."""

    seconds: float
    peak_mib: float


def run(*command: str) -> Cost:
    """Runs `python -m` with a module and its arguments to the end, without its output."""
    started = time.perf_counter()
    silent = subprocess.DEVNULL
    program = psutil.Popen([sys.executable, "-m", *command], stdout=silent, stderr=silent)
    peak = 0
    while program.poll() is None:
        peak = max(peak, _memory(program))
        passed = time.perf_counter() - started
        time.sleep(min(LONGEST_WAIT_S, 0.02 + passed / LOOKS))
    if program.returncode:
        raise UserError(f"python -m {' '.join(command)} failed; run it by itself to see why.")
    return Cost(time.perf_counter() - started, peak / 2**20)


def _memory(program: psutil.Process) -> int:
    """Bytes of a program and of the processes that it has started."""
    total = 0
    try:
        family = [program, *program.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            total += int(process.memory_full_info().pss)
        except psutil.Error:  # it has just ended
            continue
    return total
