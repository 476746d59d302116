"""What every program needs around its work: errors, files, logs, devices, experiment tracking.

Nothing here knows about roads, trips or models. Importing the package has one effect: Ctrl-C ends a
program that is still importing, which takes seconds, without a traceback.
"""

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


sys.excepthook = _end_quietly
