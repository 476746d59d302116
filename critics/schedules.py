"""How a number changes over training: the distillation temperature and the ramp of its weight.

Everything is a pure function of the training progress, so a resumed run needs no state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from config.choices import ScheduleKind


@dataclass(frozen=True)
class Schedule:
    """From `start` at progress 0 to `end` at progress 1, rising or falling.

    With `stages` of 2 or more the progress moves in that many equal steps, the first at `start`
    and the last at `end`; otherwise continuously. A constant schedule stays at `start`.
    """

    kind: ScheduleKind = "constant"
    start: float = 1.0
    end: float = 1.0
    stages: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "linear", "exponential", "cosine"):
            raise ValueError(f"{self.kind!r} is not a schedule.")
        if self.kind == "exponential" and (self.start <= 0 or self.end <= 0):
            raise ValueError("An exponential schedule needs a positive start and end.")

    def at(self, progress: float) -> float:
        """The value at a training progress in [0, 1]; beyond it, the value at the nearer end."""
        progress = min(max(progress, 0.0), 1.0)
        if self.stages:
            progress = self.stage(progress) / max(self.stages - 1, 1)
        if self.kind == "constant" or self.start == self.end:
            return self.start
        if progress in (0.0, 1.0):
            return self.start if progress == 0.0 else self.end
        if self.kind == "exponential":
            return self.start * (self.end / self.start) ** progress
        if self.kind == "cosine":
            progress = 0.5 * (1.0 - math.cos(math.pi * progress))
        return self.start + (self.end - self.start) * progress

    def stage(self, progress: float) -> int:
        """The stage at a training progress, from 0; a continuous schedule has only that one."""
        # The tolerance keeps a boundary such as 3 * (1 / 3) in the stage it opens.
        stage = int(min(max(progress, 0.0), 1.0) * self.stages + 1e-9)
        return max(min(stage, self.stages - 1), 0)


def training_progress(step: int, total_steps: int) -> float:
    """0 at the first optimizer step, 1 at the last."""
    return step / (total_steps - 1) if total_steps > 1 else 0.0


def ramp(step: int, ramp_steps: int) -> float:
    """A factor that rises linearly from 0 at step 0 to 1 at `ramp_steps`; 1 without a ramp."""
    return min(step / ramp_steps, 1.0) if ramp_steps > 0 else 1.0
