"""Finds what detours should cost a search, so that its trips are nearest to real ones.

    python -m tools.fit_detour_cost --model save/sf/seed0_distill/best.pth --data_dir data/sf
    python gene.py --search astar --detour_cost 2 ...

Every cost of a km (`--costs`) is tried with every cost of a minute (`--delay_costs`) and of a nat
of unusual turns (`--turn_costs`). Validation trips decide, so that the test trips stay unseen. What
fits one student need not fit another. `gene.py --costs fitted` asks for less patience: it takes
the costs that make validation trips likeliest, and searches none for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from config.arguments import add_config_arguments, config_from_arguments, example_parser
from config.generation import COSTS, USUAL_TEMPERATURE, SearchSettings
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging

if TYPE_CHECKING:
    from pipeline.detour_costs import Trial

EXAMPLES = """\
  python -m tools.fit_detour_cost --model save/demo/seed0_distill/best.pth --data_dir data/demo
  python -m tools.fit_detour_cost --model best.pth --dataset Porto --costs 0 1 2 3 4 5
  python -m tools.fit_detour_cost --model best.pth --dataset Porto --delay_costs 0 0.5 1 2
  python -m tools.fit_detour_cost --model best.pth --dataset Porto --search sample"""


def _parser() -> argparse.ArgumentParser:
    from pipeline.detour_costs import USUAL_COSTS

    parser = example_parser(
        "Finds what detours should cost a search, by validation trips.", EXAMPLES
    )
    add_config_arguments(parser)
    parser.add_argument("--model", required=True, type=Path, help="the student's file (.pth)")
    parser.add_argument(
        "--search", choices=("astar", "sample"), default="astar", help="default: astar"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=USUAL_TEMPERATURE,
        metavar="T",
        help=f"of sample (default: {USUAL_TEMPERATURE})",
    )
    parser.add_argument("--num_trips", type=int, default=500, metavar="N", help="default: 500")
    tried = {
        "--costs": (USUAL_COSTS, "nats a km"),
        "--delay_costs": ((0.0,), "nats a minute, as long as roads usually take"),
        "--turn_costs": ((0.0,), "nats a nat by which turns are unlikelier, as trips took them"),
    }
    for name, (costs, what) in tried.items():
        usual = " ".join(f"{cost:g}" for cost in costs)
        parser.add_argument(
            name,
            type=float,
            nargs="+",
            default=list(costs),
            metavar="C",
            help=f"{what} (default: {usual})",
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
    costs = list(product(arguments.costs, arguments.delay_costs, arguments.turn_costs))
    search = SearchSettings(arguments.search, temperature=arguments.temperature)
    trials = try_costs(config, arguments.model, arguments.num_trips, search, costs, device)
    print("detour cost  delay cost  turn cost  arrive  Hausdorff km  DTW km    EDR  length km")
    for trial in trials.of_costs:
        print(
            f"{trial.detour_cost:11g}  {trial.delay_cost:10g}  {trial.turn_cost:9g}"
            f"  {trial.reached:6.1%}"
            f"  {trial.hausdorff_km:12.4f}  {trial.dtw_km:6.3f}  {trial.edr:5.3f}  {trial.km:9.3f}"
        )
    print(f"{'real trips':>11}{trials.driven_km:66.3f}")
    print(f"Nearest to real trips: python gene.py {_options(search, trials.best)} ...")


def _options(search: SearchSettings, best: Trial) -> str:
    """What `gene.py` is told, to search as the best trial did."""
    costs = [f"--{name} {getattr(best, name):g}" for name in COSTS if getattr(best, name)]
    options = [f"--search {search.name}", *(costs or ["--detour_cost 0"])]
    if search.name == "sample" and search.temperature != USUAL_TEMPERATURE:
        options.append(f"--temperature {search.temperature:g}")
    return " ".join(options)


if __name__ == "__main__":
    run_main(main)
