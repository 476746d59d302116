"""A study's folder: the city it reads, where every step's files lie, and what steps share.

The city is linked into the folder, with fewer validation trips, so that caches and zones do not
go into the folder it comes from.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from baselines.habits import Habits
from bench.city_study.settings import StudySettings
from bench.city_study.steps import Diary
from bench.students import Place, Run
from critics.scoring.session import read_any_trips
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from data.splits import split_file
from evaluation import load_reference
from metrics.reference import Reference, Settings
from metrics.trips import Trips, read_real_trips
from pipeline.ledger import measures_version
from pipeline.utility import write_trips_csv
from runtime.errors import UserError
from training.resources import ResourcePool

TEACHER = "teacher"
NETWORK_FILES = ("roadmap.geo", "roadmap.rel")


class Study:
    """What all steps of a study share."""

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.city = settings.out / "city"
        self.device = settings.device
        self.diary = Diary(settings.out / "steps")
        save = settings.out / "save"
        self.place = Place(self.city, save, settings.num_zones, settings.device)
        self.pool = ResourcePool()

    def prepare(self) -> None:
        """Links the city and makes what is missing: the validation trips, caches and zones."""
        source = self.settings.data_dir
        if not (source / NETWORK_FILES[0]).is_file():
            raise UserError(
                f"{source} holds no {NETWORK_FILES[0]}; --data_dir is a folder in HOSER's format "
                "(docs/data.md)."
            )
        self.city.mkdir(parents=True, exist_ok=True)
        files = [source / name for name in NETWORK_FILES]
        for file in [*files, split_file(source, "train"), split_file(source, "test")]:
            _link(self.city / file.name, file)
        self._write_validation_trips()
        ensure_zones(self.city, self.settings.num_zones)

    def _write_validation_trips(self) -> None:
        file = self.city / "val.csv"
        if file.exists():
            return
        trips = read_any_trips(
            split_file(self.settings.data_dir, "val"), RoadNetwork.load(self.city)
        )
        count = min(self.settings.val_trips, len(trips))
        spread = np.unique(np.linspace(0, len(trips) - 1, count).astype(np.int64))
        write_trips_csv(file, [trips.select(spread)])

    @cached_property
    def network(self) -> RoadNetwork:
        """With zones."""
        return RoadNetwork.load(self.city)

    def trips(self, split: str) -> Trips:
        """The real trips of a split."""
        return read_real_trips(self.city, split, self.network)

    @cached_property
    def habits(self) -> Habits:
        """What the training trips do."""
        return Habits(self.network, self.trips("train"))

    @cached_property
    def reference(self) -> Reference:
        """The test trips, measured as every evaluation does."""
        return load_reference(self.city, "test", Settings(bootstrap=self.settings.resamples))

    @cached_property
    def identity(self) -> dict[str, str | None]:
        """What every step depends on: roads, zones and trips."""
        hashes = {split: self.trips(split).source_hash for split in ("train", "val", "test")}
        zones = self.network.require_zones().content_hash
        return {"network": self.network.content_hash, "zones": zones, **hashes}

    @cached_property
    def measured_by(self) -> dict[str, object]:
        """What figures of trips depend on beside them."""
        return {"measures": measures_version(), "resamples": self.settings.resamples}

    @cached_property
    def num_train(self) -> int:
        """How many training trips there are."""
        return len(self.trips("train"))

    def num_trips(self, size: int | None) -> int:
        """How many of them students of a size see."""
        return min(size or self.num_train, self.num_train)

    def step_of(self, run: Run) -> str:
        """The step that trains a student."""
        return f"students/{run.name}"

    def student_file(self, run: Run) -> Path:
        """A student that is trained."""
        return self.diary.place(self.step_of(run)) / f"{run.name}.pth"

    @property
    def teacher_files(self) -> list[Path]:
        """The teachers that are trained."""
        settings, place = self.settings, self.diary.place(TEACHER)
        further = range(1, len(settings.teacher) or settings.num_teachers)
        return [place / "teacher.pt", *(place / f"teacher{number}.pt" for number in further)]


def _link(place: Path, target: Path) -> None:
    if place.is_symlink() and place.resolve() == target.resolve():
        return
    place.unlink(missing_ok=True)
    place.symlink_to(target.resolve())
