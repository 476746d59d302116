"""Writes the yardsticks of a dataset as generated files: Markov chains, usual routes, paths.

    python -m tools.baselines --data_dir data/demo --num_gene 1000 --output_dir gene/baselines
    python -m tools.baselines --data_dir data/demo --only markov_destination,shortest_path

They need no training and run through everything that takes a generated file. The pipeline makes
them beside the models with `--baselines`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.generators import BASELINES, chosen_baselines
from baselines.writing import load_habits, write_baseline
from config.arguments import add_bad_rows_argument, example_parser
from config.generation import DEFAULT_NUM_TRIPS, check_count
from data.generation_record import record_path
from dataset import TripDataset
from runtime.errors import run_main
from runtime.logs import setup_logging
from runtime.results import Results, add_force_argument
from search.od import ListedOD, ODSource, SampledOD

EXAMPLES = """\
  python -m tools.baselines --data_dir data/demo --num_gene 1000 --output_dir gene/baselines
  python -m tools.baselines --data_dir data/demo --only markov_destination,shortest_path"""


def main() -> None:
    """Writes the baselines of the command line."""
    arguments = _parse_arguments()
    setup_logging()
    check_count("num_gene", arguments.num_gene)
    names = chosen_baselines(arguments.only.split(","))
    files = {name: Path(arguments.output_dir) / f"{name}.csv" for name in names}
    outputs = {name: _results(file, arguments.force) for name, file in files.items()}
    for results in outputs.values():
        results.check()
    habits = load_habits(arguments.data_dir, arguments.on_bad_rows)
    source: ODSource
    if arguments.od_file is not None:
        source = ListedOD.read(arguments.od_file, habits.network, arguments.num_gene)
    else:
        trips = TripDataset.load(
            arguments.data_dir,
            arguments.od_source,
            habits.network,
            on_bad_rows=arguments.on_bad_rows,
        )
        source = SampledOD(trips, arguments.num_gene or DEFAULT_NUM_TRIPS, arguments.seed)
    for name, output in files.items():
        with outputs[name].of(habits.inputs).written():
            write_baseline(name, habits, source, output, arguments.seed)


def _results(file: Path, force: bool) -> Results:
    return Results(file.parent, (file.name, record_path(file).name), "tools.baselines", force=force)


def _parse_arguments() -> argparse.Namespace:
    parser = example_parser(
        "Writes yardsticks that need no training as generated files.",
        EXAMPLES,
        prog="tools.baselines",
    )
    add = parser.add_argument
    add("--data_dir", required=True, help="the dataset folder")
    add("--only", default="all", metavar="NAMES", help=f"of {', '.join(BASELINES)}")
    add("--num_gene", type=int, help=f"trips of each; default: {DEFAULT_NUM_TRIPS}")
    add("--od_source", choices=["train", "test"], default="test", help="split to draw pairs from")
    add("--od_file", metavar="CSV", help="origin,destination,start of each trip, in its order")
    add("--seed", type=int, default=0, help="of OD pairs and walks")
    add_bad_rows_argument(parser)
    add("--output_dir", default="gene/baselines", help="one <name>.csv for each")
    add_force_argument(parser)
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
