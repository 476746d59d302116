"""Whether the worker of a running trial still lives.

A worker signs its trial and counts heartbeats in the store, in every kind of store alike. On its
own machine a worker's process is looked up; elsewhere it is gone when its count has stood still for
as long as the observer's own steady clock says. No two clocks are ever compared.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psutil

from runtime.logs import get_logger

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

logger = get_logger("tune")

OWNER = "owner"
HEARTBEAT = "heartbeat"
GRACE_INTERVALS = 3


@dataclass(frozen=True)
class Owner:
    """A process on a machine, told apart from a later one with the same number."""

    host: str
    machine: str
    pid: int
    started: float  # ticks since the machine's start, where its system tells

    @classmethod
    def this_process(cls) -> Owner:
        pid = os.getpid()
        return cls(socket.gethostname(), _machine(), pid, _started(pid))

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Owner | None:
        """The owner a trial was signed by; None where there is no readable signature."""
        try:
            return cls(**attributes[OWNER])
        except (KeyError, TypeError):
            return None

    @property
    def is_local(self) -> bool:
        """Whether its process can be looked up here."""
        return self.machine == _machine()

    def is_running(self) -> bool:
        """Whether the process exists; only for local ones."""
        try:
            return abs(_started(self.pid) - self.started) < 1.0
        except (psutil.Error, OSError):
            return False

    def attributes(self) -> dict[str, Any]:
        """What a trial is signed with."""
        return {OWNER: asdict(self), HEARTBEAT: 0}


def _started(pid: int) -> float:
    """When a process began, by a clock that nobody can set; wall time where there is no other."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return float(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return float(psutil.Process(pid).create_time())


def _machine() -> str:
    """A machine since its start, and the process numbers that are valid on it."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        lambda: str(Path("/proc/self/ns/pid").readlink()),
    ):
        with contextlib.suppress(OSError):
            parts.append(read())
    return " ".join(parts)


class HeartbeatWatch:
    """Remembers when each running trial last gave a sign, by this process's steady clock."""

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience_s = GRACE_INTERVALS * interval_s
        self.clock = clock
        self._signs: dict[int, tuple[Any, float]] = {}

    def is_dead(self, trial_id: int, attributes: Mapping[str, Any]) -> bool:
        """Whether the worker of a running trial is gone."""
        owner = Owner.of(attributes)
        if owner is not None and owner.is_local:
            return not owner.is_running()
        sign = (owner, attributes.get(HEARTBEAT))
        known = self._signs.get(trial_id)
        if known is None or known[0] != sign:
            if known is None:
                logger.info(
                    "A trial's worker runs on %s; should it give no sign for %.0f s, the trial is "
                    "tried again.",
                    owner.host if owner is not None else "another machine",
                    self.patience_s,
                )
            self._signs[trial_id] = (sign, self.clock())
            return False
        return self.clock() - known[1] > self.patience_s


class Heartbeat:
    """Renews a trial's heartbeat from a thread while in use."""

    def __init__(self, storage: BaseStorage, trial_id: int, interval_s: float) -> None:
        self.storage = storage
        self.trial_id = trial_id
        self.interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def _beat(self) -> None:
        for count in itertools.count(1):
            if self._stop.wait(self.interval_s):
                return
            try:
                self.storage.set_trial_user_attr(self.trial_id, HEARTBEAT, count)
            except Exception as error:  # the trial's own report will meet the same trouble
                logger.warning("The heartbeat could not be written: %s", error)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
