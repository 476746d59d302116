"""Files of GPS points as batches in one form: Parquet, CSV, GPX, or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from data.match.point_columns import Columns, uniform
from data.tables import readable_by_polars
from runtime.errors import UserError, one_line

if TYPE_CHECKING:
    import polars as pl

BATCH_ROWS = 500_000
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".txt", ".gpx")


@dataclass(frozen=True)
class PointFiles:
    """Where the points are and how to understand them."""

    files: list[Path]
    columns: Columns
    naive_timezone: str = "UTC"

    @classmethod
    def find(cls, path: Path, columns: Columns, naive_timezone: str = "UTC") -> PointFiles:
        """The file, or the files of a folder and the folders in it, in the order of their names."""
        if not path.exists():
            raise UserError(f"{path} does not exist; --gps names a file or a folder of points.")
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file() and _suffix(file))
        else:
            files = [path] if _suffix(path) else []
        if not files:
            raise UserError(f"{path} has no points; expected files {', '.join(_SUFFIXES)}.")
        return cls(files, columns, naive_timezone)

    def fingerprint(self) -> list[Any]:
        """What tells whether the files are still the same."""
        stats = [(str(file), file.stat()) for file in self.files]
        files = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
        return [files, self.columns.names, self.naive_timezone]

    def batches(self) -> Iterator[pl.DataFrame]:
        """All points in pieces of bounded size."""
        for file in self.files:
            try:
                yield from self._batches_of(file)
            except UserError:
                raise
            except Exception as error:  # polars, the parser and the codecs raise what they like
                kind = type(error).__name__
                if isinstance(error, MemoryError) or kind == "PanicException":
                    raise
                raise UserError(
                    f"{file} cannot be read ({kind}: {one_line(error)[:200]})."
                ) from error

    def _batches_of(self, file: Path) -> Iterator[pl.DataFrame]:
        import polars as pl

        if file.stat().st_size == 0:
            raise UserError(f"{file} is empty; a table of points was expected.")
        suffix = _suffix(file)
        if suffix == ".gpx":
            yield from _gpx_batches(file)
            return
        if suffix == ".parquet":
            frame = pl.scan_parquet(readable_by_polars(file), glob=False)
        else:
            frame = pl.scan_csv(
                readable_by_polars(file),
                glob=False,
                separator="\t" if suffix == ".tsv" else ",",
                has_header=not self.columns.without_header,
                infer_schema=False,
                ignore_errors=True,
                truncate_ragged_lines=True,
            )
        name = file.name.removesuffix(suffix or "")
        points = uniform(frame, self.columns, str(file), name, self.naive_timezone)
        yield from points.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


def _suffix(file: Path) -> str | None:
    name = file.name.lower()
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)


def _gpx_batches(file: Path) -> Iterator[pl.DataFrame]:
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
            yield _gpx_frame(file, rows)
            rows = []
    if rows:
        yield _gpx_frame(file, rows)


def _gpx_frame(file: Path, rows: list[tuple[str, str, str, str]]) -> pl.DataFrame:
    import polars as pl

    frame = pl.DataFrame(rows, schema=["trip", "time", "lat", "lon"], orient="row").lazy()
    return uniform(frame, Columns({}), str(file), file.stem, "UTC").collect()
