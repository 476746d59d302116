"""Command line of the demo city generator."""

from __future__ import annotations

import argparse
from pathlib import Path

from config.arguments import example_parser
from data.demo_city.build import make_demo_city
from data.demo_city.settings import DemoCitySettings
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging

EXAMPLES = """\
  python -m data.demo_city --out data/demo --roads 5000 --trips 20000 --seed 0
  python -m data.demo_city --out data/small --roads 200 --trips 300 --quiet
"""


MOST_THREADS = 1024


def _parser() -> argparse.ArgumentParser:
    defaults = DemoCitySettings()
    parser = example_parser(
        "Makes a small realistic city with trips, in HOSER's public format.",
        EXAMPLES,
        prog="python -m data.demo_city",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument(
        "--roads", type=int, default=defaults.num_roads, help="directed roads, 200 to 50000"
    )
    parser.add_argument("--trips", type=int, default=defaults.num_trips, help="trips in all")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="same seed, same bytes")
    parser.add_argument(
        "--val", type=float, default=defaults.val, help="validation trips: a fraction or a number"
    )
    parser.add_argument(
        "--test", type=float, default=defaults.test, help="test trips: a fraction or a number"
    )
    parser.add_argument(
        "--split",
        choices=["random", "time"],
        default=defaults.split,
        help="how trips are split: at random, or the latest ones for test",
    )
    parser.add_argument(
        "--weeks", type=int, default=defaults.weeks, help="weeks over which trips start"
    )
    parser.add_argument(
        "--max_trip_roads",
        type=int,
        default=defaults.max_trip_roads,
        help="longer trips end after so many roads",
    )
    parser.add_argument("--threads", type=int, help="threads (all cores if not given)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and makes the city."""
    arguments = _parser().parse_args(argv)
    if arguments.threads is not None and not 1 <= arguments.threads <= MOST_THREADS:
        raise UserError(f"--threads is {arguments.threads}; 1 to {MOST_THREADS} are possible.")
    setup_logging()
    settings = DemoCitySettings(
        num_roads=arguments.roads,
        num_trips=arguments.trips,
        seed=arguments.seed,
        val=arguments.val,
        test=arguments.test,
        split=arguments.split,
        weeks=arguments.weeks,
        max_trip_roads=arguments.max_trip_roads,
    )
    folder = make_demo_city(
        arguments.out,
        settings=settings,
        threads=arguments.threads,
        progress=not arguments.quiet,
    )
    print(f"The demo city is in {folder}.")


if __name__ == "__main__":
    run_main(main)
