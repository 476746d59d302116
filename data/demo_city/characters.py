"""Test trips of a demo city, some of them driven out of character: labels that are the truth.

    python -m data.demo_city.characters --data_dir data/demo --out scores/characters

Whoever detects anomalies can be held against what the generator knows: a share of the trips is
driven once more between the same roads at the same time, by drivers who like what others avoid.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from config.arguments import example_parser
from data.demo_city.oracle import DemoCityOracle
from data.demo_city.settings import MANIFEST_NAME, DemoCitySettings
from data.demo_city.trips import FIRST_DAY_S, TripChunk
from data.demo_city.writer import TripWriter
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.errors import UserError, run_main
from runtime.files import read_json, replace_atomically
from runtime.results import Results, add_force_argument

LABEL = "out of character"

EXAMPLES = """\
  python -m data.demo_city.characters --data_dir data/demo --out scores/characters
  python -m data.demo_city.characters --data_dir data/demo --out scores/characters --share 0.1
"""


def write_characters(data_dir: Path, folder: Path, share: float, seed: int) -> int:
    """Writes `trips.csv` and `labels.csv` into `folder`; returns how many are out of character."""
    if not 0 < share < 1:
        raise UserError(f"The share is {share}; it must be between 0 and 1.")
    settings = _settings(data_dir)
    network = RoadNetwork.load(data_dir, with_zones=False)
    test = TripDataset.load(data_dir, "test", network)
    starts = np.asarray(test.starts)
    first, last = test.offsets[:-1], test.offsets[1:] - 1
    chosen = np.random.default_rng(seed).random(len(test)) < share
    places = np.flatnonzero(chosen)
    if not len(places):
        raise UserError(f"The share is {share}; of {len(test)} test trips that is none.")
    origin, destination = (np.asarray(test.road_ids[at], dtype=np.int64) for at in (first, last))
    oracle = DemoCityOracle(settings)
    table = oracle.drive(origin[places], destination[places], starts[places], True)
    roads, elapsed = [], []
    for trip in range(len(test)):
        ids, times = test.trip(trip)
        roads.append(np.asarray(ids))
        elapsed.append((times - times[0]).astype(np.int32))
    for place, length, ids, seconds in zip(
        places.tolist(), table.length.tolist(), table.roads, table.elapsed_s, strict=True
    ):
        chosen[place] = length > 0 and not np.array_equal(roads[place], ids[:length])
        if chosen[place]:
            roads[place], elapsed[place] = ids[:length], seconds[:length]
    offsets = np.cumsum([0, *map(len, roads)], dtype=np.int64)
    drivers = np.zeros(len(test), dtype=np.int64)
    clock_s = starts - FIRST_DAY_S
    chunk = TripChunk(0, drivers, clock_s, offsets, np.concatenate(roads), np.concatenate(elapsed))
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replace_atomically(folder / "trips.csv") as temporary,
        temporary.open("wb") as file,
    ):
        TripWriter(file, settings.weeks).write(chunk, np.arange(len(test)))
    with (
        replace_atomically(folder / "labels.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as text,
    ):
        csv.writer(text).writerows([["label"], *([LABEL if odd else ""] for odd in chosen)])
    return int(chosen.sum())


def _settings(data_dir: Path) -> DemoCitySettings:
    manifest = read_json(data_dir / MANIFEST_NAME)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("settings"), dict):
        raise UserError(f"{data_dir} is not a demo city: its {MANIFEST_NAME} has no settings.")
    try:
        settings = DemoCitySettings(**manifest["settings"])
    except TypeError as error:
        raise UserError(f"{data_dir / MANIFEST_NAME} is of another version ({error}).") from error
    settings.check()
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = example_parser(
        (__doc__ or "").split("\n")[0], EXAMPLES, prog="python -m data.demo_city.characters"
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="a demo city")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--share", type=float, default=0.05, help="of the test trips")
    parser.add_argument("--seed", type=int, default=0, help="which trips")
    add_force_argument(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line: `--data_dir DIR --out DIR [options]`."""
    arguments = _parser().parse_args(argv)
    if arguments.seed < 0:
        raise UserError(f"--seed is {arguments.seed}; it must not be negative.")
    names = ("trips.csv", "labels.csv")
    outputs = Results(arguments.out, names, "data.demo_city.characters", force=arguments.force)
    outputs.check()
    with outputs.written():
        count = write_characters(arguments.data_dir, arguments.out, arguments.share, arguments.seed)
    print(f"{count} trips out of character are among those of {arguments.out / 'trips.csv'}.")
    return 0


if __name__ == "__main__":
    run_main(main)
