"""Counts how often the trips of the training split change from one zone to another.

Only changes count: a step within a zone is none, so the diagonal is zero.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from config.arguments import example_parser
from config.choices import OnBadRows
from data.mapped import forget
from data.preprocess import PARTITION_NAME, ZONE_COUNTS_NAME, placing_zones
from data.road_network import RoadNetwork
from data.roadmap_files import read_partition
from data.splits import split_file
from data.trip_cache import CachedTrips, open_trips
from runtime.errors import UserError, run_main
from runtime.files import replace_atomically
from runtime.logs import get_logger, setup_logging

logger = get_logger("preprocess")

_TRIPS_AT_ONCE = 1 << 16


def count_zone_changes(trips: CachedTrips, road2zone: NDArray[np.int64]) -> NDArray[np.int64]:
    """Entry [i, j]: how many steps of the trips lead from zone i into another zone j. [Z, Z]"""
    num_zones = int(road2zone.max()) + 1
    counts = np.zeros(num_zones * num_zones, dtype=np.int64)
    first_road = 0
    for first in range(0, len(trips.lengths), _TRIPS_AT_ONCE):
        ends = np.cumsum(trips.lengths[first : first + _TRIPS_AT_ONCE], dtype=np.int64)
        zones = road2zone[trips.road_ids[first_road : first_road + int(ends[-1])]]
        is_change = zones[:-1] != zones[1:]
        is_change[ends[:-1] - 1] = False  # from one trip to the next
        pairs = zones[:-1][is_change] * num_zones + zones[1:][is_change]
        counts += np.bincount(pairs, minlength=num_zones * num_zones)
        first_road += int(ends[-1])
        forget(trips.road_ids)
    return counts.reshape(num_zones, num_zones)


def write_zone_trans_mat(
    folder: str | Path,
    *,
    on_bad_rows: OnBadRows = "error",
    cache_dir: str | Path | None = None,
) -> int:
    """Writes `zone_trans_mat.npy` and returns the number of zone changes counted."""
    folder = Path(folder)
    if not (folder / PARTITION_NAME).exists():
        raise UserError(
            f"{folder} has no {PARTITION_NAME}; make it with: "
            f"python -m data.preprocess.partition_road_network --data_dir {folder}"
        )
    network = RoadNetwork.load(folder, with_zones=False)
    road2zone = read_partition(folder / PARTITION_NAME, network.num_roads)
    cache = Path(cache_dir) if cache_dir is not None else folder / ".cache"
    counts = count_zone_changes(
        open_trips(split_file(folder, "train"), network, on_bad_rows, cache), road2zone
    )
    with replace_atomically(folder / ZONE_COUNTS_NAME) as path, path.open("wb") as file:
        np.save(file, counts, allow_pickle=False)
    total = int(counts.sum())
    logger.info(
        "%s: %d zone changes between %d zones.", folder / ZONE_COUNTS_NAME, total, len(counts)
    )
    return total


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the matrix."""
    parser = example_parser(
        "Counts the zone changes of the training trips (writes zone_trans_mat.npy).",
        "  python -m data.preprocess.get_zone_trans_mat --data_dir data/Beijing",
        prog="python -m data.preprocess.get_zone_trans_mat",
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset folder")
    parser.add_argument(
        "--on_bad_rows", choices=get_args(OnBadRows), default="error", help="what bad trips do"
    )
    arguments = parser.parse_args(argv)
    setup_logging()
    with placing_zones(arguments.data_dir):
        write_zone_trans_mat(arguments.data_dir, on_bad_rows=arguments.on_bad_rows)


if __name__ == "__main__":
    run_main(main)
