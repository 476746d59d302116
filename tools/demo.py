"""The whole way on the demo city: train two students, generate, evaluate, compare, report.

    python -m tools.demo [--output demo_results]

One student is taught by LM-TAD, the other is not; both see the same few trips.
"""

from __future__ import annotations

from pathlib import Path

from config import Config, EvaluationConfig
from config.arguments import example_parser
from config.finding import find_config
from config.generation import check_count
from python_pipeline import print_results, run_pipeline
from report.tables import screen_table
from runtime.errors import UserError, run_main
from runtime.logs import get_logger, setup_logging
from train_with_distill import TrainResult, train
from training.resources import ResourcePool
from training.result import NLL, UNCALIBRATED, before_calibration

logger = get_logger("demo")

NUM_GENERATED = 500
VALIDATED = {
    "val_next_step_acc": "Next-step accuracy",
    NLL: "Negative log-likelihood",
    UNCALIBRATED: "The same, neither calibrated",
    "val_calibration_error": "Calibration error",
    "val_time_pred_mape": "Travel-time MAPE (log1p)",
}
EXAMPLES = "  python -m tools.demo\n  python -m tools.demo --trips 100 --output demo_results"


def train_both(config: Config) -> dict[str, TrainResult]:
    """The distilled and the vanilla student, on the same data."""
    pool = ResourcePool()
    vanilla = config.model_copy(
        update={"distill": config.distill.model_copy(update={"enable": False})}
    )
    results = {}
    for name, each in (("distilled", config), ("vanilla", vanilla)):
        results[name] = train(each, pool=pool)
        results[name].end_if_stopped()
    return results


def link_models(folder: Path, results: dict[str, TrainResult]) -> None:
    """Puts the best students where the pipeline looks for models."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    for name, result in results.items():
        link = models / f"{name}.pth"
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            raise UserError(f"{link} is in the way; choose another --output.")
        link.symlink_to(result.checkpoint.resolve())


def evaluation_config(config: Config, folder: Path, num_generated: int) -> EvaluationConfig:
    """The pipeline's settings for the demo's two models."""
    return EvaluationConfig(
        dataset=config.dataset,
        data_dir=config.data_dir,
        models_dir="models",
        eval_dir=str(folder),
        od_sources=["test"],
        num_gene=num_generated,
        device="cpu",
    )


def validation_table(results: dict[str, TrainResult]) -> str:
    """What both students know of validation trips, side by side."""
    header = ["", *results]
    known = [before_calibration(result.metrics) for result in results.values()]
    rows = [
        [title, *(f"{metrics[measure]:.4f}" for metrics in known)]
        for measure, title in VALIDATED.items()
    ]
    return screen_table(rows, header)


def main() -> int:
    """The command line."""
    parser = example_parser("Run the whole demo.", EXAMPLES)
    parser.add_argument("--output", default="demo_results", help="where results go")
    parser.add_argument(
        "--trips", type=int, default=NUM_GENERATED, help="trips to generate with each student"
    )
    arguments = parser.parse_args()
    check_count("--trips", arguments.trips)  # before two students are trained, not after
    setup_logging()
    config = find_config()
    folder = Path(arguments.output)
    results = train_both(config)
    folder.mkdir(parents=True, exist_ok=True)
    link_models(folder, results)
    evaluation = evaluation_config(config, folder, arguments.trips)
    exit_code = print_results(evaluation, run_pipeline(evaluation))
    print(f"\nValidation trips\n{validation_table(results)}")
    return exit_code


if __name__ == "__main__":
    run_main(main)
