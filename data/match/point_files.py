"""Files of GPS points as batches in one form: Parquet, CSV, GPX, or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from data.match.point_columns import ROLES, Columns, Unread, most_unread, uniform
from data.match.point_times import SlashEvidence, TimeRules
from data.tables import readable_by_polars
from runtime.errors import UserError, one_line
from runtime.logs import get_logger

if TYPE_CHECKING:
    import polars as pl

logger = get_logger("match")

BATCH_ROWS = 500_000
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".txt", ".gpx")


@dataclass(frozen=True)
class PointFiles:
    """Where the points are and how to understand them."""

    files: list[Path]
    columns: Columns
    naive_timezone: str = "UTC"
    folder: Path | None = None
    """Where the files lie, if the user named a folder: their paths in it tell vehicles apart."""

    @classmethod
    def find(cls, path: Path, columns: Columns, naive_timezone: str = "UTC") -> PointFiles:
        """The file, or the files of a folder and the folders in it, in the order of their names."""
        if not path.exists():
            raise UserError(f"{path} does not exist; --gps names a file or a folder of points.")
        folder = None
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file() and _suffix(file))
            folder = path
        else:
            files = [path] if _suffix(path) else []
        if not files:
            raise UserError(f"{path} has no points; expected files {', '.join(_SUFFIXES)}.")
        return cls(files, columns, naive_timezone, folder)

    def fingerprint(self) -> list[Any]:
        """What tells whether the files are still the same."""
        stats = [(str(file), file.stat()) for file in self.files]
        files = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
        return [files, self.columns.names, self.naive_timezone, str(self.folder)]

    @cached_property
    def rules(self) -> TimeRules:
        """How times are read, alike in all files; `UserError` where the files leave it open."""
        import polars as pl

        evidence = SlashEvidence()
        for file in self.files:
            with _named_in_errors(file):
                for table in self._tables(file) if _suffix(file) != ".gpx" else ():
                    time = table.chosen(file)["time"]
                    if table.frame.collect_schema()[time] == pl.String:
                        evidence.see(table.frame, time)
        return TimeRules(self.naive_timezone, evidence.order())

    def check(self) -> None:
        """Raises `UserError` for files without the columns, or with dates of an open order."""
        _ = self.rules

    def batches(self) -> Iterator[pl.DataFrame]:
        """All points in pieces of bounded size."""
        rules, said = self.rules, set[str]()
        for file in self.files:
            with _named_in_errors(file):
                for table in self._tables(file):
                    if table.rules is None:  # of GPX there is nothing to say
                        _say_once(table.chosen(file), file, said)
                    name, of_table = self._vehicle(file), table.rules or rules
                    points = uniform(table.frame, table.columns, str(file), name, of_table)
                    yield from points.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)

    def most_unread(self, share: float) -> Unread | None:
        """What was not read in the first file that has more than `share` of that, and a value."""
        for file in self.files:
            with _named_in_errors(file):
                for table in self._tables(file):
                    rules = table.rules or self.rules
                    found = most_unread(table.frame, table.columns, str(file), rules, share)
                    if found is not None:
                        return found
        return None

    def vehicles_by(self) -> str:
        """What tells vehicles apart in the first file."""
        with _named_in_errors(self.files[0]):
            for table in self._tables(self.files[0]):
                column = table.chosen(self.files[0]).get("vehicle")
                return f"The column {column!r}" if column else "Each file"
        return "Each file"

    def _vehicle(self, file: Path) -> str:
        """The name of the only vehicle of a file that has no column for it."""
        name = file.name if self.folder is None else file.relative_to(self.folder).as_posix()
        return name[: len(name) - len(_suffix(file) or "")]

    def _tables(self, file: Path) -> Iterator[_Table]:
        """A file's rows as they are; of GPX, which is no table, in pieces."""
        import polars as pl

        if file.stat().st_size == 0:
            raise UserError(f"{file} is empty; a table of points was expected.")
        suffix = _suffix(file)
        if suffix == ".gpx":
            for rows in _gpx_rows(file):
                points = pl.DataFrame(rows, schema=["trip", "time", "lat", "lon"], orient="row")
                yield _Table(points.lazy(), Columns({}), TimeRules())
        elif suffix == ".parquet":
            yield _Table(pl.scan_parquet(readable_by_polars(file), glob=False), self.columns)
        else:
            table = pl.scan_csv(
                readable_by_polars(file),
                glob=False,
                separator="\t" if suffix == ".tsv" else ",",
                has_header=not self.columns.without_header,
                infer_schema=False,
                ignore_errors=True,
                truncate_ragged_lines=True,
            )
            yield _Table(table, self.columns)


@dataclass(frozen=True)
class _Table:
    """Rows, which of their columns are what, and how times are read, where the kind tells."""

    frame: pl.LazyFrame
    columns: Columns
    rules: TimeRules | None = None

    def chosen(self, file: Path) -> dict[str, str]:
        """The column of each role."""
        return self.columns.find(self.frame.collect_schema().names(), str(file))


def _say_once(chosen: dict[str, str], file: Path, said: set[str]) -> None:
    """Says which columns were taken for what, unless it was the same in a file before."""
    columns = ", ".join(f"{role} is {name!r}" for role, name in chosen.items())
    if columns not in said:
        said.add(columns)
        others = ", ".join(role for role in ROLES if role not in chosen)
        logger.info("In %s %s%s.", file, columns, f"; no column is {others}" if others else "")


@contextmanager
def _named_in_errors(file: Path) -> Iterator[None]:
    """Whatever goes wrong in reading a file becomes a `UserError` that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # polars, the parser and the codecs raise what they like
        kind = type(error).__name__
        if isinstance(error, MemoryError) or kind == "PanicException":
            raise
        raise UserError(f"{file} cannot be read ({kind}: {one_line(error)[:200]}).") from error


def _suffix(file: Path) -> str | None:
    name = file.name.lower()
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)


def _gpx_rows(file: Path) -> Iterator[list[tuple[str, str, str, str]]]:
    """Track points of a GPX file; a segment is a trip, the file is the vehicle."""
    rows: list[tuple[str, str, str, str]] = []
    segment = 0
    for _, element in ElementTree.iterparse(file, events=("end",)):
        tag = element.tag.rpartition("}")[2]
        if tag == "trkpt":
            time = next((part.text for part in element if part.tag.endswith("time")), None)
            latitude, longitude = element.get("lat", ""), element.get("lon", "")
            rows.append((str(segment), (time or "").strip(), latitude, longitude))
            element.clear()
        elif tag == "trkseg":
            segment += 1
            element.clear()
        if len(rows) == BATCH_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows
