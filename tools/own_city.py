"""A dataset from two files that everybody can get: a street map and GPS points.

    python -m tools.own_city --pbf city.osm.pbf --gps points.parquet --out data/mycity

Does what `data.osm`, `data.match` and `data.preprocess` do one after the other; what is more
particular than this is asked of them. `--demo` shows it on the demo city, whose trips are known.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from config.arguments import example_parser
from data.match.__main__ import job_of
from data.match.__main__ import run as match
from data.osm.__main__ import main as make_roads
from data.preprocess.__main__ import main as make_zones
from runtime.errors import UserError, run_main
from runtime.logs import get_logger, setup_logging
from runtime.results import add_force_argument

logger = get_logger("own_city")

EXAMPLES = """\
  python -m tools.own_city --pbf city.osm.pbf --gps points.parquet --out data/mycity
  python -m tools.own_city --pbf city.osm.pbf --gps gps/ --out data/mycity -- --timezone Asia/Tokyo
  python -m tools.own_city --demo --out data/demo_own
"""
_DEMO_ROADS, _DEMO_TRIPS, _DEMO_ZONES = 1200, 3000, 40


def make_dataset(
    pbf: Path, gps: Path, out: Path, match_options: list[str], zones: int, force: bool = False
) -> None:
    """Roads, trips and zones in `out`; trips that were matched there are made anew.

    They go before new roads come, so that they never stand beside those of another map.
    """
    forced = ["--force"] if force else []
    job = job_of(["--gps", str(gps), "--data_dir", str(out), *forced, *match_options])
    if job.data_dir != out:
        raise UserError(f"--data_dir is {job.data_dir}; the dataset is made in --out, {out}.")
    job.check()
    job.files.check()
    make_roads(["--pbf", str(pbf), "--out", str(out), *forced], job.results)
    match(job)
    make_zones(["--data_dir", str(out), "--zones", str(zones), "--force"])


def make_demo(out: Path) -> None:
    """The demo city's streets as a map and its trips as points, back again, and a student."""
    from data.demo_city import make_demo_city
    from data.demo_city.gps import GpsSettings, write_points
    from data.osm.export import export_osm

    true = make_demo_city(out / "true", _DEMO_ROADS, _DEMO_TRIPS)
    pbf, gps = out / "streets.osm.pbf", out / "points.parquet"
    export_osm(true, pbf)
    count = write_points(true, gps, GpsSettings())
    logger.info("The demo city sent %d points.", count)
    matched = out / "matched"
    make_dataset(pbf, gps, matched, [], _DEMO_ZONES)
    _train(matched)


def _train(data_dir: Path) -> None:
    from config import load_config
    from train_with_distill import train

    config = load_config(
        None,
        {
            "dataset": "own_city",
            "data_dir": str(data_dir),
            "distill.enable": False,
            "optimizer_config.max_epoch": 1,
            "optimizer_config.accum_steps": 1,
            "training.torch_compile": False,
            "training.device": "cpu",
        },
    )
    result = train(config)
    result.end_if_stopped()
    logger.info("A student of the matched trips is %s.", result.checkpoint)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser: argparse.ArgumentParser = example_parser(
        "Makes a dataset of a street map and GPS points.", EXAMPLES, prog="python -m tools.own_city"
    )
    parser.add_argument("--pbf", type=Path, help="OpenStreetMap: .osm.pbf or .osm")
    parser.add_argument("--gps", type=Path, help="points: a file or a folder")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--zones", type=int, default=300, help="number of zones")
    parser.add_argument("--demo", action="store_true", help="show it on the demo city, and train")
    add_force_argument(parser)
    parser.add_argument("options", nargs="*", help="after --: options of data.match")
    arguments = parser.parse_args(argv)
    setup_logging()
    if arguments.demo:
        make_demo(arguments.out)
        return
    if arguments.pbf is None or arguments.gps is None:
        raise UserError("--pbf and --gps are needed, or --demo.")
    if arguments.zones < 1:
        raise UserError(f"--zones is {arguments.zones}; it must be at least 1.")
    out, force = arguments.out, arguments.force
    make_dataset(arguments.pbf, arguments.gps, out, arguments.options, arguments.zones, force)
    print(f"The dataset is in {arguments.out}; how good it is says match_report.html there.")


if __name__ == "__main__":
    run_main(main)
