"""Files for polars, whatever their names: it knows names in UTF-8 alone, others go through Python.

What is read in this way is held in memory as a whole; such names are rare.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any


def readable_by_polars(path: Path) -> Path | BufferedReader:
    """What polars reads the file by; patterns are ours to resolve (`glob=False`)."""
    return path if _is_utf8(path) else path.open("rb")


@contextmanager
def writable_by_polars(path: Path) -> Iterator[Path | BufferedWriter]:
    """What polars writes the file by."""
    if _is_utf8(path):
        yield path
    else:
        with path.open("wb") as file:
            yield file


def join_parquet(parts: list[Path], target: Path) -> None:
    """Writes the rows of several files, one after the other, without holding all of them."""
    import polars as pl

    sources: Any = [readable_by_polars(part) for part in parts]
    with writable_by_polars(target) as out:
        pl.scan_parquet(sources, glob=False).sink_parquet(out)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
