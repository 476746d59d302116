"""Trains an LM-TAD teacher on a dataset's own trips and reports how good a teacher it is.

A killed run resumes where it was. The result is the weights-only file that `distill.ckpt` names.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from config import load_config
from config.arguments import add_bad_rows_argument, example_parser
from config.choices import Vocabulary
from critics.grid_mapper import configured_bounds
from critics.road_teacher import road_teacher
from critics.teacher_report import teacher_report
from critics.teacher_training import TeacherLoss, TeacherOptions, refuse_finished, train_teacher
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.device import resolve_device
from runtime.errors import run_main
from runtime.logs import get_logger, setup_logging

logger = get_logger("train_lmtad")


EXAMPLES = """\
  python -m tools.train_lmtad --data_dir data/demo --output teachers/lmtad_demo.pt
  python -m tools.train_lmtad --data_dir data/Beijing --config config/Beijing.yaml --cuda 0 \\
      --output teachers/lmtad_beijing.pt --random_start 0.5
  python -m tools.train_lmtad --data_dir data/demo --vocabulary grid --no-destination_prefix \\
      --output teachers/lmtad_demo_grid.pt
"""


def _parser() -> argparse.ArgumentParser:
    defaults = TeacherOptions(output=Path("teacher.pt"))
    parser = example_parser(
        (__doc__ or "").split("\n")[0], EXAMPLES, prog="python -m tools.train_lmtad"
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset folder")
    parser.add_argument("--output", type=Path, required=True, help="the weights file to write")
    parser.add_argument("--config", type=Path, help="take vocabulary, grid and prefix from here")
    parser.add_argument(
        "--vocabulary", choices=get_args(Vocabulary), help="what a token is; default: road"
    )
    parser.add_argument(
        "--destination_prefix",
        action=argparse.BooleanOptionalAction,
        help="tell the teacher where the trip goes; default: yes",
    )
    parser.add_argument(
        "--way",
        action=argparse.BooleanOptionalAction,
        default=defaults.way,
        help="give it a sense of the way in the end, where a token is a road",
    )
    _add_model(parser, defaults)
    _add_training(parser, defaults)
    parser.add_argument("--max_trips", type=int, help="train on the first so many trips only")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of everything random")
    parser.add_argument("--cuda", type=int, help="which GPU")
    parser.add_argument("--device", help="cpu or cuda:N")
    parser.add_argument("--cache_dir", type=Path, help="where the trip cache goes")
    add_bad_rows_argument(parser)
    parser.add_argument("--no-report", action="store_true", help="skip the report at the end")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    return parser


def _add_model(parser: argparse.ArgumentParser, defaults: TeacherOptions) -> None:
    parser.add_argument("--grid_size", type=float, help="cell size in degrees")
    parser.add_argument("--downsample", type=int, help="merge so many cells in each direction")
    parser.add_argument("--n_layer", type=int, default=defaults.n_layer, help="blocks")
    parser.add_argument("--n_head", type=int, default=defaults.n_head, help="attention heads")
    parser.add_argument("--n_embd", type=int, default=defaults.n_embd, help="width")
    parser.add_argument("--block_size", type=int, help="default: the longest trip, at most 512")
    parser.add_argument("--dropout", type=float, default=defaults.dropout, help="share of units")
    parser.add_argument(
        "--bias", action="store_true", help="biases in linear maps and normalisation"
    )


def _add_training(parser: argparse.ArgumentParser, defaults: TeacherOptions) -> None:
    parser.add_argument(
        "--loss",
        choices=get_args(TeacherLoss),
        help="default: vocabulary for grid cells, candidates for roads",
    )
    parser.add_argument(
        "--geometry",
        type=float,
        default=defaults.geometry,
        help="how much of the initial embeddings is the places' geometry; 0: random, as published",
    )
    parser.add_argument(
        "--random_start",
        type=float,
        default=defaults.random_start,
        help="share of trips read from a random road on, for teachers used with windows",
    )
    parser.add_argument(
        "--epochs", type=int, default=defaults.epochs, help="over the training trips"
    )
    parser.add_argument("--batch_size", type=int, default=defaults.batch_size, help="trips")
    parser.add_argument(
        "--learning_rate",
        type=float,
        help="peak of the schedule; default: 0.003, and less, down to 0.001, beyond 1,500 steps",
    )
    parser.add_argument(
        "--weight_decay", type=float, default=defaults.weight_decay, help="of AdamW"
    )
    parser.add_argument(
        "--warmup_ratio", type=float, default=defaults.warmup_ratio, help="of all steps"
    )
    parser.add_argument(
        "--max_norm", type=float, default=defaults.max_norm, help="gradient clipping"
    )
    parser.add_argument("--amp", choices=["auto", "off"], default=defaults.amp, help="precision")


def _options(args: argparse.Namespace) -> TeacherOptions:
    """The command line over the configuration file over the defaults."""
    defaults = TeacherOptions(output=args.output)
    chosen = {
        name: getattr(args, name)
        for name in vars(defaults)
        if getattr(args, name, None) is not None
    }
    if args.config is not None:
        distill = load_config(args.config).distill
        names = ("vocabulary", "destination_prefix", "grid_size", "downsample")
        chosen = {**{name: getattr(distill, name) for name in names}, **chosen}
        chosen["bounds"] = configured_bounds(distill)
    chosen["device"] = str(resolve_device(args.cuda, args.device))
    chosen["progress"] = not args.no_progress
    return TeacherOptions(**chosen)


def main(argv: list[str] | None = None) -> int:
    """Command line: `--data_dir DIR --output FILE [options]`."""
    args = _parser().parse_args(argv)
    setup_logging()
    options = _options(args)
    refuse_finished(options.output)
    network = RoadNetwork.load(args.data_dir)
    train, val = (
        TripDataset.load(
            args.data_dir, split, network, on_bad_rows=args.on_bad_rows, cache_dir=args.cache_dir
        )
        for split in ("train", "val")
    )
    train_teacher(options, network, train, val)
    if not args.no_report:
        teacher = road_teacher(options.output, network, device=options.device)
        logger.info("The teacher:\n%s", teacher_report(teacher, val, train).table())
    return 0


if __name__ == "__main__":
    run_main(main)
