"""Where a study's trials are kept: SQLite, PostgreSQL, MySQL, a journal file, or memory.

Opening a store and turning its failures into one clear line; what a study is, is not known here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from runtime.errors import UserError, one_line
from runtime.logs import get_logger
from runtime.secrets import MASK, SecretAddress, mask_secrets, strike_out

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

logger = get_logger("tune")
MEMORY_NAMES = ("memory", ":memory:", "memory://", "sqlite://", "sqlite:///:memory:")
JOURNAL_SUFFIXES = (".log", ".journal")
DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
DRIVERS = {
    "postgresql": {"psycopg2": "postgresql+psycopg2", "psycopg": "postgresql+psycopg"},
    "mysql": {"MySQLdb": "mysql+mysqldb", "pymysql": "mysql+pymysql"},
}
PASSWORD_VARIABLE = "HOSER_STORAGE_PASSWORD"  # for addresses that were written down masked
SQLITE_TIMEOUT_S = 60
OPEN_ATTEMPTS = 8
FORMS = (
    "sqlite:///file.db, journal:///path/file.log (or a path ending in .log or .journal), memory, "
    "postgresql://user:password@host/name or mysql+pymysql://user:password@host/name"
)


@dataclass(frozen=True)
class StorageAddress:
    """A store as the user named it, understood."""

    kind: Literal["memory", "journal", "database"]
    location: str = field(repr=False)  # the journal's path or the database's URL, in full

    @classmethod
    def parse(cls, address: SecretAddress | str) -> StorageAddress:
        """Understands a URL, a journal's or a SQLite file's path, or `memory`."""
        text = (address.reveal() if isinstance(address, SecretAddress) else address).strip()
        text, shown = _with_password(text), mask_secrets(text)
        if text in MEMORY_NAMES:
            return cls("memory", "")
        if text.startswith("journal://"):
            path = text.removeprefix("journal://")
            if not path.strip("/"):
                raise UserError(f"optuna.storage is {shown!r}; it names no file. Use {FORMS}.")
            return cls("journal", path)
        if "://" in text:
            return cls("database", _with_home(_with_driver(text)))
        if text.endswith(JOURNAL_SUFFIXES):
            return cls("journal", text)
        if text.endswith(DATABASE_SUFFIXES):
            from sqlalchemy.engine import URL

            url = URL.create("sqlite", database=str(_expanded(text)))  # a path may hold % or ?
            return cls("database", url.render_as_string())
        raise UserError(f"optuna.storage is {shown!r}, which is not a store. Use {FORMS}.")

    @property
    def file(self) -> Path | None:
        """The file that holds the store; None for a server or memory."""
        if self.kind == "journal":
            return _expanded(self.location)
        if self.kind == "database" and self.location.startswith("sqlite"):
            from sqlalchemy.engine import make_url

            name = make_url(self.location).database
            return Path(name) if name and name != ":memory:" else None
        return None

    @property
    def shown(self) -> str:
        """The address without its password."""
        if self.kind == "memory":
            return "memory"
        if self.kind == "journal":
            return mask_secrets(self.location)
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            return mask_secrets(make_url(self.location).render_as_string(hide_password=True))
        except (ArgumentError, ValueError):
            return "the database"

    @property
    def place(self) -> str:
        """What tells this store from others: a file's full path, or the masked address."""
        return str(self.file.resolve()) if self.file is not None else self.shown

    @property
    def dashboard_command(self) -> str | None:
        """How `optuna-dashboard` opens the store."""
        return None if self.kind == "memory" else f"optuna-dashboard {shlex.quote(self.shown)}"


def _with_password(text: str) -> str:
    """A masked address with the password of the environment, or left to the driver's own means."""
    if MASK not in text or "://" not in text:
        return text
    password = os.environ.get(PASSWORD_VARIABLE)
    if password:
        return text.replace(f":{MASK}@", f":{quote(password, safe='')}@")
    return text.replace(f":{MASK}@", "@")


def _with_driver(url: str) -> str:
    """A URL that leaves the driver open gets one that is installed."""
    scheme, rest = url.split("://", 1)
    known = DRIVERS.get("postgresql" if scheme == "postgres" else scheme, {})
    for module, name in known.items():
        if importlib.util.find_spec(module) is not None:
            return f"{name}://{rest}"
    return url


def _with_home(url: str) -> str:
    """A SQLite file's URL with the home folder in the place of `~`, which SQLite does not know."""
    start = "sqlite:///"
    if not url.startswith(f"{start}~"):
        return url
    return f"{start}{_expanded(url.removeprefix(start))}"


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # of a user whom the system does not know
        raise UserError(f"optuna.storage is {path!r}: {error} Give the folder itself.") from error


def open_storage(address: StorageAddress) -> BaseStorage:
    """Opens or creates the store; what cannot be opened is a `UserError` that names it."""
    try:
        return _open(address)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"{address.shown} needs a database driver that is not installed "
            f"({one_line(error)}); for PostgreSQL: pip install '.[postgres]'."
        ) from error
    except Exception as error:  # every driver has its own error types
        raise UserError(
            f"The study's store {address.shown} cannot be opened "
            f"({_reason(error, address)}). "
            f"Give --storage another one: {FORMS}."
        ) from error


def _open(address: StorageAddress) -> BaseStorage:
    from optuna.storages import InMemoryStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if address.kind == "memory":
        return InMemoryStorage()
    file = address.file
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    if address.kind == "journal":
        assert file is not None
        _check_journal(file)
        return JournalStorage(JournalFileBackend(str(file)))
    return _open_database(address)


def _check_journal(file: Path) -> None:
    """Refuses to append to a file that is no journal; a torn first line is the journal's own."""
    if not file.exists():
        return
    _cut_torn_line(file)
    with file.open("rb") as stream:
        first = stream.readline(1 << 20)
    if not first or (first.startswith(b"{") and not first.endswith(b"\n")):
        return
    entry = json.loads(first)
    if not isinstance(entry, dict) or "op_code" not in entry:
        raise ValueError("it is not a journal of Optuna's")


def _cut_torn_line(file: Path) -> None:
    """Takes away half a last line: the next entry would be glued to it and lost with it."""
    from optuna.storages.journal import JournalFileSymlinkLock

    if _whole_lines(file) == file.stat().st_size:
        return
    lock = JournalFileSymlinkLock(str(file))
    lock.acquire()  # whoever is writing just now ends its line first
    try:
        whole, size = _whole_lines(file), file.stat().st_size
        if 0 < whole < size:
            os.truncate(file, whole)
            logger.warning("%s ended within an entry, which was never finished.", file)
    finally:
        lock.release()


def _whole_lines(file: Path) -> int:
    """How many bytes the complete lines of a file take."""
    with file.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        while position > 0:
            begin = max(0, position - (1 << 16))
            stream.seek(begin)
            end = stream.read(position - begin).rfind(b"\n")
            if end >= 0:
                return begin + end + 1
            position = begin
    return 0


def _open_database(address: StorageAddress) -> BaseStorage:
    """Workers that start together create the tables together: all but one try again."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    sqlite = address.location.startswith("sqlite")
    options: dict[str, Any] = {"pool_pre_ping": True}
    if sqlite:
        options["connect_args"] = {"timeout": SQLITE_TIMEOUT_S}
    for attempt in range(OPEN_ATTEMPTS):
        try:
            return RDBStorage(address.location, engine_kwargs=options)
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            text = str(error).lower()
            signs = ("already exists", "duplicate", "unique constraint", "locked", "no such table")
            racing = any(sign in text for sign in signs)
            if not racing or attempt == OPEN_ATTEMPTS - 1:
                raise
        time.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


@contextlib.contextmanager
def storage_errors(address: StorageAddress) -> Iterator[None]:
    """Turns a store that fails in use into a `UserError`; the study resumes once it is back."""
    try:
        yield
    except failure_types() as error:
        raise UserError(
            f"The study's store {address.shown} failed ({_reason(error, address)}); nothing "
            "finished is lost. Start again with the same --study_name once it is well."
        ) from error
    except UserError:
        raise
    except Exception as error:
        if not _raised_in_store(error):
            raise
        raise UserError(
            f"The study's store {address.shown} cannot be used ({_reason(error, address)}); is it "
            "damaged, or the disk full?"
        ) from error


def _raised_in_store(error: BaseException) -> bool:
    """Whether an exception came out of Optuna's code for stores, which has no type for it."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(
        str(frame.f_globals.get("__name__", "")).startswith("optuna.storages")
        for frame, _ in frames
    )


def failure_types() -> tuple[type[Exception], ...]:
    """What a store that fails in use raises."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    return OptunaError, SQLAlchemyError


def _reason(error: BaseException, address: StorageAddress) -> str:
    """The driver's own words, without SQL, links and the password."""
    cause = error.__cause__ or error
    text = one_line(getattr(cause, "orig", None) or cause) or type(cause).__name__
    text = strike_out(text, address.location)
    return text if len(text) <= 200 else text[:197] + "..."
