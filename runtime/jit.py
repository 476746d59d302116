"""Loops compiled by numba, cached on disk where the disk allows it.

Modules that use `kernel` hold nothing but kernels and are imported inside the functions that
call them, so that programs which never do start without numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(*, parallel: bool = False, fastmath: bool = False) -> Callable[[Function], Function]:
    """Decorates a loop function to be compiled on its first call, without holding the GIL."""

    def decorate(function: Function) -> Function:
        options: dict[str, Any] = {
            "nogil": True,
            "parallel": parallel,
            "fastmath": fastmath,
        }
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no folder it may write its cache to
            return numba.njit(**options)(function)

    return decorate
