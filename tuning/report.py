"""What a study leaves in `optuna_results/<study>/`: summary, link to the best trial, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.errors import markdown_text
from runtime.files import atomic_write_text, timestamp, write_json
from runtime.inputs import KEY
from runtime.logs import get_logger
from runtime.wandb_run import start_run
from runtime.wandb_sync import sync_one
from training.result import before_calibration
from tuning.artifacts import link
from tuning.comparison import PairedComparison, compare_all
from tuning.final import FinalOutcome
from tuning.plots import parameter_importances, write_plots
from tuning.records import SUMMARY_NAME, TrialRecord
from tuning.sampling import pruner_name, sampler_name
from tuning.study import TuningStudy, known_inputs
from tuning.tables import (
    Table,
    comparison_table,
    final_table,
    parameters_table,
    trials_table,
)

logger = get_logger("tune")

REPORT_NAME = "report.md"
BEST_LINK = "best_trial"


@dataclass(frozen=True)
class StudyResult:
    """What `tune` returns."""

    study_name: str
    objectives: list[str]
    folder: Path
    trials: list[TrialRecord]
    best: TrialRecord | None  # of all trials, by accuracy
    final: FinalOutcome | None
    comparisons: list[PairedComparison]
    finished: bool
    exit_code: int = 0

    @property
    def summary(self) -> Path:
        """The machine-readable summary."""
        return self.folder / SUMMARY_NAME

    @property
    def tables(self) -> list[Table]:
        """What the screen shows in the end."""
        tables = [trials_table(self.trials, self.objectives)]
        if self.final is None:
            return tables
        if self.final.best_trial is not None and self.final.params:
            tables.append(parameters_table(self.final.params, self.final.best_trial))
        vanilla, distilled = self.final.metrics("vanilla"), self.final.metrics("distilled")
        if vanilla or distilled:
            tables.append(final_table(vanilla, distilled, self.comparisons))
        if self.comparisons:
            tables.append(comparison_table(self.comparisons))
        return tables


def best_trial(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The most accurate complete trial of either kind; the earlier one where two are equal."""
    scored = [
        (record.accuracy, -record.number, record)
        for record in records
        if record.state == "complete" and record.accuracy is not None
    ]
    return max(scored, key=lambda entry: entry[:2])[2] if scored else None


def study_result(
    study: TuningStudy,
    final: FinalOutcome | None = None,
    exit_code: int = 0,
    finished: bool = False,
) -> StudyResult:
    """The study as it stands."""
    records = study.records()
    comparisons = []
    if final is not None:
        vanilla = {s: before_calibration(run) for s, run in final.metrics("vanilla").items()}
        comparisons = compare_all(vanilla, final.metrics("distilled"))
    return StudyResult(
        study_name=study.name,
        objectives=list(study.config.optuna.objectives),
        folder=study.folder,
        trials=records,
        best=best_trial(records),
        final=final,
        comparisons=comparisons,
        finished=finished,
        exit_code=exit_code,
    )


def write_summary(study: TuningStudy, result: StudyResult) -> None:
    """Writes the summary and the link; cheap enough to be done after each trial."""
    with study.lock():
        write_json(result.summary, _summary(study, result))
        if result.best is not None and result.best.folder is not None:
            target = Path(result.best.folder)
            if target.is_dir():
                link(study.folder / BEST_LINK, target)


def write_report(study: TuningStudy, result: StudyResult) -> None:
    """Writes the Markdown report and the pictures."""
    head = [f"# Study {markdown_text(study.name)}", "", *_facts(study, result), ""]
    parts = [table.markdown() for table in result.tables]
    text = "\n".join(head) + "\n" + "\n\n".join(parts) + "\n"
    settings = study.config.optuna
    with study.lock():
        atomic_write_text(study.folder / REPORT_NAME, text)
        if settings.plots:
            write_plots(study.optuna, list(settings.objectives), study.folder)


def track_study(study: TuningStudy, result: StudyResult) -> None:
    """A WandB run of the study itself, beside those of its trials; nothing where WandB is off."""
    settings = study.config.wandb.model_copy(update={"run_name": f"{study.name}_summary"})
    run = start_run(
        settings,
        name=settings.run_name,
        config=study.config.optuna.model_dump(mode="json", by_alias=True),
        directory=study.folder,
        group=study.name,
        job_type="study",
    )
    values: dict[str, Any] = {f"trials/{state}": n for state, n in _counts(result.trials).items()}
    if result.best is not None:
        values["best/trial"] = result.best.number
        values["best/val_next_step_acc"] = result.best.accuracy
    if result.final is not None:
        values.update({f"best/{name}": value for name, value in result.final.params.items()})
    for row in result.comparisons:
        name = row.metric.removeprefix("val_")
        values[f"final/{name}_vanilla"] = row.vanilla.mean
        values[f"final/{name}_distilled"] = row.distilled.mean
        values[f"final/{name}_p"] = row.p_value
    tracked_in = run.directory
    run.summarize({name: value for name, value in values.items() if value is not None})
    run.finish()
    sync_one(settings, tracked_in, study.folder)


def _facts(study: TuningStudy, result: StudyResult) -> list[str]:
    settings = study.config.optuna
    counts = ", ".join(f"{count} {state}" for state, count in _counts(result.trials).items())
    facts = [
        f"dataset: {study.config.dataset}",
        f"store: {study.address.shown}",
        f"sampler: {sampler_name(settings)}",
        f"pruner: {pruner_name(settings)}",
        f"objectives: {', '.join(settings.objectives)}",
        f"trials: {counts or 'none'}, of up to {settings.max_epochs} epochs",
    ]
    return [f"- {markdown_text(fact)}" for fact in facts]


def _counts(records: Sequence[TrialRecord]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in records:
        counts[record.state] = counts.get(record.state, 0) + 1
    return counts


def _summary(study: TuningStudy, result: StudyResult) -> dict[str, Any]:
    settings = study.config.optuna
    tree = settings.model_dump(mode="json", by_alias=True)
    return {
        "study_name": study.name,
        "identity": study.identity,
        "written": timestamp(),
        "dataset": study.config.dataset,
        "storage": study.address.shown,
        "store": study.address.place,
        KEY: known_inputs(study).to_json(),
        "dashboard": study.address.dashboard_command,
        "objectives": tree["objectives"],
        "sampler": tree["sampler"],
        "pruner": tree["pruner"],
        "pruning": pruner_name(settings),
        "search_space": tree["search_space"],
        "max_epochs": settings.max_epochs,
        "base_seed": settings.base_seed,
        "counts": _counts(result.trials),
        "best_trial": asdict(result.best) if result.best is not None else None,
        "pareto_front": _pareto_front(study),
        "parameter_importances": parameter_importances(study.optuna),
        "trials": [asdict(record) for record in result.trials],
        "final": _final_summary(result),
        "finished": result.finished,
    }


def _pareto_front(study: TuningStudy) -> list[int] | None:
    if len(study.config.optuna.objectives) == 1:
        return None
    return [trial.number for trial in study.optuna.best_trials]


def _final_summary(result: StudyResult) -> dict[str, Any] | None:
    final = result.final
    if final is None:
        return None
    return {
        "best_trial": final.best_trial,
        "params": final.params,
        "finished": final.finished,
        "failures": final.failures,
        "runs": [
            {
                "name": run.name,
                "mode": run.mode,
                "seed": run.seed,
                "folder": str(run.folder.path),
                "metrics": run.metrics,
            }
            for run in final.runs
        ],
        "comparisons": [asdict(comparison) for comparison in result.comparisons],
    }
