"""The JSON file beside generated trips, which says what they were generated from.

`gene.py` writes it; whoever reads the trips holds it against its own road network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.road_network import RoadNetwork
from runtime.errors import UserError
from runtime.files import read_json, sha256_of_file
from runtime.inputs import Inputs
from runtime.logs import get_logger

logger = get_logger("trips")


def record_path(trips: Path) -> Path:
    """Where the record of a file of trips lies: `trips.json` for `trips.csv`, else `NAME.json`."""
    if trips.suffix == ".csv":
        return trips.with_suffix(".json")
    return trips.with_name(f"{trips.name}.json")


def read_record(trips: Path) -> dict[str, Any] | None:
    """What the record says; None where there is none, or one of something else."""
    path = record_path(trips)
    if not path.is_file():
        return None
    try:
        record = read_json(path)
    except UserError:
        return None
    return record if is_record_of(record, trips) else None


def is_record_of(record: Any, trips: Path) -> bool:
    """Whether the content of a JSON file was written by `gene.py` for these trips."""
    if not isinstance(record, dict) or not isinstance(record.get("request"), dict):
        return False
    output = record.get("output", trips.name)
    return "status" in record and isinstance(output, str) and Path(output).name == trips.name


def check_record(trips: Path, network: RoadNetwork) -> None:
    """Refuses trips of another road network and those of a generation that did not end."""
    record = read_record(trips)
    if record is None:
        return
    place = record_path(trips)
    if record["status"] != "complete":
        raise UserError(
            f"{trips} is unfinished ({place.name} says {str(record['status'])[:20]!r}); go on with "
            f"gene.py --resume, or remove {place.name} to take the trips that are there."
        )
    here = Inputs(network=network.content_hash)
    Inputs.read(record).refuse_others(here, trips, "Give the dataset that the trips belong to.")
    if record.get("sha256", "") and record["sha256"] != sha256_of_file(trips):
        logger.warning("%s was changed after gene.py had written it.", trips)
