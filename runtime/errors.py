"""The one error type for mistakes a user can mend, and the program entry that reports it.

Programming errors are not caught: their traceback is the bug report.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake in arguments, configuration or files: what was found, what to do about it."""


def one_line(text: object) -> str:
    """`text` with its line breaks folded, so that an error stays on one line."""
    return " ".join(str(text).split())


def run_main(main: Callable[[], int | None]) -> None:
    """Runs a program's `main`; a `UserError` becomes one line on stderr and exit code 2."""
    try:
        code = main()
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    sys.exit(code or 0)
