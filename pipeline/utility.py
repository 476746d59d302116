"""Are the trips of use? A student trained on them, against one trained on as many real ones.

Train on synthetic and test on real, the mixture of both, and a student of real trips tested on
the synthetic ones. A student says the next road and the time to it, so both uses are measured:
next-road accuracy and travel-time error. Every training is a folder that is found again as long
as its trips and settings are the same.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config import Config
from config.loading import dump_config
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
from search.student import open_city

logger = get_logger("utility")

MIN_TRIPS = 10


def measure_utility(
    config: Config, generated: GeneratedTrips, network: RoadNetwork, folder: Path
) -> Utility:
    """Trains a vanilla student on each kind of trips and measures it; done ones are found."""
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
    tests = {"real": network.folder / "test.csv", "synthetic": folder / "synthetic_test.csv"}
    write_trips_csv(tests["synthetic"], [chosen[1]])
    found = {
        name: _train_and_test(config, network.folder, trips, folder / name, tests)
        for name, trips in arms.items()
    }
    return Utility(
        count, {name: each["real"] for name, each in found.items()}, found["real"]["synthetic"]
    )


def _train_and_test(
    config: Config, city: Path, trips: Sequence[Trips], folder: Path, tests: dict[str, Path]
) -> dict[str, Figures]:
    """The figures of a student of these trips on each kind of test trips."""
    from train_with_distill import train

    city_folder = folder / "city"
    _make_city(city_folder, city, trips, tests["real"])
    settings = config.model_copy(
        update={
            "data_dir": str(city_folder),
            "save_dir": str(folder / "save"),
            "distill": config.distill.model_copy(update={"enable": False}),
        }
    )
    inputs = {
        "step": "utility",
        "config": dump_config(config),
        "train": sha256_of_file(city_folder / "train.csv"),
        "val": sha256_of_file(city / "val.csv"),
        "tests": {name: sha256_of_file(file) for name, file in tests.items()},
    }
    entry = Entry(folder / "utility.ledger.json", inputs)
    result_file = folder / "figures.json"
    if entry.is_done():
        logger.info("The student of %s trips is up to date.", folder.name)
        return dict(read_json(result_file))
    logger.info("Training a student on %s trips.", folder.name)
    ensure_zones(city_folder, config.data.num_zones)
    trained = train(settings, resume=None if entry.was_begun() else False)
    found = {
        name: _test(settings, Path(trained.checkpoint), city_folder, file)
        for name, file in tests.items()
    }
    write_json(result_file, found)
    entry.finish([result_file])
    return found


def _test(config: Config, model: Path, city: Path, test_file: Path) -> Figures:
    """The student's figures on the trips of a file."""
    from training.validation import validate

    _link(city / "test.csv", test_file)
    opened = open_city(config, model)
    device = resolve_device(None, config.training.device)
    dataset: TripDataset = opened.trips("test")
    batch_size = config.optimizer_config.batch_size
    result = validate(opened.load_student(device), dataset, device=device, batch_size=batch_size)
    assert result is not None  # nothing interrupts it
    return {name: float(getattr(result, name)) for name in MEASURED}


def _make_city(folder: Path, city: Path, trips: Sequence[Trips], test_file: Path) -> None:
    """The city's roads and validation trips with other training trips; zones follow from these."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("roadmap.geo", "roadmap.rel", "val.csv"):
        _link(folder / name, city / name)
    _link(folder / "test.csv", test_file)
    write_trips_csv(folder / "train.csv", trips)


def _link(place: Path, target: Path) -> None:
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
