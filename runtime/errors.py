"""The one error type for mistakes a user can mend, and the program entry that reports it.

What the operating system, a parser or a codec refuses is such a mistake as well, wherever it is
met. Programming errors are not caught: their traceback is the bug report.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import html
import io
import json
import logging
import os
import signal
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

from runtime.secrets import mask_secrets

PARSER_ERRORS = (
    UnicodeError,
    csv.Error,
    json.JSONDecodeError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
)


_format_warning = warnings.formatwarning
LONGEST_LINE = 2000  # a path may have 4,096 characters, a screen has 80 in a row


class UserError(Exception):
    """A mistake in arguments, configuration or files: what was found, what to do about it."""


def printable(text: str) -> str:
    """`text` in which nothing moves the cursor, colours the screen or hides what stands there."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def one_line(text: object) -> str:
    """`text` with its line breaks folded, so that an error stays on one line."""
    return printable(" ".join(str(text).split()))


def markdown_text(text: object) -> str:
    """`text` for a line of Markdown: neither HTML nor another line comes from a name in it."""
    return html.escape(one_line(text), quote=False)


def shortened(text: str) -> str:
    """`text` without its middle where it is longer than anybody reads."""
    half = LONGEST_LINE // 2
    return text if len(text) <= LONGEST_LINE else f"{text[:half]} … {text[-half:]}"


class _Screen:
    """A stream of a program, on which no password stands, whichever library writes there."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, as far as it may be seen."""
        self._stream.write(self._shown(text))
        return len(text)

    def _shown(self, text: str) -> str:
        return mask_secrets(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output(_Screen):
    """Standard output, on which nothing that a file holds moves the cursor; progress bars may."""

    def _shown(self, text: str) -> str:
        return mask_secrets(printable(text))


def _printable_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A library's warning, which may repeat what a file or a name holds."""
    return printable(_format_warning(message, category, filename, lineno, line))


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Runs a program's `main`; a user's mistake becomes one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a screen of another alphabet is no mistake at all
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # a pipe in the place of a file cannot tell where
                stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _printable_warning
    try:
        output, messages = _Output(sys.stdout), _Screen(sys.stderr)
        with (
            contextlib.redirect_stdout(output),  # type: ignore[type-var]
            contextlib.redirect_stderr(messages),  # type: ignore[type-var]
        ):
            code = main() or 0
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        print(f"error: {shortened(mask_secrets(one_line(reason)))}", file=sys.stderr)
        code = 2
    # What libraries tidy up at the end is no longer for Ctrl-C; what is registered last runs first.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _end_now(code)
    sys.exit(code)


def reason_of(error: Exception) -> str | None:
    """Why a program cannot go on, in the user's terms; None where the error is its own."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        places = [str(place) for place in (error.filename, error.filename2) if place is not None]
        return f"{' and '.join(places) or 'A file'}: {error.strerror or error}."
    if isinstance(error, PARSER_ERRORS):
        return f"What was read cannot be understood ({type(error).__name__}: {error})."
    if is_out_of_memory(error):
        return f"There is not enough memory ({str(error) or 'for what was asked'})."
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):
        return f"A link leads back to itself ({str(error).removeprefix('Symlink loop from ')})."
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "A path holds a NUL character, which no file has in its name."
    if isinstance(error, ValueError) and "has an empty name" in str(error):
        return f"A file's name was expected ({error})."
    return None


_NO_MEMORY = (  # of PyTorch's allocators on all devices, of its products, and of Python's threads
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "unable to allocate",
    "could not create a primitive",
    "can't start new thread",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch, NumPy or Python could not get the memory it wanted."""
    if isinstance(error, MemoryError):
        return True
    text = one_line(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)


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
