"""Makes a demo city in a folder: whole or not at all, and only when it is not there already."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.demo_city.settings import (
    CITY_FILES,
    GENERATOR_VERSION,
    MANIFEST_NAME,
    UNFINISHED_NAME,
    DemoCitySettings,
    demo_city_is_current,
)
from runtime.errors import UserError
from runtime.files import (
    FolderLock,
    read_json,
    replace_atomically,
    sha256_of_file,
    write_json,
)
from runtime.logs import get_logger
from runtime.placing import clear

if TYPE_CHECKING:
    from data.demo_city.streets import Streets

logger = get_logger("demo_city")

# Made from the city by other programs; they belong to the city that is replaced.
_DERIVED_FILES = ("road_network_partition", "zone_trans_mat.npy", "zones.json")
STAGING_NAME = ".demo_city_unfinished_files"
_TRAIN, _VAL, _TEST = range(3)


def make_demo_city(
    folder: str | Path,
    num_roads: int = 5000,
    num_trips: int = 20_000,
    seed: int = 0,
    *,
    settings: DemoCitySettings | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> Path:
    """Makes the demo city in `folder` unless it is there, and returns the folder.

    `settings` says more than the three numbers (and takes their place). A demo city made with
    other settings is replaced; files that the generator did not write are left alone.
    """
    if settings is None:
        settings = DemoCitySettings(num_roads=num_roads, num_trips=num_trips, seed=seed)
    settings.check()
    folder = Path(folder)
    if demo_city_is_current(folder, settings):
        return folder
    with FolderLock(folder, name=".demo_city.lock", wait=True):
        if not demo_city_is_current(folder, settings):
            _refuse_foreign_files(folder)
            with _staging(folder) as staging:
                _make(folder, staging, settings, threads, progress)
    return folder


def _refuse_foreign_files(folder: Path) -> None:
    """Only what the generator wrote, and nobody changed since, may be replaced."""
    if (folder / MANIFEST_NAME).exists() and not _is_ours(folder / MANIFEST_NAME):
        raise UserError(
            f"{folder / MANIFEST_NAME} is in the way and not of a demo city; choose another folder "
            "for the demo city, or move the file away."
        )
    present = [name for name in CITY_FILES if (folder / name).exists()]
    records = [name for name in (MANIFEST_NAME, UNFINISHED_NAME) if (folder / name).exists()]
    for name in present:
        if not any(_wrote(folder, record, name) for record in records):
            raise UserError(
                f"{folder} holds a {name} that is not a demo city's, or was changed since; choose "
                "another folder for the demo city, or move the file away."
            )
    if present:
        logger.info("%s holds another or an unfinished demo city, which is replaced.", folder)


def _is_ours(manifest: Path) -> bool:
    try:
        content = read_json(manifest)
    except UserError:
        return False
    return isinstance(content, dict) and {"generator_version", "settings"} <= content.keys()


def _wrote(folder: Path, record: str, name: str) -> bool:
    """Whether a file is as the generator's record says that it was written."""
    try:
        content = read_json(folder / record)
    except UserError:  # a marker of earlier versions is empty: everything was under way
        return record == UNFINISHED_NAME
    if not isinstance(content, dict):
        return False
    hashes, sizes = (content.get(key) for key in ("file_sha256", "file_sizes"))
    if isinstance(hashes, dict):
        return bool(hashes.get(name) == sha256_of_file(folder / name))
    return isinstance(sizes, dict) and sizes.get(name) == (folder / name).stat().st_size


def _put_in_place(folder: Path, staging: Path, manifest: dict[str, Any]) -> None:
    """Moves the finished files to their names; a record of them is there before the first one."""
    write_json(folder / UNFINISHED_NAME, manifest)
    try:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
        for name in _DERIVED_FILES:
            clear(folder / name)
        for name in CITY_FILES:
            (staging / name).replace(folder / name)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error
    write_json(folder / MANIFEST_NAME, manifest)
    (folder / UNFINISHED_NAME).unlink(missing_ok=True)


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder beside the city's files, without what a killed generation left there."""
    staging = folder / STAGING_NAME
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        yield staging
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _make(
    folder: Path, staging: Path, settings: DemoCitySettings, threads: int | None, progress: bool
) -> None:
    # Imported here: a city that is there already must not cost the compiled kernels' import.
    from data.demo_city.streets import make_streets
    from data.demo_city.writer import write_road_map

    logger.info(
        "Making a demo city of %d roads and %d trips in %s.",
        settings.num_roads,
        settings.num_trips,
        folder,
    )
    streets = make_streets(settings.num_roads, settings.seed)
    write_road_map(staging, streets)
    mean_roads = _write_trips(staging, streets, settings, threads, progress)
    manifest = {
        "generator_version": GENERATOR_VERSION,
        "settings": settings.as_json(),
        "num_roads": streets.num_roads,
        "mean_trip_roads": round(mean_roads, 3),
        "file_sizes": {name: (staging / name).stat().st_size for name in CITY_FILES},
        "file_sha256": {name: sha256_of_file(staging / name) for name in CITY_FILES},
    }
    _put_in_place(folder, staging, manifest)
    logger.info(
        "The demo city has %d roads; its trips have %.1f roads on average.",
        streets.num_roads,
        mean_roads,
    )


def _write_trips(
    folder: Path,
    streets: Streets,
    settings: DemoCitySettings,
    threads: int | None,
    progress: bool,
) -> float:
    """Writes the three trip files and returns the mean number of roads of a trip."""
    from tqdm import tqdm

    from data.demo_city.trips import TripMaker
    from data.demo_city.writer import TripWriter

    maker = TripMaker(streets, settings)
    split = _split(settings, maker.start_times())
    total_roads = 0
    with contextlib.ExitStack() as stack:
        writers = []
        for name in ("train", "val", "test"):
            path = stack.enter_context(replace_atomically(folder / f"{name}.csv"))
            file = stack.enter_context(path.open("wb"))
            writers.append(TripWriter(file, settings.weeks))
        bar = stack.enter_context(
            tqdm(total=settings.num_trips, desc="Trips", unit=" trips", disable=not progress)
        )
        for chunk in maker.chunks(threads):
            of_chunk = split[chunk.first : chunk.first + len(chunk)]
            for number, writer in enumerate(writers):
                writer.write(chunk, np.flatnonzero(of_chunk == number))
            total_roads += len(chunk.roads)
            bar.update(len(chunk))
    return total_roads / settings.num_trips


def _split(settings: DemoCitySettings, start_s: NDArray[np.int64]) -> NDArray[np.int8]:
    """Which file each trip goes to: at random, or the latest to test and those before to val."""
    if settings.split == "time":
        order = np.argsort(-start_s, kind="stable")
    else:
        order = np.random.default_rng([settings.seed, 9]).permutation(settings.num_trips)
    split = np.full(settings.num_trips, _TRAIN, dtype=np.int8)
    split[order[: settings.num_test]] = _TEST
    split[order[settings.num_test : settings.num_test + settings.num_val]] = _VAL
    return split
