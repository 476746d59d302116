"""Generates and evaluates trips for every model of an evaluation folder, and compares the models.

    python python_pipeline.py --config config/evaluation.yaml
    python python_pipeline.py --eval-dir hoser-distill-optuna-6 --models vanilla,distilled --seed 43

Every `.pth` in the folder's `models/` is taken. What is done already is skipped; a model that
fails does not stop the others. Results are in `gene/` and `eval/` below the folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from config import load_evaluation_config
from config.arguments import example_parser
from config.choices import DtwKind
from config.evaluation import EvaluationConfig
from config.finding import SHIPPED_EVALUATION, find_config
from config.generation import SearchName
from config.loading import parse_assignments
from metrics.comparison import Comparison
from pipeline.folder import make_evaluation_folder
from pipeline.groups import parse_groups
from report.tables import MARKS_LEGEND, models_rows, screen_table
from runtime.errors import UserError, run_main
from runtime.files import FolderLock, read_json
from runtime.logs import get_logger, setup_logging

if TYPE_CHECKING:
    from pipeline.job_result import JobResult
    from pipeline.plan import Plan

logger = get_logger("pipeline")


def run_pipeline(config: EvaluationConfig) -> list[JobResult]:
    """Does all that `config` asks for; failures are in the results, not raised."""
    # PyTorch takes seconds to load: not for `--help` or a mistake in the arguments.
    from pipeline.plan import make_plan
    from pipeline.steps import Pipeline

    plan = make_plan(config)
    with FolderLock(plan.eval_dir, name=".pipeline.lock"):
        return Pipeline(plan).run()


def main(argv: list[str] | None = None) -> int:
    """Runs the pipeline of the command line; exit code 1 where a job failed."""
    arguments = _parse_arguments(argv)
    config = _config(arguments)
    setup_logging("DEBUG" if config.logging.verbose else config.logging.level)
    if arguments.init:
        folder = Path(config.eval_dir)
        make_evaluation_folder(folder, config.dataset, Path(config.data_dir))
        print(f"{folder} is ready: put trained models (.pth), or links to them, into its models/.")
        return 0
    return print_results(config, run_pipeline(config))


def print_results(config: EvaluationConfig, results: Sequence[JobResult]) -> int:
    """Shows what came out, models side by side; 1 where a job failed."""
    from pipeline.plan import make_plan

    _print_tables(make_plan(config), results)
    return _print_summary(results)


def _print_tables(plan: Plan, results: Sequence[JobResult]) -> None:
    """One table for each source of OD pairs, models side by side."""
    file = plan.folder / "comparison.json"
    comparisons = _stored_comparisons(file) if file.is_file() else {}
    for source in dict.fromkeys(result.job.od_source for result in results):
        of_source = {
            result.job.name: result.results
            for result in results
            if result.results is not None and result.job.od_source == source
        }
        if of_source:
            rows, header = models_rows(of_source, comparisons.get(source))
            print(f"\nOD pairs of {source}\n{screen_table(rows, header)}")
    for name in ("groups", "searches"):
        asked = plan.config.groups is not None if name == "groups" else plan.compares_searches
        if asked and (plan.folder / f"{name}.md").is_file():
            print(f"\n{(plan.folder / f'{name}.md').read_text(encoding='utf-8')}")
    if any(result.results is not None for result in results):
        print(f"{MARKS_LEGEND}\nComparison and report are in {plan.folder}")


def _stored_comparisons(file: Path) -> dict[str, Comparison]:
    """The comparison of models for each source of OD pairs."""
    stored = read_json(file)
    try:
        return {each["od_source"]: Comparison.from_json(each) for each in stored}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged; make it anew with --force.") from error


def _print_summary(results: Sequence[JobResult]) -> int:
    failed = [result for result in results if result.error is not None]
    rows = [[result.job.title, result.generation, result.evaluation] for result in results]
    print(f"\n{screen_table(rows, ['job', 'generation', 'evaluation'])}")
    for result in failed:
        print(f"failed: {result.job.title}: {result.error}", file=sys.stderr)
    return 1 if failed else 0


def _config(arguments: argparse.Namespace) -> EvaluationConfig:
    """The configuration file with the arguments that were given in place of its values."""
    given: dict[str, Any] = {
        name: value
        for name, value in vars(arguments).items()
        if value is not None and name not in ("config", "init", "set", "wandb", "verbose")
    }
    for name in ("models", "od_sources", "searches", "baselines", "seeds", "plots"):
        if name in given:
            parts = ",".join(given[name]).replace(" ", ",").split(",")
            given[name] = [part for part in parts if part]
    if arguments.seeds is not None:
        given["seeds"] = [_seed(text) for text in given["seeds"]]
    if arguments.groups is not None:
        given["groups"] = parse_groups(arguments.groups)
    if given.get("od_sources") == ["both"]:
        given["od_sources"] = ["train", "test"]
    if arguments.wandb is not None:
        given["wandb.enable"] = arguments.wandb
    if arguments.verbose:
        given["logging.verbose"] = True
    given |= parse_assignments(arguments.set)
    file = _config_file(arguments)
    if arguments.dataset is not None and file == SHIPPED_EVALUATION and "data_dir" not in given:
        given["data_dir"] = find_config(dataset=arguments.dataset).data_dir
    return load_evaluation_config(file, given)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"--seeds: {text!r} is not a whole number.")
    return int(text)


def _config_file(arguments: argparse.Namespace) -> Path:
    if arguments.config is not None:
        file = Path(arguments.config)
        return SHIPPED_EVALUATION if file.resolve() == SHIPPED_EVALUATION.resolve() else file
    own = Path(arguments.eval_dir or ".") / "config" / "evaluation.yaml"
    return own if own.is_file() else SHIPPED_EVALUATION


EXAMPLES = """\
  python python_pipeline.py --eval-dir studies/demo --data-dir data/demo
  python python_pipeline.py --eval-dir studies/demo --models vanilla,distilled --seed 43
  python python_pipeline.py --eval-dir studies/demo --od-source test --num-gene 1000 --skip-eval
  python python_pipeline.py --eval-dir studies/new --dataset demo --data-dir data/demo --init
  python python_pipeline.py --eval-dir studies/demo --groups --baselines all --plots svg,pdf
  python python_pipeline.py --eval-dir studies/demo --searches beam:1,beam:4,beam:16,astar
  python python_pipeline.py --eval-dir studies/demo --set wandb.enable=true --force
"""


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = example_parser(
        "Generates and evaluates trips for every model of an evaluation folder.", EXAMPLES
    )
    add = parser.add_argument
    add("--config", help="YAML; default: <eval-dir>/config/evaluation.yaml, else the shipped one")
    add("--eval-dir", help="the folder with models/; gene/ and eval/ are made in it")
    text = "names or kinds (vanilla, distilled) of .pth files, separated by commas; default: all"
    add("--models", nargs="+", help=text)
    add("--od-source", nargs="+", dest="od_sources", help="train,test or one of them")
    add("--seed", type=int, help="of OD pairs and searches")
    add("--num-gene", type=int, help="trips per model and OD source")
    add("--init", action="store_true", help="make an evaluation folder of --eval-dir and stop")
    add("--skip-gene", action="store_true", default=None, help="evaluate what is generated already")
    add("--skip-eval", action="store_true", default=None, help="generate only")
    add("--force", action="store_true", default=None, help="do everything anew")
    add("--dataset", help="the city's name; alone, a shipped one, whose folder is taken")
    add("--data-dir", help="the dataset folder")
    add("--models-dir", help="the folder of the .pth files; default: <eval-dir>/models")
    add("--searches", nargs="+", help="several: beam:16,astar,astar:fitted; with every model")
    add("--baselines", nargs="+", help="beside the models: all, or names as in tools.baselines")
    add(
        "--groups",
        nargs="*",
        metavar="NAME=PATTERN",
        help='models that differ by seed: "vanilla=vanilla_*"; without any: by their names',
    )
    add("--seeds", nargs="+", help="generation seeds that the groups average; default: --seed")
    add("--scenarios", metavar="YAML", help="scenarios of one's own instead of the shipped ones")
    add("--leakage", action="store_true", default=None, help="do trips give training trips away?")
    text = "are the trips of use? trains students on them and on real ones"
    add("--utility", action="store_true", default=None, help=text)
    add("--plots", nargs="+", help="png,svg,pdf; default: png")
    add("--search", choices=get_args(SearchName))
    add("--beam-width", type=int)
    add("--max-steps", type=int)
    add("--processes", type=int)
    add("--grid-size", type=float, help="OD cells, degrees")
    add("--edr-eps", type=float, help="EDR threshold, metres")
    add("--dtw", choices=get_args(DtwKind))
    add("--cuda", type=int, dest="cuda_device", metavar="N")
    add("--device", help="cpu, cuda or cuda:N")
    add("--wandb", action=argparse.BooleanOptionalAction, default=None)
    add("--verbose", action="store_true", help="say more, with tracebacks of failures")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="any other key")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_main(main)
