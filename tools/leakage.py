"""Whether generated trips give away the training trips: copies, closeness, membership attacks.

    python -m tools.leakage --generated_file gene/trips.csv --data_dir data/demo
    python -m tools.leakage --generated_file gene/trips.csv --data_dir data/demo \\
        --model_path save/demo/seed0_distill/best.pth

With a model its likelihood is tried as an attack as well, and the training trips are those that
it has seen. The pipeline does this for every model
with `--leakage`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from config import Config
from config.arguments import add_bad_rows_argument, example_parser
from data.road_network import RoadNetwork
from metrics.generated import read_generated
from metrics.leakage import LeakSearch
from metrics.trips import read_real_trips
from pipeline.likelihood import likelihood_auc
from report.inputs import unique_names
from report.leakage import leakage_section
from runtime.errors import run_main
from runtime.files import sha256_of_file, sha256_of_json, write_json
from runtime.inputs import Inputs
from runtime.logs import setup_logging
from runtime.results import Results, add_force_argument
from search.student import open_city

EXAMPLES = """\
  python -m tools.leakage --generated_file gene/trips.csv --data_dir data/demo
  python -m tools.leakage --generated_file trips.csv --data_dir data/demo --model_path best.pth"""


def main() -> None:
    """Prints and writes what the files give away."""
    arguments = _parse_arguments()
    setup_logging()
    output = arguments.output
    results = Results.file(output, "tools.leakage", arguments.force) if output else None
    if results is not None:
        results.check()
    files = unique_names([Path(file) for file in arguments.generated_file])
    network = RoadNetwork.load(arguments.data_dir)
    training, held_out = (
        read_real_trips(arguments.data_dir, split, network, arguments.on_bad_rows)
        for split in ("train", "test")
    )
    student = None
    if arguments.model_path is not None:
        config = Config(data_dir=arguments.data_dir)
        config.data.on_bad_rows = arguments.on_bad_rows
        student = open_city(config, Path(arguments.model_path))
    seen = student.config.data.max_train_trips if student is not None else None
    search = LeakSearch(training, held_out, network.num_roads, arguments.seed, seen)
    found = {}
    for name, file in files.items():
        generated = read_generated(file, network, arguments.on_bad_rows).trips
        found[name] = search.leaks(generated)
    if student is not None:
        score = likelihood_auc(student, arguments.seed)
        found = {name: replace(each, likelihood_auc=score) for name, each in found.items()}
    print(leakage_section(found).to_markdown())
    if results is not None:
        inputs = Inputs(
            network=network.content_hash,
            train=training.source_hash,
            test=held_out.source_hash,
            trips_file=sha256_of_json([sha256_of_file(file) for file in files.values()]),
        )
        with results.of(inputs).written():
            write_json(output, {name: each.to_json() for name, each in found.items()})


def _parse_arguments() -> argparse.Namespace:
    parser = example_parser(
        "Says what generated trips give away of the training trips.", EXAMPLES, "tools.leakage"
    )
    add = parser.add_argument
    add("--generated_file", nargs="+", required=True, metavar="CSV", help="one file or several")
    add("--data_dir", required=True, help="the dataset folder, with train.csv and test.csv")
    add("--model_path", metavar="FILE", help="the student whose likelihood is tried as an attack")
    add_bad_rows_argument(parser)
    add("--seed", type=int, default=0, help="of the trips that attacks are tried on")
    add("--output", metavar="JSON", help="write the findings there as well")
    add_force_argument(parser)
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
