"""Gives a teacher a sense of the way: what drivers pay for a km and for a minute in vain.

    python -m tools.fit_way --ckpt teachers/lmtad_demo.pt --data_dir data/demo

`tools.train_lmtad --way` does this in the end; this is for teachers trained before, and for the
same roads with other trips. LM-TAD's own weights stay as they are.
"""

from __future__ import annotations

from pathlib import Path

from config.arguments import add_bad_rows_argument, example_parser
from critics.way_fitting import knowing_the_way
from critics.weights import load_weights, save_weights
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.device import resolve_device
from runtime.errors import UserError, run_main
from runtime.files import sha256_of_file
from runtime.inputs import Inputs
from runtime.logs import setup_logging
from runtime.results import Results, add_force_argument

EXAMPLES = """\
  python -m tools.fit_way --ckpt teachers/lmtad_demo.pt --data_dir data/demo
  python -m tools.fit_way --ckpt teachers/lmtad_porto.pt --data_dir data/Porto --output way.pt"""


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = example_parser(
        "Gives a teacher a sense of the way.", EXAMPLES, prog="python -m tools.fit_way"
    )
    add = parser.add_argument
    add("--ckpt", type=Path, required=True, help="the teacher's weights file")
    add("--data_dir", type=Path, required=True, help="the dataset folder")
    add("--output", type=Path, help="where to write it; default: --ckpt itself")
    add("--cuda", type=int, help="which GPU")
    add("--device", help="cpu or cuda:N")
    add("--cache_dir", type=Path, help="where the trip cache goes")
    add_bad_rows_argument(parser)
    add_force_argument(parser)
    arguments = parser.parse_args(argv)
    setup_logging()
    output = arguments.output or arguments.ckpt
    elsewhere = output.resolve() != arguments.ckpt.resolve()
    results = Results.file(output, "tools.fit_way", arguments.force or not elsewhere)
    results.check()
    weights = load_weights(arguments.ckpt)
    network = RoadNetwork.load(arguments.data_dir)
    val, train = (
        TripDataset.load(
            arguments.data_dir,
            split,
            network,
            on_bad_rows=arguments.on_bad_rows,
            cache_dir=arguments.cache_dir,
        )
        for split in ("val", "train")
    )
    device = resolve_device(arguments.cuda, arguments.device)
    inputs = Inputs(
        network=network.content_hash,
        val=val.source_hash,
        train=train.source_hash,
        model=sha256_of_file(arguments.ckpt),
    )
    known = knowing_the_way(weights, val, train, device=device)
    if known.way is None:
        raise UserError(
            f"{arguments.data_dir} has too few validation trips for a sense of the way."
        )
    with results.of(inputs).written():
        save_weights(output, known)
    print(f"{output} now has a sense of the way.")


if __name__ == "__main__":
    run_main(main)
