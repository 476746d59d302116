"""Which road network a dataset's zones were made for: `zones.json` beside the partition.

The partition itself is one number a road, as published, and fits any network of as many roads.
"""

from __future__ import annotations

from pathlib import Path

from runtime.errors import UserError
from runtime.files import read_json, sha256_of_file, write_json

PARTITION_NAME = "road_network_partition"
RECORD_NAME = "zones.json"


def write_zone_record(folder: Path, network_hash: str) -> None:
    """Notes that the partition in `folder` was made for a road network."""
    partition = sha256_of_file(folder / PARTITION_NAME)
    write_json(folder / RECORD_NAME, {"road_network": network_hash, "partition_sha256": partition})


def check_zone_record(folder: Path, network_hash: str) -> None:
    """Refuses a partition that is known to have been made for another road network."""
    try:
        record = read_json(folder / RECORD_NAME)
    except UserError:  # the partition is somebody's own
        return
    if not isinstance(record, dict):
        return
    same = record.get("partition_sha256") == sha256_of_file(folder / PARTITION_NAME)
    if same and record.get("road_network") != network_hash:
        raise UserError(
            f"{folder / PARTITION_NAME} was made for another road network; make the zones anew "
            f"with: python -m data.preprocess --data_dir {folder} --force"
        )
