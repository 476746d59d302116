"""What a demo city is made from, and whether the one on disk is the one that is wanted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from runtime.errors import UserError
from runtime.files import read_json

MANIFEST_NAME = "demo_city.json"
UNFINISHED_NAME = ".demo_city_unfinished"  # there from the first file to the manifest
# Raised whenever the same settings give other files, so that old cities are made anew.
GENERATOR_VERSION = 2

MIN_ROADS, MAX_ROADS = 200, 50_000
MIN_TRIPS, MAX_TRIPS = 10, 10_000_000
CITY_FILES = ("roadmap.geo", "roadmap.rel", "train.csv", "val.csv", "test.csv")


@dataclass(frozen=True)
class DemoCitySettings:
    """Everything that the files of a demo city depend on.

    `val` and `test` below 1 are fractions of the trips, from 1 on numbers of trips. `split` puts
    trips into them at random or the latest ones (`time`).
    """

    num_roads: int = 5000
    num_trips: int = 20_000
    seed: int = 0
    val: float = 0.1
    test: float = 0.1
    split: Literal["random", "time"] = "random"
    weeks: int = 4
    max_trip_roads: int = 120

    def check(self) -> None:
        """Raises `UserError` for settings out of range."""
        _require_range("roads", self.num_roads, MIN_ROADS, MAX_ROADS)
        _require_range("trips", self.num_trips, MIN_TRIPS, MAX_TRIPS)
        _require_range("weeks", self.weeks, 1, 52)
        _require_range("max_trip_roads", self.max_trip_roads, 10, 1000)
        _require_range("seed", self.seed, 0, 2**63 - 1)
        if self.split not in ("random", "time"):
            raise UserError(f"split is {self.split!r}; allowed: 'random' or 'time'.")
        for name, value in (("val", self.val), ("test", self.test)):
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value}; a fraction (0.1) or a number is expected.")
        if self.num_val + self.num_test >= self.num_trips:
            raise UserError(
                f"val ({self.num_val}) and test ({self.num_test}) leave no trips to train on; "
                f"there are {self.num_trips} in all."
            )

    @property
    def num_val(self) -> int:
        """The number of validation trips."""
        return self._count(self.val)

    @property
    def num_test(self) -> int:
        """The number of test trips."""
        return self._count(self.test)

    def _count(self, share: float) -> int:
        return max(1, round(share * self.num_trips) if share < 1 else int(share))

    def as_json(self) -> dict[str, Any]:
        """The settings as plain data, as the manifest holds them."""
        return asdict(self)


def _require_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UserError(f"The demo city's {name} is {value}; allowed: {low} to {high}.")


def demo_city_is_current(folder: str | Path, settings: DemoCitySettings) -> bool:
    """Whether `folder` holds the whole city that `settings` and this generator would make."""
    folder = Path(folder)
    try:
        manifest = read_json(folder / MANIFEST_NAME)
    except UserError:
        return False
    if not isinstance(manifest, dict):
        return False
    same = (
        manifest.get("generator_version") == GENERATOR_VERSION
        and manifest.get("settings") == settings.as_json()
    )
    sizes = manifest.get("file_sizes")
    if not same or not isinstance(sizes, dict):
        return False
    paths = [(folder / name, sizes.get(name)) for name in CITY_FILES]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)
