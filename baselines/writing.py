"""A yardstick's trips as a file, with its figures beside it like those of `gene.py`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from baselines.generators import BASELINES, BaselineName
from baselines.habits import Habits
from config.choices import OnBadRows
from data.generation_record import record_path
from data.road_network import RoadNetwork
from metrics.trips import read_real_trips
from runtime.files import replace_atomically, sha256_of_file, write_json
from runtime.inputs import KEY
from runtime.logs import get_logger
from search.od import ODSource
from search.writer import HEADER, format_row

logger = get_logger("baselines")


@dataclass(frozen=True)
class BaselineResult:
    """Where the trips are, and how it went."""

    output: Path
    trips: int
    reached_rate: float
    wall_seconds: float

    @property
    def figures(self) -> dict[str, float]:
        """What can be told in numbers."""
        return {
            "trips": float(self.trips),
            "reached_rate": self.reached_rate,
            "wall_seconds": self.wall_seconds,
            "trips_per_second": self.trips / max(self.wall_seconds, 1e-9),
            "seconds_per_trip": self.wall_seconds / max(self.trips, 1),
        }


def load_habits(data_dir: str | Path, on_bad_rows: OnBadRows = "error") -> Habits:
    """What the training trips of a dataset teach."""
    network = RoadNetwork.load(data_dir)
    return Habits(network, read_real_trips(data_dir, "train", network, on_bad_rows))


def write_baseline(
    name: BaselineName, habits: Habits, source: ODSource, output: Path, seed: int
) -> BaselineResult:
    """Writes one trip for every pair of `source`."""
    generator = BASELINES[name](habits, seed)
    started = time.perf_counter()
    count, reached = 0, 0
    with replace_atomically(output) as temporary, temporary.open("wb") as file:
        file.write(HEADER)
        for requests in source.requests(0, len(source)):
            for trip in generator.trips(requests):
                file.write(format_row(trip))
                count += 1
                reached += trip.reached
    seconds = time.perf_counter() - started
    result = BaselineResult(output, count, reached / max(count, 1), seconds)
    record = {
        "status": "complete",
        "output": str(output),
        "search": name,
        **result.figures,
        "sha256": sha256_of_file(output),
        "request": {"baseline": name, "seed": seed, **source.identity()},
        KEY: replace(habits.inputs, model=name).to_json(),
    }
    write_json(record_path(output), record)
    logger.info(
        "%s: %d trips are in %s, %.1f %% reached their destination.",
        name,
        count,
        output,
        100 * result.reached_rate,
    )
    return result
