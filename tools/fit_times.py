"""Finds out how a student's travel times spread, and puts that into its checkpoint.

    python -m tools.fit_times --model save/Beijing/seed0/best.pth --data_dir data/Beijing
    python -m tools.fit_times --model published.pth --data_dir data/Porto --output with_times.pth

Training does this by itself; this is for students trained before, and published ones. A bare file
of parameters becomes a checkpoint around them, so it needs --output: the original program reads
bare files only.
"""

from __future__ import annotations

from pathlib import Path

import torch

from config.arguments import add_config_arguments, config_from_arguments, example_parser
from models.checkpoint import is_bare_student
from runtime.device import resolve_device
from runtime.errors import UserError, run_main
from runtime.files import sha256_of_file
from runtime.inputs import Inputs
from runtime.logs import setup_logging
from runtime.results import Results, add_force_argument
from search.student import open_city
from times.store import add_to_checkpoint, fit_student

EXAMPLES = """\
  python -m tools.fit_times --model save/demo/seed0/best.pth --data_dir data/demo
  python -m tools.fit_times --model published.pth --dataset Porto --output with_times.pth"""


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = example_parser("Finds out how a student's travel times spread.", EXAMPLES)
    add_config_arguments(parser)
    parser.add_argument("--model", required=True, type=Path, help="the student's file (.pth)")
    parser.add_argument("--output", type=Path, help="where to write it; default: --model itself")
    add_force_argument(parser)
    arguments = parser.parse_args(argv)
    setup_logging()
    config = config_from_arguments(arguments)
    device = resolve_device(None, config.training.device)
    if arguments.output is None and is_bare_student(arguments.model):
        raise UserError(
            f"{arguments.model} holds parameters only, as the original program reads them; give "
            "another file for the checkpoint with --output."
        )
    output = arguments.output or arguments.model
    elsewhere = output.resolve() != arguments.model.resolve()
    results = Results.file(output, "tools.fit_times", arguments.force or not elsewhere)
    results.check()
    city = open_city(config, arguments.model)
    city.say_what_differs()
    val = city.trips("val")
    with torch.inference_mode():
        distribution, _ = fit_student(
            city.load_student(device), val, lambda: city.trips("train"), device
        )
    model = sha256_of_file(arguments.model)
    inputs = Inputs(network=city.network.content_hash, val=val.source_hash, model=model)
    with results.of(inputs).written():
        add_to_checkpoint(arguments.model, distribution, output)
    print(f"{output} now says how its travel times spread.")


if __name__ == "__main__":
    run_main(main)
