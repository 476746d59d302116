"""Loops compiled by numba, cached on disk where the disk allows it.

Modules that use `kernel` hold nothing but kernels and are imported inside the functions that
call them, so that programs which never do start without numba.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums in any order; NaN and infinity keep their meaning, by which training notices them.
REORDERED = frozenset({"reassoc", "contract", "nsz", "arcp"})


def kernel(
    *, parallel: bool = False, fastmath: bool | frozenset[str] = False, inner: bool = False
) -> Callable[[Function], Function]:
    """Decorates a loop function to be compiled on its first call, without holding the GIL.

    With `inner` only other kernels call it: Python's way in, which takes long to compile where
    the arguments are many arrays, is left out.
    """

    def decorate(function: Function) -> Function:
        options: dict[str, Any] = {
            "nogil": True,
            "parallel": parallel,
            "fastmath": set(fastmath) if isinstance(fastmath, frozenset) else fastmath,
        }
        if inner:
            options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        try:
            return _compiled_all_the_same(numba.njit(cache=True, **options)(function))
        except RuntimeError:  # numba found no folder it may write its cache to
            return numba.njit(**options)(function)

    return decorate


def _compiled_all_the_same(dispatcher: Any) -> Any:
    """What was compiled serves also where the disk has no room to keep it for the next start."""
    cache = getattr(dispatcher, "_cache", None)
    if cache is None:  # numba was told to compile nothing: it is the plain function
        return dispatcher
    save = cache.save_overload

    def save_if_possible(*arguments: Any) -> None:
        with contextlib.suppress(OSError):
            save(*arguments)

    cache.save_overload = save_if_possible
    return dispatcher
