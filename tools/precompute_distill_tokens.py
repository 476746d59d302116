"""Computes the teacher's answers for whole splits ahead of training, and drives what it drives.

Training does the same on first use; this does it where and when it suits, for instance on a
machine with a GPU. A killed run resumes.
"""

from __future__ import annotations

from pathlib import Path

from config.arguments import example_parser
from config.finding import find_config
from config.loading import parse_assignments
from critics.distill_hook import DistillationManager
from critics.replay.making import ReplayMaker
from data.road_network import RoadNetwork
from dataset import SPLITS
from runtime.device import resolve_device
from runtime.errors import UserError, run_main
from runtime.logs import get_logger, setup_logging
from training.resources import load_split

logger = get_logger("precompute")


EXAMPLES = """\
  python -m tools.precompute_distill_tokens --config config/demo.yaml
  python -m tools.precompute_distill_tokens --config config/Beijing.yaml --cuda 0 \\
      --data_dir /path/to/hoser_format --set distill.window=full
"""


def main(argv: list[str] | None = None) -> int:
    """Command line: `--config FILE [--data_dir DIR] [--splits train,val]`."""
    parser = example_parser(
        (__doc__ or "").split("\n")[0], EXAMPLES, prog="python -m tools.precompute_distill_tokens"
    )
    parser.add_argument("--config", type=Path, required=True, help="the training configuration")
    parser.add_argument("--dataset", help="overrides the configuration's dataset")
    parser.add_argument("--data_dir", help="overrides the configuration's data_dir")
    parser.add_argument("--splits", default="train,val", help="which splits, comma-separated")
    parser.add_argument("--cuda", type=int, help="which GPU")
    parser.add_argument("--device", help="cpu or cuda:N")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any other key"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    args = parser.parse_args(argv)
    setup_logging()
    overrides = {**parse_assignments(args.set), "distill.cache": True}
    splits = [split.strip() for split in args.splits.split(",")]
    if not set(splits) <= set(SPLITS):
        raise UserError(f"--splits is {args.splits!r}; allowed: {', '.join(SPLITS)}.")
    config = find_config(args.config, args.dataset, args.data_dir, overrides)
    network = RoadNetwork.load(config.data_dir, config.data.angle_convention)
    manager = DistillationManager(config, network, resolve_device(args.cuda, args.device))
    for split in splits:
        dataset = load_split(config, network, split)
        manager.attach(dataset, progress=not args.no_progress)
        logger.info("The teacher's answers for %d %s trips are ready.", len(dataset), split)
        if split == "train":
            seed, epochs = config.training.seed, config.optimizer_config.max_epoch
            maker = ReplayMaker(config.distill.replay, dataset, manager.teacher, seed, epochs)
            replayed = maker.teacher_drives(manager.cache_dir)
            if replayed is not None:
                logger.info("%d trips that the teacher drove are ready.", len(replayed))
    return 0


if __name__ == "__main__":
    run_main(main)
