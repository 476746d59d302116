"""The one error type for mistakes a user can mend, and the program entry that reports it.

Programming errors are not caught: their traceback is the bug report.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """A mistake in arguments, configuration or files: what was found, what to do about it."""


def one_line(text: object) -> str:
    """`text` with its line breaks folded, so that an error stays on one line."""
    return " ".join(str(text).split())


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Runs a program's `main`; a `UserError` becomes one line on stderr and exit code 2."""
    try:
        code = main() or 0
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        sys.exit(141)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _end_now(code)
    sys.exit(code)


def _end_now(code: int) -> NoReturn:
    """Ends a process that `torchrun` started without taking the interpreter apart.

    The threads of the collectives may still be releasing tensors, and one that asks a finalising
    interpreter for its lock aborts the process after all its work was done.
    """
    atexit._run_exitfuncs()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
