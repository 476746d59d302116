"""A million trips by the programs themselves: generated, measured, scored; time and memory of each.

    python -m bench.million [--trips N] [--data_dir DIR --model_path FILE] [--folder DIR]
    python -m bench.million --search sample --routes_per_od 20

On a demo city, with a student that is trained here for a short time, or with any city and student.
Memory is what all processes of a program hold together.
"""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any, get_args

from bench._common import parser, print_table, save
from bench.programs import run
from bench.small_student import train_small_student
from config.generation import SearchName
from runtime.errors import UserError, run_main

ROADS, CITY_TRIPS = 1500, 13_000


def main() -> None:
    """Runs the three programs one after the other."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--trips", type=int, default=1_000_000)
    arguments.add_argument("--data_dir", type=Path, help="a city; default: one made here")
    arguments.add_argument("--model_path", type=Path, help="default: a student trained here")
    arguments.add_argument("--search", choices=get_args(SearchName), default="beam")
    arguments.add_argument("--routes_per_od", type=int, default=1)
    arguments.add_argument("--folder", type=Path, help="where the trips are kept")
    options = arguments.parse_args()
    if options.quick:
        options.trips = 2000
    with tempfile.TemporaryDirectory() as scratch:
        results = _measure(options, options.folder or Path(scratch))
    rows = [[name, value] for name, value in results.items()]
    print_table(f"{options.trips:,} trips", ["figure", "measured"], rows)
    if not options.no_save:
        save("million", results)


def _measure(options: Namespace, folder: Path) -> dict[str, Any]:
    city, model = options.data_dir, options.model_path
    if (city is None) != (model is None):
        raise UserError("--data_dir and --model_path go together.")
    if city is None:
        city, model = train_small_student(folder / "city", ROADS, CITY_TRIPS, seed=0)
    trips, common = folder / "trips.csv", ["--data_dir", str(city)]
    pairs = options.trips // options.routes_per_od  # so many times as many trips come of them
    of_search = ["--search", options.search, "--routes_per_od", str(options.routes_per_od)]
    programs = {
        "generated": [
            "gene", *common, "--model_path", str(model), "--num_gene", str(pairs),
            *of_search, "--processes", str(os.cpu_count() or 1), "--output", str(trips),
            "--no-progress",
        ],
        "measured": [
            "evaluation", *common, "--generated_file", str(trips),
            "--output_dir", str(folder / "results"), "--force",
        ],
        "scored": [
            "tools.score_trips", *common, "--model", str(model), "--trips", str(trips),
            "--output", str(folder / "scores"),
        ],
    }  # fmt: skip
    results: dict[str, Any] = {
        "trips": options.trips,
        "search": options.search,
        "routes_per_od": options.routes_per_od,
    }
    for what, command in programs.items():
        cost = run(*command)
        print(f"{what}: {cost.seconds:.0f} s, {cost.peak_mib:,.0f} MiB", flush=True)
        results[f"{what}_s"], results[f"{what}_mib"] = cost.seconds, cost.peak_mib
    results["file_mib"] = trips.stat().st_size / 2**20
    return results


if __name__ == "__main__":
    run_main(main)
