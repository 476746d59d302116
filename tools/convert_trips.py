"""Trips to and from the formats of neighbouring programs.

    python -m tools.convert_trips --trips trips.csv --data_dir data/demo --to kepler --output t.json
    python -m tools.convert_trips --libcity raw/porto --output data/porto

`--trips` is a generated file or a split of real trips.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from config.arguments import add_bad_rows_argument, example_parser
from config.choices import OnBadRows
from data.libcity import import_libcity
from data.road_network import RoadNetwork
from data.splits import SPLITS
from metrics.generated import is_generated, read_generated
from metrics.trips import Trips, read_real_trips
from report.exchange import write_geoparquet, write_kepler, write_libcity
from runtime.errors import UserError, run_main
from runtime.files import sha256_of_file
from runtime.inputs import Inputs
from runtime.logs import get_logger, setup_logging
from runtime.results import Results, add_force_argument

logger = get_logger("convert")

EXAMPLES = """\
  python -m tools.convert_trips --trips trips.csv --data_dir data/demo --to kepler --output t.json
  python -m tools.convert_trips --trips data/demo/test.csv --data_dir data/demo --to libcity \\
      --output libcity/demo
  python -m tools.convert_trips --libcity raw/porto --output data/porto"""


def main() -> None:
    """Converts what the command line names."""
    arguments = _parse_arguments()
    setup_logging()
    output = Path(arguments.output)
    if arguments.libcity is not None:
        names = ("roadmap.geo", "roadmap.rel", *(f"{split}.csv" for split in SPLITS))
        results = Results(output, names, "tools.convert_trips", force=arguments.force)
        with results.written():
            import_libcity(Path(arguments.libcity), output)
        return
    if arguments.trips is None or arguments.data_dir is None or arguments.to is None:
        raise UserError("Give --trips, --data_dir and --to, or --libcity; see --help.")
    results = Results.file(output, "tools.convert_trips", arguments.force)
    if arguments.to == "libcity":
        names = tuple(f"{output.name}.{kind}" for kind in ("geo", "rel", "dyna"))
        results = replace(results, folder=output, names=names)
    results.check()
    network = RoadNetwork.load(arguments.data_dir)
    file = Path(arguments.trips)
    trips = _read(file, network, arguments.on_bad_rows)
    inputs = Inputs(network=network.content_hash, trips_file=sha256_of_file(file))
    with results.of(inputs).written():
        if arguments.to == "geoparquet":
            write_geoparquet(output, trips, network, file.stem)
        elif arguments.to == "kepler":
            write_kepler(output, trips, network)
        else:
            write_libcity(output, output.name, trips, network)
    logger.info("%d trips are in %s.", len(trips), output)


def _read(file: Path, network: RoadNetwork, on_bad_rows: OnBadRows) -> Trips:
    if file.is_file() and is_generated(file):
        return read_generated(file, network, on_bad_rows).trips
    return read_real_trips(file.parent, file.stem, network, on_bad_rows)


def _parse_arguments() -> argparse.Namespace:
    parser = example_parser(
        "Converts trips to and from the formats of neighbouring programs.",
        EXAMPLES,
        "tools.convert_trips",
    )
    add = parser.add_argument
    add("--trips", metavar="FILE", help="a generated file, or a split of real trips")
    add("--data_dir", help="the dataset folder with the road network")
    add("--to", choices=["geoparquet", "kepler", "libcity"], help="the format to write")
    add_bad_rows_argument(parser)
    add("--libcity", metavar="FOLDER", help="read LibCity's atomic files instead")
    add("--output", required=True, help="a file, or a folder for --to libcity and --libcity")
    add_force_argument(parser)
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
