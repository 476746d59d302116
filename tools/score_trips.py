"""Says of every trip how normal it is, and how well each model finds anomalies.

Teachers, students and yardsticks score the trips of a split or of a file; percentiles are
calibrated on the validation trips. With injected or labelled anomalies the models are compared.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from config.arguments import add_bad_rows_argument, example_parser
from config.finding import run_of
from config.generation import CostsName
from critics.scoring import ScoreRequest, ScoreResult, score
from critics.scoring.anomalies import AnomalyKind
from critics.scoring.opening import unique_names
from report.claim import fresh_folder
from report.score_files import FORMATS, study_rows, write_geojson, write_summary, write_trips
from report.score_groups import Members, group_rows, score_groups, write_score_groups
from report.tables import screen_table
from runtime.device import resolve_device
from runtime.errors import UserError, run_main
from runtime.logs import get_logger, setup_logging
from runtime.results import Results, add_force_argument

logger = get_logger("scores")

EXAMPLES = """\
  python -m tools.score_trips --model data/demo/teacher.pt save/demo/seed0_distill/best.pth \\
      --data_dir data/demo
  python -m tools.score_trips --model save/demo/seed0/best.pth --data_dir data/demo \\
      --inject detour,switch,loop,slow,wrong_time
  python -m tools.score_trips --model save/demo/seed0/best.pth --data_dir data/demo \\
      --trips suspicious.csv --labels labels.csv --alarm_rate 0.01 --output scores/suspicious
  python -m tools.score_trips --model save/demo/seed*/best.pth save/demo/seed*_distill/best.pth \
      --data_dir data/demo --inject all --groups "vanilla=*seed?" "distilled=*_distill"
"""
_SEED = re.compile(r"seed(\d+)")


def _parser() -> argparse.ArgumentParser:
    parser = example_parser(
        (__doc__ or "").split("\n")[0], EXAMPLES, prog="python -m tools.score_trips"
    )
    add = parser.add_argument
    add("--model", nargs="*", default=[], metavar="FILE", help="teachers' and students' files")
    add("--data_dir", required=True, help="the dataset folder")
    add("--split", choices=["test", "val", "train"], default="test", help="which trips to score")
    add("--trips", metavar="FILE", help="score these trips instead: a dataset's or generated ones")
    add("--inject", metavar="KINDS", help=f"anomalies: {','.join(get_args(AnomalyKind))} or all")
    add("--labels", metavar="CSV", help="a column `label` with one row for each trip")
    add("--groups", nargs="+", default=[], metavar="NAME=PATTERN", help="models by training seed")
    add("--alarm_rate", type=float, default=0.05, help="share of normal trips that alarm")
    add("--window", help="roads that a teacher reads; default: the whole trip so far")
    text = "fitted: weigh what students believe against detours, delays and unusual turns"
    add("--costs", choices=get_args(CostsName), default="given", help=text)
    add("--max_trips", type=int, metavar="N", help="score only the first N trips")
    add("--format", choices=[name[1:] for name in FORMATS], default="parquet", help="of the trips")
    add("--output", metavar="DIR", help="default: scores/<time>")
    add_bad_rows_argument(parser)
    add("--no-yardsticks", action="store_true", help="no simple methods beside the models")
    add("--no-report", action="store_true", help="no HTML page")
    add("--seed", type=int, default=0, help="of the injected anomalies")
    add("--cuda", type=int, help="which GPU")
    add("--device", help="cpu or cuda:N")
    add_force_argument(parser)
    return parser


def _request(arguments: argparse.Namespace) -> ScoreRequest:
    kinds = [kind.strip() for kind in (arguments.inject or "").split(",") if kind.strip()]
    window: int | str = "full"
    if arguments.window not in (None, "full"):
        if not arguments.window.isdecimal() or not 1 <= int(arguments.window) <= 4096:
            raise UserError(f"--window is {arguments.window!r}; give a number of roads or full.")
        window = int(arguments.window)
    if arguments.seed < 0:
        raise UserError(f"--seed is {arguments.seed}; it must not be negative.")
    return ScoreRequest(
        models=arguments.model,
        data_dir=arguments.data_dir,
        split=arguments.split,
        trips_file=arguments.trips,
        inject=list(get_args(AnomalyKind)) if kinds == ["all"] else kinds,  # type: ignore[arg-type]
        labels=arguments.labels,
        alarm_rate=arguments.alarm_rate,
        window=window,  # type: ignore[arg-type]
        yardsticks=not arguments.no_yardsticks,
        costs=arguments.costs,
        max_trips=arguments.max_trips,
        seed=arguments.seed,
        device=str(resolve_device(arguments.cuda, arguments.device)),
        on_bad_rows=arguments.on_bad_rows,
    )


def members(models: Sequence[str], names: Sequence[str], groups: Sequence[str]) -> Members:
    """The models' names by group and training seed; patterns are of files' or folders' names."""
    found: dict[str, dict[str, str]] = {}
    for text in groups:
        group, separator, pattern = text.partition("=")
        if not separator or not group.strip() or not pattern.strip():
            raise UserError(f'--groups {text!r}: expected NAME=PATTERN, as "vanilla=*seed?".')
        by_seed: dict[str, str] = found.setdefault(group.strip(), {})
        for path, name in zip(map(Path, models), names, strict=True):
            if not any(
                fnmatchcase(each, pattern.strip()) for each in (path.stem, run_of(path).name)
            ):
                continue
            seeds = _SEED.findall(str(path)) or re.findall(r"\d+", path.stem) or [name]
            if seeds[-1] in by_seed:
                raise UserError(f"Two models of the group {group} have the seed {seeds[-1]}.")
            by_seed[seeds[-1]] = name
        if not by_seed:
            raise UserError(f"No model matches the group {group.strip()} ({pattern.strip()}).")
    return found


def write_scores(result: ScoreResult, folder: Path, kind: str, page: bool) -> None:
    """All files of a scoring."""
    write_trips(result, folder / f"trips.{kind}")
    write_summary(result, folder / "scores.json")
    first = next(iter(result.models))
    write_geojson(result, first, folder / "trips.geojson")
    if page:
        from report.scores_page import write_scores_page

        write_scores_page(result, folder / "scores.html")


def _outputs(folder: Path, arguments: argparse.Namespace) -> Results:
    names = [f"trips.{arguments.format}", "scores.json", "trips.geojson"]
    names += [] if arguments.no_report else ["scores.html"]
    names += ["groups.json", "groups.md"] if arguments.groups else []
    return Results(folder, tuple(names), "tools.score_trips", force=arguments.force)


def _print(result: ScoreResult) -> None:
    for ods in ("all", "seen", "unseen"):
        rows, header = study_rows(result.studies, ods)
        if rows:
            print(f"\nROC-AUC / PR-AUC, {ods} OD pairs\n{screen_table(rows, header)}")


def main(argv: list[str] | None = None) -> int:
    """Command line: `--model FILE … --data_dir DIR [options]`."""
    arguments = _parser().parse_args(argv)
    setup_logging()
    request = _request(arguments)
    names = unique_names([Path(model) for model in arguments.model]) if arguments.model else []
    grouped = members(arguments.model, names, arguments.groups)
    outputs = None
    if arguments.output is not None:  # refused before hours of work, not after them
        outputs = _outputs(Path(arguments.output), arguments)
        outputs.check()
    result = score(request)
    outputs = outputs or _outputs(fresh_folder(Path("scores")), arguments)
    folder = outputs.folder
    with outputs.of(result.inputs).written():
        write_scores(result, folder, arguments.format, page=not arguments.no_report)
        comparison = score_groups(result.studies, grouped, list(result.models)) if grouped else None
        if comparison is not None:
            write_score_groups(comparison, folder)
    _print(result)
    if comparison is not None:
        print(f"\nGroups over training seeds\n{screen_table(*group_rows(comparison))}")
        for warning in comparison.warnings:
            logger.warning("%s", warning)
    print(f"\nScores are in {folder}")
    return 0


if __name__ == "__main__":
    run_main(main)
