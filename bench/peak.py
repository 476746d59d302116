"""How much memory a process has held at most. Imports nothing, so that it adds nothing itself."""

from __future__ import annotations

from pathlib import Path


def peak_memory_mib() -> float:
    """The largest resident size of this process so far.

    Not that of getrusage, which counts what the process that started this one held by then.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status says nothing of VmHWM; benches of memory run on Linux")
