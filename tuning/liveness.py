"""Whether the worker of a running trial still lives.

A worker signs its trial and renews a heartbeat in the store, in every kind of store alike. On its
own machine a worker's process is looked up, elsewhere an old heartbeat means that it is gone.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
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
    started: float

    @classmethod
    def this_process(cls) -> Owner:
        pid = os.getpid()
        return cls(socket.gethostname(), _machine(), pid, psutil.Process(pid).create_time())

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
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1.0
        except (psutil.Error, OSError):
            return False

    def attributes(self) -> dict[str, Any]:
        """What a trial is signed with."""
        return {OWNER: asdict(self), HEARTBEAT: time.time()}


def _machine() -> str:
    """A machine since its start, and the process numbers that are valid on it."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        lambda: str(Path("/proc/self/ns/pid").readlink()),
    ):
        try:
            parts.append(read())
        except OSError:
            parts.append(str(psutil.boot_time()))
    return " ".join(parts)


def is_dead(attributes: Mapping[str, Any], started: float | None, interval_s: float) -> bool:
    """Whether the worker of a running trial is gone.

    `started` is when the trial began, for one that nobody has signed yet.
    """
    owner = Owner.of(attributes)
    if owner is not None and owner.is_local:
        return not owner.is_running()
    signs = [attributes.get(HEARTBEAT)] if owner else [attributes.get(HEARTBEAT), started]
    last = max((float(sign) for sign in signs if sign is not None), default=0.0)
    return time.time() - last > GRACE_INTERVALS * interval_s


class Heartbeat:
    """Renews a trial's heartbeat from a thread while in use."""

    def __init__(self, storage: BaseStorage, trial_id: int, interval_s: float) -> None:
        self.storage = storage
        self.trial_id = trial_id
        self.interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def _beat(self) -> None:
        while not self._stop.wait(self.interval_s):
            try:
                self.storage.set_trial_user_attr(self.trial_id, HEARTBEAT, time.time())
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
