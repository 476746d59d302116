"""Whether zones belong to the training trips they lie beside: the trips' own changes tell.

Zones of another network with as many roads look right, but trips jump about between them in ways
that their matrix does not know.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.preprocess.get_zone_trans_mat import count_zone_changes
from data.road_network import RoadNetwork
from data.roadmap_files import read_zone_counts
from data.splits import split_file
from data.trip_cache import open_trips
from data.trip_csv import OnBadRows
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("data")

# Half of all changes elsewhere: other trips of the same city share far more of them than that.
MOST_DIFFERENT = 0.5


def check_zones(
    network: RoadNetwork, on_bad_rows: OnBadRows = "error", cache_dir: str | Path | None = None
) -> None:
    """Refuses zones whose matrix is not of these trips at all; says where it is out of date."""
    folder = network.folder
    road2zone = network.require_zones().road2zone
    cache = Path(cache_dir) if cache_dir is not None else folder / ".cache"
    trips = open_trips(split_file(folder, "train"), network, on_bad_rows, cache)
    stored = read_zone_counts(folder / "zone_trans_mat.npy")
    counted = np.zeros_like(stored)
    found = count_zone_changes(trips, road2zone)
    counted[: len(found), : len(found)] = found
    stored = stored * (1 - np.eye(len(stored)))  # steps within a zone count as none
    if not (stored.any() and counted.any()):
        return
    difference = 0.5 * float(np.abs(stored / stored.sum() - counted / counted.sum()).sum())
    if difference > MOST_DIFFERENT:
        raise UserError(
            f"{folder / 'zone_trans_mat.npy'} and road_network_partition are not of this dataset: "
            f"{100 * difference:.0f} % of the zone changes of train.csv differ from it. Make both "
            f"anew with: python -m data.preprocess --data_dir {folder} --force"
        )
    if not np.array_equal(stored, counted):
        logger.warning(
            "%s does not hold the zone changes of train.csv (%.1f %% differ); make it anew with: "
            "python -m data.preprocess.get_zone_trans_mat --data_dir %s",
            folder / "zone_trans_mat.npy",
            100 * difference,
            folder,
        )
