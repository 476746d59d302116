"""What every program needs around its work: errors, files, logs, devices, experiment tracking.

Nothing here knows about roads, trips or models. Importing the package has two effects, both needed
before the first large library is loaded: Ctrl-C ends a program that is still importing without a
traceback, and PyTorch's threads wait for each other without spinning for long.
"""

import os
import sys
from types import TracebackType


def _end_quietly(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Shows what ended the program, unless it was the user."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _wait_politely() -> None:
    """Bounds how long a thread of PyTorch's OpenMP pool spins at the end of each operation.

    By default it spins for milliseconds. Where another program wants a core, too, each operation
    then waits for a thread that does not run, and training becomes several times slower.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


sys.excepthook = _end_quietly
_wait_politely()
