"""Reading PyTorch files as data: plain tensors and values, whole or not at all.

`torch.load` checks neither the archive's checksums nor raises one kind of error; this does both.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from runtime.errors import one_line
from runtime.files import atomic_write_bytes
from runtime.names import refuse_idle_pipe

MAX_REASON_CHARS = 160


class DamagedFile(Exception):
    """The file cannot be read as tensors and plain values; the text says why."""


def save_plain(path: str | Path, content: Any) -> None:
    """`torch.save`, atomically; a full disk is a `UserError` that names the file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    atomic_write_bytes(path, buffer.getvalue())


def load_plain(path: Path) -> Any:
    """The content of a file of `torch.save`, on the CPU, without running any code of it."""
    try:
        refuse_idle_pipe(path)
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                _check_sums(path)
            file.seek(0)
            with warnings.catch_warnings():  # a foreign file is refused in one line of ours
                warnings.filterwarnings("ignore", message="Detected pickle protocol")
                return torch.load(file, map_location="cpu", weights_only=True)
    except (FileNotFoundError, DamagedFile):
        raise
    except OSError as error:
        raise DamagedFile(error.strerror or one_line(error)[:MAX_REASON_CHARS]) from error
    except Exception as error:  # a damaged pickle can raise anything; it ran nothing
        reason = one_line(error).split(". ")[0][:MAX_REASON_CHARS]
        raise DamagedFile(reason or type(error).__name__) from error


def _check_sums(path: Path) -> None:
    """Reads the archive once against its checksums: a flipped bit in a weight is an error."""
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise DamagedFile(f"the checksum of {broken} does not match")
