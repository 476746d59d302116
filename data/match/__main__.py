"""Command line of map matching."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from config.arguments import example_parser
from data.match.point_columns import Columns
from data.match.point_files import PointFiles
from data.match.point_times import check_timezone
from data.match.session import Job, match_points
from data.match.settings import CleaningSettings, MatchSettings
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging

EXAMPLES = """\
  python -m data.match --gps points.parquet --data_dir data/mycity --timezone Europe/Vienna
  python -m data.match --gps gps/ --data_dir data/mycity --columns vehicle=cab,time=when
  python -m data.match --gps taxi.csv --data_dir data/mycity --columns vehicle=1,time=2,lon=3,lat=4
"""


def _parser() -> argparse.ArgumentParser:
    clean, match = CleaningSettings(), MatchSettings()
    parser = example_parser(
        "Turns GPS points into trips on a road network: train, val and test in HOSER's format.",
        EXAMPLES,
        prog="python -m data.match",
    )
    parser.add_argument("--gps", type=Path, required=True, help="points: a file or a folder")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with the road map")
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--columns", help="ROLE=NAME,…; roles: vehicle, time, lat, lon, occupied, trip, heading"
    )
    reading.add_argument(
        "--points_timezone", default="UTC", help="zone of times that do not name one"
    )
    cleaning = parser.add_argument_group("cleaning")
    cleaning.add_argument(
        "--max_speed", type=float, default=clean.max_speed, help="m/s; faster is a jump"
    )
    cleaning.add_argument(
        "--max_gap", type=float, default=clean.max_gap_s, help="s without a point that end a trip"
    )
    cleaning.add_argument(
        "--pause", type=float, default=clean.pause_s, help="s in one place that end a trip"
    )
    cleaning.add_argument(
        "--vacant",
        choices=["drop", "keep"],
        default=clean.vacant,
        help="points without passengers, where a column tells",
    )
    matching = parser.add_argument_group("matching")
    matching.add_argument("--sigma", type=float, help="receivers' error in m (estimated if absent)")
    matching.add_argument(
        "--radius", type=float, default=match.max_radius_m, help="m within which a road must be"
    )
    matching.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="pieces worked on at a time"
    )
    out = parser.add_argument_group("output")
    out.add_argument("--timezone", help="write local wall time of this zone, as HOSER's data have")
    out.add_argument("--split", choices=["time", "random", "vehicle"], default=match.split)
    out.add_argument(
        "--shares", type=float, nargs=3, default=match.shares, metavar="X", help="train, val, test"
    )
    out.add_argument("--seed", type=int, default=match.seed, help="of the random splits")
    out.add_argument("--loops", choices=["keep", "split", "drop"], default=match.loops)
    out.add_argument(
        "--min_roads", type=int, default=match.min_roads, help="shorter trips fall out"
    )
    out.add_argument("--anonymise", action="store_true", help="number the vehicles at random")
    out.add_argument("--keep_points", action="store_true", help="write each point's place, too")
    out.add_argument("--format", choices=["csv", "parquet"], default=match.file_format)
    out.add_argument("--force", action="store_true", help="replace trips that are there")
    out.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def job_from_arguments(arguments: argparse.Namespace) -> Job:
    """What the command line asks for."""
    if arguments.keep_points and arguments.anonymise:
        raise UserError("--keep_points tells where vehicles were; leave out --anonymise or it.")
    check_timezone(arguments.timezone, "--timezone")
    check_timezone(arguments.points_timezone, "--points_timezone")
    settings = MatchSettings(
        cleaning=CleaningSettings(
            max_speed=arguments.max_speed,
            max_gap_s=arguments.max_gap,
            pause_s=arguments.pause,
            vacant=arguments.vacant,
        ),
        sigma_m=arguments.sigma,
        max_radius_m=arguments.radius,
        min_roads=arguments.min_roads,
        loops=arguments.loops,
        split=arguments.split,
        shares=tuple(arguments.shares),
        seed=arguments.seed,
        timezone=arguments.timezone,
        anonymise=arguments.anonymise,
        keep_points=arguments.keep_points,
        file_format=arguments.format,
    )
    columns = Columns.parse(arguments.columns)
    files = PointFiles.find(arguments.gps, columns, arguments.points_timezone)
    return Job(
        files,
        arguments.data_dir,
        settings,
        threads=arguments.processes,
        force=arguments.force,
        progress=not arguments.quiet,
    )


def job_of(argv: list[str] | None) -> Job:
    """What a command line asks for; `UserError` where it is wrong."""
    return job_from_arguments(_parser().parse_args(argv))


def run(job: Job) -> None:
    """Matches, and says what came of it."""
    report = match_points(job)
    counts = report["counts"]
    print(
        f"{counts['trips']:,} trips of {counts['points']:,} points are in {job.data_dir} "
        f"({report['points_per_second']:,} points a second); see match_report.html there."
    )


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and matches."""
    setup_logging()
    run(job_of(argv))


if __name__ == "__main__":
    run_main(main)
