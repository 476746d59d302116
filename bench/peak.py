"""How much memory a process holds. Imports nothing, so that it adds nothing itself."""

from __future__ import annotations

from pathlib import Path


def status_mib(field: str) -> float:
    """A size in /proc/self/status: `VmRSS` now, `VmHWM` at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{field} is not in /proc/self/status; benches of memory run on Linux")


def peak_memory_mib() -> float:
    """The largest resident size of this process so far.

    Not that of getrusage, which counts what the process that started this one held by then.
    """
    return status_mib("VmHWM")
