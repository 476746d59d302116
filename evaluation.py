"""Measures generated trips against real ones.

    python evaluation.py --generated_file gene/demo/trips.csv --data_dir data/demo
    python evaluation.py --run_dir save/demo/seed0_distill

Writes `results.json`, `trajectory_metrics.json` and a report into `eval/<time>/` and prints a
table. Several generated files are also compared with each other on the OD pairs they share.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from config.arguments import example_parser
from config.choices import DtwKind, OnBadRows
from config.evaluation import EvaluationConfig
from config.finding import find_data_dir
from config.schema import WandbConfig
from config.section import LARGEST_INT
from data.generation_record import say_other_student
from data.road_network import RoadNetwork
from data.splits import has_split
from metrics.assessment import Assessment, assess
from metrics.comparison import Comparison, compare
from metrics.generated import GeneratedTrips, read_generated
from metrics.reference import Reference, Settings
from metrics.scenarios import SHIPPED
from metrics.trips import read_real_trips
from metrics.usual import Usual
from report.claim import (
    claimed,
    discarded_if_unused,
    fresh_folder,
    refuse_other_comparison,
    refuse_other_results,
)
from report.document import Run, write_comparison, write_report
from report.inputs import find_generated_file, learning_curves, unique_names
from report.results import write_results
from report.tables import MARKS_LEGEND, measures_table, models_rows, screen_table
from runtime.errors import UserError, run_main
from runtime.files import sha256_of_file
from runtime.inputs import KEY, Inputs
from runtime.logs import get_logger, setup_logging
from runtime.names import readable
from runtime.placing import placing
from runtime.wandb_run import start_run

logger = get_logger("evaluation")

DEFAULTS = EvaluationConfig()
MAX_RESAMPLES = 1_000_000


@dataclass(frozen=True)
class EvaluationResult:
    """What `evaluate` found: the content of `results.json`, where it lies, and the details."""

    metrics: dict[str, Any]
    folder: Path
    assessment: Assessment
    files: tuple[str, ...] = ("results.json", "trajectory_metrics.json")

    def __getitem__(self, name: str) -> Any:
        return self.metrics[name]


def evaluate(
    generated_file: str | Path | None = None,
    data_dir: str | Path | None = None,
    od_source: str = "test",
    *,
    run_dir: str | Path | None = None,
    output_dir: str | Path | None = None,
    name: str | None = None,
    settings: Settings | None = None,
    reference: Reference | None = None,
    report: bool = True,
    replace: bool = False,
) -> EvaluationResult:
    """Measures one generated file against the real trips of `<data_dir>/<od_source>.csv`.

    Without `generated_file` the newest one in `run_dir` is taken. `reference`, real trips
    measured before, replaces `data_dir`, `od_source` and `settings`. An `output_dir` that holds
    other results is refused unless `replace`.
    """
    file = find_generated_file(generated_file, run_dir)
    if reference is None:
        folder = find_data_dir(data_dir, run_dir)
        reference = load_reference(folder, od_source, settings or Settings())
    if run_dir is not None:
        say_other_student(file, Path(run_dir))
    name = name or readable(file.stem)
    started = time.perf_counter()
    assessment = measure(name, file, reference)
    logger.info(
        "Measured %d generated trips of %s in %.1f s.",
        assessment.num_trips,
        file,
        time.perf_counter() - started,
    )
    _warn_where_nothing_matches(assessment)
    metadata = _metadata(file, reference, od_source, run_dir)
    folder = _output_folder(output_dir, run_dir)
    with claimed(folder), placing("evaluation.py", folder, force=replace):
        if not replace:
            refuse_other_results(folder, metadata)
        metrics = write_results(assessment, metadata, folder)
        if report:
            write_report(folder, [Run(assessment, od_source, learning_curves(run_dir))])
    return EvaluationResult(metrics, folder, assessment)


def measure(name: str, file: Path, reference: Reference) -> Assessment:
    """Measures a generated file; its trips are not kept."""

    def read() -> GeneratedTrips:
        return read_generated(file, reference.network, reference.settings.on_bad_rows)

    return assess(name, read(), reference, lambda: read().trips)


def load_reference(data_dir: str | Path, od_source: str, settings: Settings) -> Reference:
    """Reads and measures the real trips of a split."""
    _check_settings(settings, od_source)
    network = RoadNetwork.load(data_dir)
    trips = read_real_trips(data_dir, od_source, network, settings.on_bad_rows)
    logger.info("Comparing with %d real trips (%s) of %s.", len(trips), od_source, data_dir)
    return Reference.of(trips, network, settings, load_usual(network, settings))


def load_usual(network: RoadNetwork, settings: Settings) -> Usual | None:
    """What is usual in the training trips; None where there are none, or it is not wanted."""
    if not settings.behaviour or not has_split(network.folder, "train"):
        return None
    trips = read_real_trips(network.folder, "train", network, settings.on_bad_rows)
    return Usual.of(trips, network, settings.grid_size)


def _check_settings(settings: Settings, od_source: str) -> None:
    if od_source not in ("train", "test", "val"):
        raise UserError(f"od_source is {od_source!r}; allowed: 'train', 'val' or 'test'.")
    if settings.dtw not in ("fastdtw", "exact"):
        raise UserError(f"dtw is {settings.dtw!r}; allowed: 'fastdtw' or 'exact'.")
    for name, value in (("grid_size", settings.grid_size), ("edr_eps", settings.edr_eps)):
        if not 0 < value < float("inf"):
            raise UserError(f"{name} is {value}; it must be a number above 0.")
    for name, number, most in (
        ("bootstrap", settings.bootstrap, MAX_RESAMPLES),
        ("seed", settings.seed, LARGEST_INT),
    ):
        if not 0 <= number <= most:
            raise UserError(f"{name} is {number}; it must be from 0 to {most}.")


def _warn_where_nothing_matches(assessment: Assessment) -> None:
    if len(assessment.pairs):
        return
    logger.warning(
        "No generated trip joins the same two grid cells as a real one, so there are no "
        "Hausdorff, DTW and EDR values; the distributions are compared all the same. Is "
        "--od_source the split that the trips were generated for?"
    )


def _output_folder(output_dir: str | Path | None, run_dir: str | Path | None) -> Path:
    """The folder given, or a fresh `eval/<time>` in the run's folder or the current one."""
    if output_dir is not None:
        return Path(output_dir)
    return fresh_folder(Path(run_dir if run_dir is not None else ".") / "eval")


def _metadata(
    file: Path, reference: Reference, od_source: str, run_dir: str | Path | None
) -> dict[str, Any]:
    settings = reference.settings
    splits = {od_source: reference.trips.source_hash}
    if reference.usual is not None:
        splits["train"] = reference.usual.trips.source_hash
    inputs = Inputs(
        network=reference.network.content_hash,
        trips_file=sha256_of_file(file),
        **{name: value for name, value in splits.items() if name in ("train", "val", "test")},
    )
    return {
        "generated_file": str(file),
        "generated_sha256": inputs.trips_file,
        "data_dir": str(reference.network.folder),
        "network_hash": reference.network.content_hash,
        "real_trips_hash": reference.trips.content_hash,
        "real_trips": len(reference.trips),
        "run_dir": None if run_dir is None else str(run_dir),
        "od_source": od_source,
        "grid_size": settings.grid_size,
        "edr_eps": settings.edr_eps,
        "dtw": settings.dtw,
        "bootstrap": settings.bootstrap,
        "seed": settings.seed,
        "behaviour": reference.usual is not None,
        "scenarios": sha256_of_file(settings.scenarios or SHIPPED),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        KEY: inputs.to_json(),
    }


def track(result: EvaluationResult, wandb: WandbConfig, name: str, directory: Path) -> Path | None:
    """Records the measures as a WandB run; returns where its files lie, if it was made."""
    assessment = result.assessment
    run = start_run(wandb, name, result.metrics["metadata"], directory, job_type="evaluation")
    values = {key: value for key, value in assessment.overall.values.items() if value is not None}
    for scenario, found in assessment.scenarios.items():
        for key, value in found.measures.values.items():
            if value is not None:
                values[f"scenario/{scenario}/{key}"] = value
    folder = run.directory
    run.log(values)
    run.summarize({**values, "pairs": len(assessment.pairs)})
    run.finish()
    return folder


def main(argv: list[str] | None = None) -> int:
    """Evaluates the files of the command line."""
    arguments = _parse_arguments(argv)
    setup_logging()
    files = arguments.generated_file or [None]
    settings = _settings(arguments)
    first = find_generated_file(files[0], arguments.run_dir)
    data_dir = find_data_dir(arguments.data_dir, arguments.run_dir)
    reference = load_reference(data_dir, arguments.od_source, settings)
    names = unique_names([first, *map(Path, files[1:])])
    folder = _output_folder(arguments.output_dir, arguments.run_dir)
    if len(names) > 1 and not arguments.force:
        refuse_other_comparison(folder, list(names), arguments.od_source)
    with placing("evaluation.py", folder, force=arguments.force):
        with discarded_if_unused(folder if arguments.output_dir is None else None):
            found = _evaluate_all(arguments, names, folder, reference)
        for each in found:
            wandb, name = _wandb_settings(arguments), each.assessment.name
            if wandb.run_name and len(found) > 1:  # else nobody could tell the runs apart
                wandb.run_name = f"{wandb.run_name}_{name}"
            track(each, wandb, f"eval_{name}", each.folder)
        _print(found)
        _write_all(arguments, found, settings, folder)
    print(f"\nResults are in {folder}")
    return 0


def _write_all(
    arguments: argparse.Namespace,
    found: list[EvaluationResult],
    settings: Settings,
    folder: Path,
) -> None:
    """Writes what is said of all files together."""
    comparisons = []
    if len(found) > 1:
        comparisons.append(_compare(found, arguments.od_source, settings, folder))
    if not arguments.no_report:
        curves = learning_curves(arguments.run_dir)
        runs = [Run(each.assessment, arguments.od_source, curves) for each in found]
        write_report(folder, runs, comparisons)


def _evaluate_all(
    arguments: argparse.Namespace, names: dict[str, Path], folder: Path, reference: Reference
) -> list[EvaluationResult]:
    """Measures every file into `folder`, or each into a folder of its own in it."""
    return [
        evaluate(
            file,
            od_source=arguments.od_source,
            run_dir=arguments.run_dir,
            output_dir=folder if len(names) == 1 else folder / name,
            name=name,
            reference=reference,
            report=False,
            replace=arguments.force,
        )
        for name, file in names.items()
    ]


def _print(found: Sequence[EvaluationResult]) -> None:
    for each in found:
        print(f"\n{each.assessment.name}: {len(each.assessment.pairs)} pairs")
        print(measures_table(each.assessment.overall))


def _compare(
    found: Sequence[EvaluationResult], od_source: str, settings: Settings, folder: Path
) -> Comparison:
    """Compares the files with each other, writes it down and prints the table."""
    assessments = [each.assessment for each in found]
    comparison = compare(assessments, od_source, settings.bootstrap, settings.seed)
    results = {each.assessment.name: each.metrics for each in found}
    write_comparison(folder, [comparison], {od_source: results})
    rows, header = models_rows(results, comparison)
    print(f"\n{screen_table(rows, header)}\n{MARKS_LEGEND}")
    return comparison


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(
        grid_size=arguments.grid_size,
        edr_eps=arguments.edr_eps,
        dtw=arguments.dtw,
        bootstrap=arguments.bootstrap,
        seed=arguments.seed,
        on_bad_rows=arguments.on_bad_rows,
        behaviour=not arguments.no_behaviour,
        scenarios=arguments.scenarios,
    )


def _wandb_settings(arguments: argparse.Namespace) -> WandbConfig:
    return WandbConfig(
        enable=arguments.wandb,
        project=arguments.wandb_project,
        run_name=arguments.wandb_run_name,
        tags=arguments.wandb_tags,
    )


EXAMPLES = """\
  python evaluation.py --generated_file trips.csv --data_dir data/demo
  python evaluation.py --generated_file vanilla.csv distilled.csv --data_dir data/demo
  python evaluation.py --generated_file trips.csv --data_dir data/demo --run_dir save/demo/seed0
  python evaluation.py --generated_file trips.csv --data_dir data/demo --dtw exact --no_report
"""


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = example_parser("Measures generated trips against real ones.", EXAMPLES)
    add = parser.add_argument
    add("--generated_file", nargs="+", metavar="CSV", help="one file, or several to compare")
    add("--run_dir", help="a training run: its newest generated CSV, its learning curves")
    add("--data_dir", help="the dataset folder (found through --run_dir where possible)")
    add(
        "--od_source",
        choices=["test", "train", "val"],
        default="test",
        help="the split of the real trips",
    )
    add("--grid_size", type=float, default=DEFAULTS.grid_size, help="OD cells, degrees")
    add("--edr_eps", type=float, default=DEFAULTS.edr_eps, help="EDR threshold, metres")
    add("--dtw", choices=get_args(DtwKind), default=DEFAULTS.dtw, help="as published, or exact")
    add("--bootstrap", type=int, default=DEFAULTS.bootstrap, help="resamples; 0: no intervals")
    add("--seed", type=int, default=0, help="of the resamples")
    add("--on_bad_rows", choices=get_args(OnBadRows), default="error", help="real or generated")
    add("--scenarios", metavar="YAML", help="scenarios of one's own instead of the shipped ones")
    add("--no_behaviour", action="store_true", help="nothing from the training trips")
    add("--output_dir", help="instead of eval/<time>")
    add("--force", action="store_true", help="replace other results in --output_dir")
    add("--no_report", action="store_true", help="no HTML report and no pictures")
    add("--wandb", action="store_true", help="record the results with WandB")
    add("--wandb_project", default=DEFAULTS.wandb.project)
    add("--wandb_run_name", default="")
    add("--wandb_tags", nargs="*", default=["eval"])
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_main(main)
