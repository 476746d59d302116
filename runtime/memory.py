"""Running out of memory, on a GPU or the CPU, as an error that names the settings to lower."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from runtime.errors import UserError, is_out_of_memory


@contextlib.contextmanager
def out_of_memory_advice(advice: str) -> Iterator[None]:
    """Turns running out of memory into a `UserError` that gives `advice`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"The device ran out of memory: {advice}") from error
