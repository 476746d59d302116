"""Logging: one format for every program, on the screen (through tqdm's bars) and in a file."""

from __future__ import annotations

import contextlib
import copy
import logging
import re
import sys
from pathlib import Path

from runtime.errors import UserError, printable
from runtime.secrets import mask_secrets

ROOT = "hoser_distil"
_PLACEHOLDER = re.compile(r"%[^a-zA-Z]*[a-zA-Z]")


class _Formatter(logging.Formatter):
    """Lines that move no cursor and give no password away, whatever a file's name holds.

    A message is one line, or as many as its own words have; names in the first break none.
    """

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        record.msg, record.args = _message(record), None
        return mask_secrets(printable(super().format(record)))


def _message(record: logging.LogRecord) -> str:
    words, breaks, rest = str(record.msg).partition("\n")
    args = record.args if isinstance(record.args, tuple) else ()
    if not breaks or not args:
        text = record.getMessage()
        return text if breaks else _unbroken(text)
    count = len(_PLACEHOLDER.findall(words.replace("%%", "")))
    return f"{_unbroken(words % args[:count])}\n{rest % args[count:]}"


def _unbroken(text: str) -> str:
    return text.replace("\n", "\\n")


class _ConsoleHandler(logging.Handler):
    """Writes above progress bars instead of through them."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except BrokenPipeError:
            pass
        except Exception as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # which tqdm stumbles over
                raise KeyboardInterrupt from None
            self.handleError(record)


class _FileHandler(logging.FileHandler):
    """A text log whose disk may fill up: that is said once, and the program goes on."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.failed:
            self.failed = True
            print(f"The log {self.baseFilename} cannot be written.", file=sys.stderr)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def get_logger(name: str) -> logging.Logger:
    """The logger of a module or program, below the project's own root."""
    return logging.getLogger(f"{ROOT}.{name}")


def setup_logging(level: str = "INFO", file: Path | None = None) -> None:
    """Sends the project's log lines to the screen and, where given, to `file` as well."""
    root = logging.getLogger(ROOT)
    root.setLevel(level)
    root.propagate = False
    if not any(isinstance(handler, _ConsoleHandler) for handler in root.handlers):
        console = _ConsoleHandler()
        console.setFormatter(_Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(console)
    if file is not None:
        add_log_file(file)


def add_log_file(file: Path) -> logging.Handler:
    """Adds a text log; the caller removes it with `remove_log_file`."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = _FileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}.") from error
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger(ROOT)
    if root.level == logging.NOTSET:  # called from a script that set nothing up
        root.setLevel(logging.INFO)
    root.addHandler(handler)
    return handler


def remove_log_file(handler: logging.Handler) -> None:
    """Closes a text log opened by `add_log_file`."""
    logging.getLogger(ROOT).removeHandler(handler)
    handler.close()
