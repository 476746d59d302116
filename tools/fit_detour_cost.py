"""Finds what a km of detour should cost best-first search, so that trips are nearest to real ones.

    python -m tools.fit_detour_cost --model save/sf/seed0_distill/best.pth --data_dir data/sf
    python gene.py --search astar --detour_cost 2 ...

Validation trips decide, so that the test trips stay unseen. One cost fits one student.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from config.arguments import add_config_arguments, config_from_arguments, example_parser
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging

EXAMPLES = """\
  python -m tools.fit_detour_cost --model save/demo/seed0_distill/best.pth --data_dir data/demo
  python -m tools.fit_detour_cost --model best.pth --dataset Porto --costs 0 1 2 3 4 5"""


def _parser() -> argparse.ArgumentParser:
    from pipeline.detour_costs import USUAL_COSTS

    parser = example_parser(
        "Finds what a km of detour should cost best-first search, by validation trips.", EXAMPLES
    )
    add_config_arguments(parser)
    parser.add_argument("--model", required=True, type=Path, help="the student's file (.pth)")
    parser.add_argument("--num_trips", type=int, default=500, metavar="N", help="default: 500")
    usual = " ".join(f"{cost:g}" for cost in USUAL_COSTS)
    parser.add_argument(
        "--costs",
        type=float,
        nargs="+",
        default=list(USUAL_COSTS),
        metavar="C",
        help=f"nats a km (default: {usual})",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = _parser().parse_args(argv)
    setup_logging()
    if arguments.num_trips < 1:
        raise UserError(f"--num_trips is {arguments.num_trips}; it must be at least 1.")
    from pipeline.detour_costs import try_costs
    from runtime.device import resolve_device

    config = config_from_arguments(arguments)
    device = resolve_device(None, config.training.device)
    trials = try_costs(config, arguments.model, arguments.num_trips, arguments.costs, device)
    print("detour cost  arrive  Hausdorff km  DTW km    EDR  length km")
    for trial in trials.of_costs:
        print(
            f"{trial.detour_cost:11g}  {trial.reached:6.1%}  {trial.hausdorff_km:12.4f}"
            f"  {trial.dtw_km:6.3f}  {trial.edr:5.3f}  {trial.km:9.3f}"
        )
    print(f"{'real trips':>11}  {'':6}  {'':12}  {'':6}  {'':5}  {trials.driven_km:9.3f}")
    chosen = trials.best.detour_cost
    print(f"Nearest to real trips: python gene.py --search astar --detour_cost {chosen:g} ...")


if __name__ == "__main__":
    run_main(main)
