"""Are the trips of use? A student trained on them, against one trained on as many real ones.

Train on synthetic and test on real, the mixture of both, and a student of real trips tested on
the synthetic ones. A student says the next road and the time to it, so both uses are measured:
next-road accuracy and travel-time error. Every training is a folder that is found again as long
as its trips and settings are the same.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config import Config
from config.loading import dump_config
from config.schema import DistillConfig
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from metrics.generated import GeneratedTrips
from metrics.trips import Trips, read_real_trips
from metrics.utility import MEASURED, Figures, Utility
from pipeline.ledger import Entry
from runtime.device import resolve_device
from runtime.errors import UserError
from runtime.files import read_json, replace_atomically, sha256_of_file, write_json
from runtime.logs import get_logger
from runtime.placing import clear, make_way, placing
from search.student import open_city
from train_with_distill import train
from training.folder import RunFolder
from training.validation import validate

logger = get_logger("utility")

MIN_TRIPS = 10


def measure_utility(
    config: Config,
    generated: GeneratedTrips,
    network: RoadNetwork,
    folder: Path,
    force: bool = False,
) -> Utility:
    """Trains a vanilla student on each kind of trips and measures it; done ones are found."""
    with placing("tools.utility", folder.parent, force=force):
        return _measure(config, generated, network, folder)


def _measure(
    config: Config, generated: GeneratedTrips, network: RoadNetwork, folder: Path
) -> Utility:
    seed = config.training.seed
    synthetic = generated.trips.select(
        np.flatnonzero((generated.unjoined == 0) & (generated.trips.lengths > 1))
    )
    real = read_real_trips(network.folder, "train", network, config.data.on_bad_rows)
    count = min(len(synthetic), len(real))
    if count < MIN_TRIPS:
        raise UserError(f"There are {count} trips to learn from; {MIN_TRIPS} at least are needed.")
    rng = np.random.default_rng([seed, 7])
    chosen = [each.select(rng.permutation(len(each))[:count]) for each in (real, synthetic)]
    half = count // 2
    arms = {
        "real": [chosen[0]],
        "synthetic": [chosen[1]],
        "mixture": [
            chosen[0].select(np.arange(half)),
            chosen[1].select(np.arange(half, count)),
        ],
    }
    real_test, synthetic_test = network.folder / "test.csv", folder / "synthetic_test.csv"
    write_trips_csv(synthetic_test, [chosen[1]])
    students = {
        # As many real trips teach the same, whichever generated ones they are held against.
        name: _Student(
            folder.parent / f"real_trips_{count}" if name == "real" else folder / name,
            config,
            network.folder,
        )
        for name in arms
    }
    for name, trips in arms.items():
        students[name].train(trips)
    return Utility(
        count,
        {name: student.tested_on(real_test) for name, student in students.items()},
        students["real"].tested_on(synthetic_test),
    )


@dataclass(frozen=True)
class _Student:
    """A vanilla student of some trips, in a folder where it is found again."""

    folder: Path
    base: Config
    city: Path  # whose roads and validation trips it sees

    @property
    def own_city(self) -> Path:
        """The city with the student's own training trips."""
        return self.folder / "city"

    @property
    def config(self) -> Config:
        """How it is trained: without a teacher, on all trips of its own city."""
        return self.base.model_copy(
            update={
                "data_dir": str(self.own_city),
                "save_dir": str(self.folder / "save"),
                "data": self.base.data.model_copy(update={"max_train_trips": None}),
                "distill": DistillConfig(enable=False),
            }
        )

    @property
    def model(self) -> RunFolder:
        """Its files."""
        return RunFolder.of(self.config)

    def train(self, trips: Sequence[Trips]) -> None:
        """Trains it on the trips, unless that was done."""
        _make_city(self.own_city, self.city, trips)
        inputs = {
            "step": "utility",
            "config": dump_config(self.config),
            "train": sha256_of_file(self.own_city / "train.csv"),
            "val": sha256_of_file(self.city / "val.csv"),
        }
        entry = Entry(self.folder / "utility.ledger.json", inputs)
        if entry.is_done():
            logger.info("The student of %s is up to date.", self.folder.name)
            return
        logger.info("Training a student on %s.", self.folder.name)
        entry.begin()
        data = self.base.data
        ensure_zones(
            self.own_city, data.num_zones, on_bad_rows=data.on_bad_rows, cache_dir=data.cache_dir
        )
        result = train(self.config, resume=None if self.model.latest.exists() else False)
        if result.finished:
            clear(self._figures)
            entry.finish([self.model.best])
        result.end_if_stopped()

    @property
    def _figures(self) -> Path:
        return self.folder / "figures.json"

    def tested_on(self, test_file: Path) -> Figures:
        """Its figures on the trips of a file, measured where they are not known."""
        key = sha256_of_file(test_file)
        known: dict[str, Figures] = read_json(self._figures) if self._figures.is_file() else {}
        if key not in known:
            known[key] = _test(self.config, self.model.best, self.own_city, test_file)
            write_json(self._figures, known)
        return known[key]


def _test(config: Config, model: Path, city: Path, test_file: Path) -> Figures:
    """The student's figures on the trips of a file."""
    _link(city / "test.csv", test_file)
    opened = open_city(config, model)
    device = resolve_device(None, config.training.device)
    dataset: TripDataset = opened.trips("test")
    batch_size = config.optimizer_config.batch_size
    result = validate(opened.load_student(device), dataset, device=device, batch_size=batch_size)
    assert result is not None  # nothing interrupts it
    return {name: float(getattr(result, name)) for name in MEASURED}


def _make_city(folder: Path, city: Path, trips: Sequence[Trips]) -> None:
    """The city's roads and validation trips with other training trips; zones follow from these."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("roadmap.geo", "roadmap.rel", "val.csv", "test.csv"):
        _link(folder / name, city / name)
    write_trips_csv(folder / "train.csv", trips)


def _link(place: Path, target: Path) -> None:
    make_way(place)
    place.unlink(missing_ok=True)
    place.symlink_to(target.resolve())


def write_trips_csv(path: Path, parts: Sequence[Trips]) -> None:
    """The CSV of a split."""
    with (
        replace_atomically(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["mm_id", "entity_id", "traj_id", "rid_list", "time_list"])
        number = 0
        for trips in parts:
            for index in range(len(trips)):
                roads, times = trips.trip(index)
                writer.writerow([number, number, 0, _joined(roads), _clock(times)])
                number += 1


def _joined(roads: NDArray[np.int32]) -> str:
    return ",".join(map(str, roads.tolist()))


def _clock(times: NDArray[np.int64]) -> str:
    return ",".join(f"{each}Z" for each in np.datetime_as_string(times.astype("datetime64[s]")))
