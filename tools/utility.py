"""Trains students on generated and on real trips, and says what the generated ones are worth.

    python -m tools.utility --generated_file gene/trips.csv --data_dir data/demo

Trainings that are done are found again in `--output_dir`. The students are vanilla ones of the
dataset's configuration; `--set optimizer_config.max_epoch=3` makes it quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from config.arguments import add_config_arguments, config_from_arguments, example_parser
from data.road_network import RoadNetwork
from metrics.generated import read_generated
from pipeline.utility import measure_utility
from report.inputs import unique_names
from report.utility import utility_section
from runtime.errors import run_main
from runtime.files import sha256_of_file, sha256_of_json, write_json
from runtime.inputs import Inputs
from runtime.logs import setup_logging
from runtime.results import Results, add_force_argument

EXAMPLES = """\
  python -m tools.utility --generated_file gene/trips.csv --data_dir data/demo
  python -m tools.utility --generated_file a.csv b.csv --dataset Beijing --output_dir utility"""


def main() -> None:
    """Measures the files of the command line."""
    arguments = _parse_arguments()
    setup_logging()
    config = config_from_arguments(arguments)
    files = unique_names([Path(file) for file in arguments.generated_file])
    folder = Path(arguments.output_dir)
    output = folder / "utility.json"
    results = Results.file(output, "tools.utility", arguments.force)
    results.check()
    network = RoadNetwork.load(config.data_dir)
    found = {}
    for name, file in files.items():
        generated = read_generated(file, network, config.data.on_bad_rows)
        found[name] = measure_utility(config, generated, network, folder / name, arguments.force)
    print(utility_section(found).to_markdown())
    inputs = Inputs(
        network=network.content_hash,
        trips_file=sha256_of_json([sha256_of_file(file) for file in files.values()]),
    )
    with results.of(inputs).written():
        write_json(output, {name: each.to_json() for name, each in found.items()})


def _parse_arguments() -> argparse.Namespace:
    parser = example_parser(
        "Measures what generated trips teach, beside as many real ones.", EXAMPLES, "tools.utility"
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add("--generated_file", nargs="+", required=True, metavar="CSV", help="one file or several")
    add("--output_dir", default="utility", help="trainings and utility.json go there")
    add_force_argument(parser)
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
