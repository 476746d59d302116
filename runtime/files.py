"""Files that are whole or absent: atomic writing, content hashes and a lock for a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from runtime.errors import UserError
from runtime.logs import get_logger
from runtime.names import refuse_idle_pipe
from runtime.shutdown import stop_if_asked

logger = get_logger("files")

SAY_AFTER_S = 1.0
POLL_S = 0.02
MAX_JSON_BYTES = 1 << 30
DISK_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

# Told of a place, of what it leads to, and of the finished file that is about to go there.
before_replacing: list[Callable[[Path, Path, Path], None]] = []


@contextlib.contextmanager
def writing_to(path: str | Path) -> Iterator[None]:
    """Names the file that could not be written; the system's own error is often silent on it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def replace_atomically(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it replaces `path`, else it is removed.

    A link stays: what it leads to is replaced.
    """
    place = Path(path)
    path = Path(os.path.realpath(place)) if place.is_symlink() else place
    with writing_to(path):
        # A rename would take the place of a device, or of a link that leads in a circle.
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{path} is no file; give another place to write to.")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # for `is_abandoned`
        with writing_to(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            for each in before_replacing:
                each(place, path, temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def is_abandoned(temporary: Path) -> bool:
    """Whether nobody is writing to a temporary file any more, whatever the clock says."""
    with contextlib.suppress(OSError), temporary.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def is_disk_failure(error: BaseException | None) -> bool:
    """Whether a full, failing or read-only disk is at the bottom of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FAILURES:
            return True
        error = error.__cause__ or error.__context__
    return False


def remove_leftovers(folder: str | Path) -> None:
    """Removes what killed processes left unfinished; for the one who holds the folder's lock."""
    for leftover in filter(is_temporary, Path(folder).glob(".*")):
        with contextlib.suppress(OSError):
            leftover.unlink()


def is_temporary(path: Path) -> bool:
    """Whether a name is one of those that `replace_atomically` writes under."""
    return fnmatchcase(path.name, ".*.????????.tmp")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Writes `data` to `path` so that a reader sees the old file or the new one, never a part."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text; bytes of a file's name that are no text appear escaped in it."""
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, obj: Any) -> None:
    """Writes `obj` as indented JSON, atomically."""
    atomic_write_bytes(path, (json.dumps(obj, indent=2, allow_nan=True) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Reads JSON; a missing or damaged file is a `UserError` naming it."""
    path = Path(path)
    try:
        refuse_idle_pipe(path)
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path} is larger than any JSON file of ours; is it the right one?")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from error


def sha256_of_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    try:
        refuse_idle_pipe(Path(path))
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


def sha256_of_arrays(*arrays: np.ndarray) -> str:
    """The SHA-256 of arrays: their types, shapes and values, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def sha256_of_json(obj: Any) -> str:
    """The SHA-256 of plain data, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()


class FolderInUse(UserError):
    """Another process holds a folder's lock."""


class FolderLock:
    """Keeps a second process out of a folder while this one writes there.

    The lock belongs to the process, so it goes away however the process ends. With `wait` the
    second one waits for the first; without, it gets a `FolderInUse` that names `guards`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str = ".lock",
        wait: bool = False,
        guards: str | Path | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.guards = Path(guards) if guards is not None else self.folder
        self.path = self.folder / name
        self.wait = wait
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock or raises `UserError`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            message = f"{self.folder} cannot be written: {error.strerror or error}."
            raise UserError(message) from error
        try:
            self._lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # a full disk must not stop a lock
            os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def _lock(self, descriptor: int) -> None:
        """Takes the lock at once, or says within a second whom it waits for and goes on trying."""
        started, said = time.monotonic(), False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                if not self.wait:
                    raise FolderInUse(
                        f"{self.guards} is in use by another run (process {holder}); "
                        "wait for it or choose another output folder."
                    ) from error
            waited = time.monotonic() - started > SAY_AFTER_S
            if waited:  # locks that are held for moments are also taken to end in good order
                stop_if_asked()
            if waited and not said:
                said = True
                logger.info("Waiting for process %s, which is working in %s.", holder, self.guards)
            time.sleep(POLL_S)

    def release(self) -> None:
        """Gives the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def move_aside(path: Path) -> Path:
    """Gives what lies at `path` another name beside it, the time added; returns that."""
    target = free_name(path)
    try:
        path.rename(target)
    except OSError as error:
        raise UserError(f"{path} cannot be moved aside: {error.strerror or error}.") from error
    return target


def free_name(path: Path) -> Path:
    """A name beside `path` that nothing has: its own with the time added."""
    first = path.with_name(f"{path.name}.{timestamp()}")
    target, counter = first, 1
    while target.exists() or target.is_symlink():
        counter += 1
        target = first.with_name(f"{first.name}-{counter}")
    return target


def timestamp() -> str:
    """The local time as a folder name: `2026-01-31_12-00-00`."""
    return time.strftime("%Y-%m-%d_%H-%M-%S")
