"""How well and how fast map matching works: tracks with known ways, and points in bulk.

`--kubicka DIR`: a folder per track, scored by the length-weighted recall and precision of arcs.
`--points FILE --data_dir DIR`: speed, memory, and agreement with the trips that the folder has.
Without either: the demo city, whose trips are known. Prints JSON; keeps the figures with the
other benches' and writes them into `docs/own-city.md`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from bench.match_known import bench_known_trips
from bench.match_page import keep
from bench.match_points import bench_points
from bench.match_tracks import bench_tracks
from runtime.errors import UserError, run_main


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the arguments ask for, by kind."""
    results: dict[str, Any] = {}
    if arguments.kubicka:
        results["tracks"] = bench_tracks(arguments.kubicka)
    if arguments.points:
        if arguments.data_dir is None:
            raise UserError("--points needs --data_dir, the folder of their road map.")
        options = ["--processes", str(arguments.processes)]
        for option in ("columns", "timezone"):
            if getattr(arguments, option) is not None:
                options += [f"--{option}", getattr(arguments, option)]
        results["points"] = bench_points(arguments.points, arguments.data_dir, options)
    if not results:
        results["known_trips"] = bench_known_trips(arguments.quick)
    return results


def main() -> None:
    """Measures what the arguments name and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubicka", type=Path, help="folder of tracks with known ways")
    parser.add_argument("--points", type=Path, help="points in bulk")
    parser.add_argument("--data_dir", type=Path, help="their dataset folder")
    parser.add_argument("--columns", help="as of data.match")
    parser.add_argument("--timezone", help="of the folder's trips")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="small sizes, for a try")
    parser.add_argument("--no-save", action="store_true", help="print only")
    arguments = parser.parse_args()
    results = measure(arguments)
    print(json.dumps(results, indent=1))
    if not (arguments.no_save or arguments.quick):
        keep(results)


if __name__ == "__main__":
    run_main(main)  # type: ignore[arg-type]
