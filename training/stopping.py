"""Signals among several processes, which act on one only once all of them know of it.

A process that stopped alone would leave the others waiting for it in the next sum.
"""

from __future__ import annotations

import torch

from runtime.distributed import Processes
from runtime.shutdown import ShutdownSignals


class AgreedSignals:
    """What of the signals of all processes may be acted on."""

    def __init__(self, own: ShutdownSignals, processes: Processes, device: torch.device) -> None:
        self.own = own
        self.processes = processes
        self.device = device
        self._agreed: int | None = None

    @property
    def received(self) -> int | None:
        """The signal that ends the run: of several processes one that all know of."""
        return self._agreed if self.processes.world_size > 1 else self.own.received

    def agree(self) -> None:
        """Tells each other what was received; all processes come here at the same point."""
        if self.processes.world_size == 1:
            return
        flag = torch.tensor(float(self.own.received or 0), device=self.device)
        self._agreed = int(self.processes.max(flag).item()) or None
        if self._agreed is not None and self.own.received is None:
            self.own.received = self._agreed  # the exit code is that of the signal, too
