"""Generates trips with a trained student.

    python gene.py --num_gene 1000                                 the demo city
    python gene.py --dataset Beijing --cuda 0 --model_path best.pth --od_source test --seed 42
    python gene.py --od_file pairs.csv --search astar --output trips.csv
    torchrun --nproc-per-node 2 gene.py --dataset Beijing ...      several processes

The searches, OD pairs and files are in `search/`, the student in `hoser.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from config import Config, load_config
from config.arguments import add_config_arguments, config_from_arguments, example_parser
from config.finding import find_config, run_config_file
from config.generation import (
    DEFAULT_MAX_STEPS,
    DEFAULT_NUM_TRIPS,
    USUAL_TEMPERATURE,
    ArrivalName,
    CostsName,
    Execution,
    PairSettings,
    PairSource,
    SearchName,
    SearchSettings,
    TimesName,
)
from config.schema import WandbConfig
from runtime.errors import UserError, run_main
from runtime.launched import is_main_process
from runtime.logs import get_logger, setup_logging
from runtime.wandb_run import start_run
from runtime.wandb_sync import sync_one
from search.request import GenerationRequest, default_output, find_checkpoint, od_label
from search.searches import label_of, unread

if TYPE_CHECKING:
    from search.generation import GenerationResult

logger = get_logger("generate")

__all__ = ["Execution", "GenerationResult", "PairSettings", "SearchSettings", "generate"]


def generate(
    config: Config | str | Path | None = None,
    *,
    model_path: str | Path | None = None,
    num_gene: int | None = None,
    output: str | Path | None = None,
    search: SearchSettings | SearchName = "beam",
    pairs: PairSettings | None = None,
    execution: Execution | None = None,
) -> GenerationResult:
    """Generates trips into a CSV file and returns the figures of the run.

    Dataset, seed and device are the configuration's; without one, those of the demo city. Without
    `model_path`, the best student that training has left for dataset and seed. `num_gene` pairs
    are drawn from a split, or the first ones of a file are taken (all by default).
    """
    config = config if isinstance(config, Config) else find_config(config)
    request = GenerationRequest(
        config=config,
        model_path=Path(model_path) if model_path is not None else find_checkpoint(config),
        num_trips=num_gene,
        pairs=pairs or PairSettings(),
        search=search if isinstance(search, SearchSettings) else SearchSettings(search),
    )
    return _run(request, Path(output) if output else default_output(request), execution)


def _run(request: GenerationRequest, output: Path, execution: Execution | None) -> GenerationResult:
    """Generates what is asked for; PyTorch is loaded now, not for a mistake or `--help`."""
    from search.generation import run

    execution = execution or Execution()
    return run(replace(request, trips_in_flight=execution.batch_size), output, execution)


def _run_name(request: GenerationRequest) -> str:
    model = request.model_path.stem if request.model_path is not None else request.config.dataset
    return f"gene_{model}_seed{request.seed}_{od_label(request)}_{label_of(request.search)}"


def _settings(request: GenerationRequest) -> dict[str, Any]:
    """The request for the experiment tracker."""
    return {
        "config": request.config.model_dump(mode="json", by_alias=True),
        "model_path": str(request.model_path),
        "num_trips": request.num_trips,
        "pairs": {name: str(value) for name, value in asdict(request.pairs).items()},
        "search": asdict(request.search),
    }


EXAMPLES = """\
  python gene.py --num_gene 1000
  python gene.py --dataset Beijing --cuda 0 --model_path best.pth --od_source train --seed 42
  python gene.py --od_file pairs.csv --search astar --output trips.csv
  python gene.py --num_gene 100000 --output trips.csv --processes 8 --resume
  torchrun --nproc-per-node 2 gene.py --dataset Beijing --num_gene 100000"""


def _parser() -> argparse.ArgumentParser:
    parser = example_parser("Generates trips with a trained student.", EXAMPLES)
    add_config_arguments(parser)
    add = parser.add_argument
    add("--model_path", metavar="FILE", help="trained student; default: the best one in save/")
    add("--num_gene", type=int, metavar="N", help=f"trips; default: {DEFAULT_NUM_TRIPS}")
    add(
        "--od_source",
        choices=get_args(PairSource),
        default="test",
        help="split to draw from, or `model`: a smoothed model of demand, nobody's own trips",
    )
    add("--anonymity", type=int, default=5, metavar="K", help="of the model: counts below K unused")
    add("--od_file", metavar="CSV", help="origin,destination,start of each trip, in its order")
    add("--search", choices=get_args(SearchName), default="beam", help="default: beam")
    for alias, name in (("--beam_search", "beam"), ("--nx_astar", "shortest_path")):
        text = f"the same as --search {name}"
        add(alias, dest="search", action="store_const", const=name, help=text)
    text = "of beam (default: 4; 1 is greedy) and sample (default: exact; 1 draws road by road)"
    add("--beam_width", type=int, metavar="B", help=text)
    text = "what a beam trip ends with: the best arrival (default) or the first"
    add("--arrival", choices=get_args(ArrivalName), default="best", help=text)
    text = f"of what sample draws from; 1 is fair, below likelier (default: {USUAL_TEMPERATURE})"
    add("--temperature", type=float, default=USUAL_TEMPERATURE, metavar="T", help=text)
    text = "of detours, for astar and sample: the three below (default), or fitted to the student"
    add("--costs", choices=get_args(CostsName), default="given", help=text)
    text = "of a km of detour, in nats; docs/generation.md (default: 0)"
    add("--detour_cost", type=float, default=0.0, metavar="C", help=text)
    text = "of a minute that is lost by it, as long as roads usually take (default: 0)"
    add("--delay_cost", type=float, default=0.0, metavar="C", help=text)
    text = "of a nat by which turns are unlikelier, as training trips took them (default: 0)"
    add("--turn_cost", type=float, default=0.0, metavar="C", help=text)
    text = "trips for each OD pair, so K times --num_gene in all (default: 1)"
    add("--routes_per_od", type=int, default=1, metavar="K", help=text)
    text = "roads to continue from, at most, per trip"
    add("--max_steps", type=int, default=DEFAULT_MAX_STEPS, metavar="N", help=text)
    text = "travel times: drawn from their distribution, or the expected ones (default: drawn)"
    add("--times", choices=get_args(TimesName), default="drawn", help=text)
    add("--batch_size", type=int, metavar="N", help="trips searched at a time")
    add("--processes", type=int, default=1, metavar="P", help="processes on the CPU")
    add("--output", metavar="CSV", help="default: gene/ in the model's run")
    add("--resume", action="store_true", help="go on with --output where it stopped")
    add("--no-progress", action="store_true", help="no progress bar")
    add("--wandb", action="store_true", help="record the run with WandB")
    add("--wandb_project", help="default: wandb.project of the configuration")
    add("--wandb_run_name", default="")
    add("--wandb_tags", nargs="*", default=["generation"])
    return parser


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and generates."""
    arguments = _parser().parse_args(argv)
    setup_logging()
    if arguments.resume and arguments.output is None:
        raise UserError("--resume needs --output, the file to go on with.")
    request = _request(arguments)
    for name in unread(request.search):
        logger.warning("--%s has no say in --search %s.", name, request.search.name)
    execution = Execution(
        processes=arguments.processes,
        batch_size=arguments.batch_size,
        resume=arguments.resume,
        progress=not arguments.no_progress,
    )
    output = Path(arguments.output) if arguments.output else default_output(request)
    wandb = _wandb_settings(arguments, request.config)
    name, settings = _run_name(request), _settings(request)
    tracked = start_run(wandb, name, settings, output.parent, job_type="generate")
    tracked_in = tracked.directory
    try:
        tracked.summarize(_run(request, output, execution).figures())
        tracked.log_artifact(name, "generated-trips", output)
    except BaseException:
        tracked.finish(exit_code=1)
        raise
    tracked.finish()
    sync_one(wandb, tracked_in, output.parent)


def _wandb_settings(arguments: argparse.Namespace, config: Config) -> WandbConfig:
    """The configuration's, with what the command line says of this run."""
    return config.wandb.model_copy(
        update={
            "enable": arguments.wandb and is_main_process(),
            "project": arguments.wandb_project or config.wandb.project,
            "run_name": arguments.wandb_run_name,
            "tags": arguments.wandb_tags,
        }
    )


def _request(arguments: argparse.Namespace) -> GenerationRequest:
    """What the command line asks for."""
    od_file = arguments.od_file
    model_path, config = _model_and_config(arguments)
    return GenerationRequest(
        config=config,
        model_path=model_path,
        num_trips=arguments.num_gene,
        pairs=PairSettings(
            split=arguments.od_source,
            file=Path(od_file) if od_file is not None else None,
            routes_per_od=arguments.routes_per_od,
            anonymity=arguments.anonymity,
        ),
        search=SearchSettings(
            name=arguments.search,
            beam_width=arguments.beam_width,
            max_steps=arguments.max_steps,
            arrival=arguments.arrival,
            temperature=arguments.temperature,
            detour_cost=arguments.detour_cost,
            delay_cost=arguments.delay_cost,
            turn_cost=arguments.turn_cost,
            costs=arguments.costs,
            times=arguments.times,
        ),
    )


def _model_and_config(arguments: argparse.Namespace) -> tuple[Path, Config]:
    """The student, and the settings of its training run where the arguments name no others."""
    if arguments.model_path:
        model_path = Path(arguments.model_path)
    else:
        model_path = find_checkpoint(config_from_arguments(arguments))
    trained = run_config_file(model_path)
    own: dict[str, Any] = {}
    named_otherwise = arguments.config is not None or arguments.data_dir is not None
    if trained is not None and not named_otherwise and _is_of(trained, arguments.dataset):
        arguments.config = trained
        own["training.seed"] = arguments.seed or 0  # of the OD pairs, not of the training
    return model_path, config_from_arguments(arguments, own)


def _is_of(trained: Path, dataset: str | None) -> bool:
    return dataset is None or dataset == load_config(trained).dataset


if __name__ == "__main__":
    run_main(main)
