"""Ending a run on SIGTERM or SIGINT: the signal is noted, and the run ends itself when it may.

A study notes signals around its runs; what a run receives, the study around it learns as well.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Stopped(Exception):
    """A signal was noted while something was waited for or prepared; nothing is lost by ending."""


def stop_if_asked() -> None:
    """Raises `Stopped` where a signal was noted by whoever notes signals just now."""
    for number in (signal.SIGTERM, signal.SIGINT):
        noting = getattr(signal.getsignal(number), "__self__", None)
        if isinstance(noting, ShutdownSignals) and noting.received is not None:
            raise Stopped


class ShutdownSignals:
    """Notes SIGTERM and SIGINT while in use; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> ShutdownSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
                around = self._around(number)
                if around is not None and around.received is not None:
                    self.received = around.received
        return self

    def _around(self, number: int) -> ShutdownSignals | None:
        handler = getattr(self._previous.get(number), "__self__", None)
        return handler if isinstance(handler, ShutdownSignals) else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        around = self._around(number)
        if around is not None:
            around.received = number

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    @property
    def exit_code(self) -> int:
        """What the program exits with: 130 after SIGINT, 0 after SIGTERM, as nothing is lost."""
        return 130 if self.received == signal.SIGINT else 0
