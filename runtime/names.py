"""Names that come from users and files, made fit for folders and for the screen."""

from __future__ import annotations

import errno
from pathlib import Path

from runtime.errors import UserError

MAX_NAME_BYTES = 200


def safe_name(name: str, what: str) -> str:
    """`name` where it can be one folder's name; so no setting writes outside its output folder."""
    bad = not name.strip() or name in (".", "..") or "/" in name or "\\" in name or "\0" in name
    if bad or len(name.encode(errors="surrogateescape")) > MAX_NAME_BYTES:
        raise UserError(
            f"{what} is {name[:60]!r}; it must be usable as a folder's name (no slashes, not '..')."
        )
    return name


def is_idle_pipe(path: str | Path) -> bool:
    """Whether whoever reads there may wait for ever, without a word: a pipe of a name.

    What a shell puts in the place of `<(command)` has its writer.
    """
    try:
        return not str(path).startswith(("/dev/fd/", "/proc/")) and Path(path).is_fifo()
    except (OSError, ValueError):
        return False


def refuse_idle_pipe(path: Path) -> None:
    """Raises what a system would that opens no pipes as files."""
    if is_idle_pipe(path):
        raise OSError(errno.EINVAL, "it is a pipe, a file was expected", str(path))


def readable(name: str) -> str:
    """A file's name as text: bytes of it that are none appear as `\\udcff`, so it can be shown."""
    return name.encode("utf-8", "backslashreplace").decode()
