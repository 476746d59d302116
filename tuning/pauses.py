"""How long a worker waits before it looks again at what other workers of its study do."""

from __future__ import annotations

import time

SHORTEST_S, LONGEST_S = 0.05, 2.0


class Pauses:
    """Short at first, so that short trials are soon noticed, then longer, to spare the store."""

    def __init__(self) -> None:
        self._next_s = SHORTEST_S

    def take(self) -> None:
        """Waits, twice as long as the last time."""
        time.sleep(self._next_s)
        self._next_s = min(2.0 * self._next_s, LONGEST_S)
