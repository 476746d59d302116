"""Where a step's time goes, measured on one step in `log_interval`.

On the profiled step the device is synchronised at the phase boundaries; all other steps run as if
there were no profiler.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

PHASES = (
    "Data Wait",
    "Data Transfer",
    "HOSER Forward",
    "Distill KL (Teacher)",
    "Backward Pass",
    "Optimizer Step",
)


class StepProfiler:
    """Collects seconds by phase; `describe` gives the last profiled step, `mean` all of them."""

    def __init__(self, enabled: bool, log_interval: int, device: torch.device) -> None:
        self.enabled = enabled
        self.log_interval = log_interval
        self.device = device
        self.active = False
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.totals = dict.fromkeys(PHASES, 0.0)

    def start_step(self, batches_done: int, num_batches: int) -> None:
        """Profiles the step in which the next multiple of `log_interval` batches falls."""
        due = (batches_done + num_batches) // self.log_interval > batches_done // self.log_interval
        self.active = self.enabled and due
        if self.active:
            self.seconds = dict.fromkeys(PHASES, 0.0)
            self._synchronize()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a block under `name` when the current batch is profiled."""
        if not self.active:
            yield
            return
        self._synchronize()
        start = time.perf_counter()
        yield
        self._synchronize()
        elapsed = time.perf_counter() - start
        self.seconds[name] += elapsed
        self.totals[name] += elapsed

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def scalars(self) -> dict[str, float]:
        """Milliseconds by phase of the last profiled step, under the names of the logs."""
        return {f"perf/{_tag(name)}_ms": 1000 * seconds for name, seconds in self.seconds.items()}

    def describe(self) -> str:
        """One line on the last profiled step: every phase with its milliseconds and share."""
        return _sentence("Step", self.seconds)

    def mean(self) -> str:
        """The same for all profiled steps together."""
        return _sentence("All profiled steps", self.totals)


def _tag(name: str) -> str:
    return name.lower().replace(" ", "_").replace("(", "").replace(")", "")


def _sentence(what: str, seconds: dict[str, float]) -> str:
    total = sum(seconds.values()) or 1.0
    parts = [
        f"{name} {1000 * value:.1f} ms ({100 * value / total:.0f} %)"
        for name, value in seconds.items()
    ]
    return f"{what}: {1000 * total:.1f} ms: " + ", ".join(parts) + "."
