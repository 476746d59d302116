"""Writes trips in HOSER's format: train, val and test, as CSV or Parquet, local wall time."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from data.match.results import PieceFile
from data.match.settings import MatchSettings
from data.match.splits import Splitter
from data.splits import SPLITS, SUFFIXES
from data.tables import join_parquet, writable_by_polars
from runtime.files import replace_atomically
from runtime.placing import clear
from runtime.results import Results

if TYPE_CHECKING:
    import polars as pl

PLACES_NAME = "matched_points.parquet"
REPORT_JSON, REPORT_PAGE = REPORTS = ("match_report.json", "match_report.html")
_PASSAGES_NAME = "zone_trans_mat.npy"  # between zones; counted on the trips
_TRIPS_PER_BATCH = 50_000
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def trip_results(folder: Path, force: bool = False) -> Results:
    """The files that matching writes: what is somebody's own there is not replaced."""
    names = [f"{split}{suffix}" for split in SPLITS for suffix in SUFFIXES]
    return Results(folder, (*names, PLACES_NAME, *REPORTS), "data.match", force=force)


def write_trips(
    folder: Path, parts: list[PieceFile], vehicles: list[str], settings: MatchSettings
) -> dict[str, int]:
    """Writes the three files whole; returns how many trips each has.

    They take the place of old ones together: without its training trips a folder is no dataset, so
    those go first and come last.
    """
    splitter = Splitter.of(parts, len(vehicles), settings)
    names = _names(vehicles, settings)
    kind = settings.file_format
    counts = dict.fromkeys(SPLITS, 0)
    with contextlib.ExitStack() as stack:
        writers: list[_Writer] = []
        for split in SPLITS:
            path = stack.enter_context(replace_atomically(folder / f"{split}.{kind}"))
            writers.append(_Writer(path, kind, parts[0].folder / f"out-{split}"))
        trip_number = 0
        for part in parts:
            of_trip = splitter.split(part)
            for number, split in enumerate(SPLITS):
                chosen = np.flatnonzero(of_trip == number)
                for frame in _frames(part, chosen, names, settings, counts[split], trip_number):
                    writers[number].write(frame)
                    counts[split] += len(frame)
            trip_number += len(of_trip)
        for writer in writers:
            writer.close()
        for suffix in SUFFIXES:
            (folder / f"train{suffix}").unlink(missing_ok=True)
    other = "parquet" if kind == "csv" else "csv"
    clear(folder / _PASSAGES_NAME)
    for split in SPLITS:
        (folder / f"{split}.{other}").unlink(missing_ok=True)
    return counts


def _names(vehicles: list[str], settings: MatchSettings) -> list[str]:
    """The vehicles' names, or numbers in an order that tells nothing."""
    if not settings.anonymise:
        return vehicles
    order = np.random.default_rng().permutation(len(vehicles))
    return [str(number) for number in order.tolist()]


def _frames(
    part: PieceFile,
    chosen: np.ndarray,
    names: list[str],
    settings: MatchSettings,
    first_row: int,
    first_trip: int,
) -> Iterator[pl.DataFrame]:
    import polars as pl

    with part.open() as arrays:
        vehicle, offsets = arrays["vehicle"], arrays["offsets"]
        roads, entry_s = arrays["roads"], arrays["entry_s"]
    for begin in range(0, len(chosen), _TRIPS_PER_BATCH):
        trips = chosen[begin : begin + _TRIPS_PER_BATCH]
        sizes = np.diff(offsets)[trips]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        take = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - offsets[trips], sizes)
        times = _wall_times(entry_s[take], entry_s[offsets[trips]], sizes, settings.timezone)
        steps = pl.DataFrame(
            {
                "trip": np.repeat(np.arange(len(trips), dtype=np.int64), sizes),
                "rid_list": roads[take],
                "time_list": times,
            }
        )
        yield (
            steps.group_by("trip", maintain_order=True)
            .agg("rid_list", pl.from_epoch("time_list", time_unit="s").dt.cast_time_unit("ms"))
            .select(
                pl.Series("mm_id", np.arange(first_row + begin, first_row + begin + len(trips))),
                pl.Series(
                    "entity_id", [names[v] for v in vehicle[trips].tolist()], dtype=pl.String
                ),
                pl.Series("traj_id", first_trip + trips),
                "rid_list",
                "time_list",
            )
        )


def _wall_times(
    entry_s: np.ndarray, start_s: np.ndarray, sizes: np.ndarray, timezone: str | None
) -> np.ndarray:
    """UTC seconds as the clock on the wall shows them, by the offset at the start of each trip.

    One offset a trip: with the clock set back during it, its times would run backwards.
    """
    if timezone is None:
        return entry_s
    import polars as pl

    start = pl.from_epoch(pl.Series(start_s), time_unit="s").dt.replace_time_zone("UTC")
    local = start.dt.convert_time_zone(timezone)
    offset = local.dt.base_utc_offset() + local.dt.dst_offset()
    return entry_s + np.repeat(offset.dt.total_seconds().to_numpy(), sizes)


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists as HOSER's CSV has them: `1,2,3` and `2015-11-05T23:29:48Z,…`."""
    import polars as pl

    return frame.with_columns(
        pl.col("rid_list").list.eval(pl.element().cast(pl.String)).list.join(","),
        pl.col("time_list").list.eval(pl.element().dt.strftime(_TIME_FORMAT)).list.join(","),
    )


class _Writer:
    """Appends trips to a file: CSV as text, Parquet through parts that are joined at the end."""

    def __init__(self, path: Path, kind: str, parts_folder: Path) -> None:
        self.path = path
        self.kind = kind
        self.parts_folder = parts_folder
        self.count = 0
        self._text: BinaryIO | None = path.open("wb") if kind == "csv" else None
        shutil.rmtree(parts_folder, ignore_errors=True)  # of a run that was killed
        parts_folder.mkdir(parents=True)

    def write(self, frame: pl.DataFrame) -> None:
        """Appends trips."""
        if self._text is not None:
            as_text(frame).write_csv(self._text, include_header=self.count == 0)
        else:
            part = self.parts_folder / f"{self.count:012d}.parquet"
            with writable_by_polars(part) as out:
                frame.write_parquet(out)
        self.count += len(frame)

    def close(self) -> None:
        """Finishes the file; one without trips gets its header all the same."""
        if self.count == 0:
            self.write(_no_trips())
        if self._text is not None:
            self._text.close()
        else:
            join_parquet(sorted(self.parts_folder.glob("*.parquet")), self.path)
        shutil.rmtree(self.parts_folder)


def _no_trips() -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(
        schema={
            "mm_id": pl.Int64,
            "entity_id": pl.String,
            "traj_id": pl.Int64,
            "rid_list": pl.List(pl.Int32),
            "time_list": pl.List(pl.Datetime("ms")),
        }
    )
