"""Finding what an evaluation or a report starts from: generated file and learning curves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.finding import existing_run_folder, run_file
from metrics.generated import GENERATED_COLUMN, is_generated
from report.claim import RESULT_NAMES
from runtime.errors import UserError
from runtime.files import read_json
from runtime.logs import get_logger
from runtime.names import readable, safe_name

logger = get_logger("report")

NOT_GENERATED = ("train.csv", "val.csv", "test.csv")


@dataclass(frozen=True)
class LearningCurve:
    """A training run's figures, epoch by epoch."""

    name: str
    epochs: list[dict[str, float]]


def find_generated_file(generated_file: str | Path | None, run_dir: str | Path | None) -> Path:
    """The file given, or the newest generated CSV in the run's folder and its subfolders."""
    if generated_file is not None:
        return Path(generated_file)
    if run_dir is None:
        raise UserError("Nothing to evaluate; give --generated_file, or --run_dir to look in.")
    run = existing_run_folder(run_dir)
    found = [
        file
        for file in sorted(run.rglob("*.csv"))
        if file.is_file() and file.name not in NOT_GENERATED and _is_generated(file)
    ]
    if not found:
        raise UserError(
            f"{run} holds no generated CSV (one with a column {GENERATED_COLUMN}); make one with "
            "gene.py or give --generated_file."
        )
    newest = max(found, key=lambda file: file.stat().st_mtime_ns)
    logger.info("Evaluating %s, the newest of %d generated files.", newest, len(found))
    return newest


def unique_names(files: Sequence[Path]) -> dict[str, Path]:
    """A short name for each file: its stem, made different where stems repeat."""
    names: dict[str, Path] = {}
    for file in files:
        stem = safe_name(readable(file.stem), f"the name of {file}")
        name, attempt = stem, 1
        while name in names or name in RESULT_NAMES:
            attempt += 1
            name = f"{stem}_{attempt}"
        names[name] = file
    return names


def _is_generated(file: Path) -> bool:
    try:
        return is_generated(file)
    except UserError:
        return False


def learning_curves(run_dir: str | Path | None, name: str | None = None) -> list[LearningCurve]:
    """The learning curve of a run, where its `metrics.json` can be read; an empty list else."""
    if run_dir is None or not run_file(Path(run_dir), "metrics.json").exists():
        return []
    try:
        content = read_json(run_file(Path(run_dir), "metrics.json"))
    except UserError as error:
        logger.warning("The report goes without learning curves: %s", error)
        return []
    epochs = content.get("epochs") if isinstance(content, dict) else None
    epochs = epochs if isinstance(epochs, list) else []
    rows = [_numbers(row) for row in epochs if isinstance(row, dict)]
    rows = [row for row in rows if row]
    return [LearningCurve(name or Path(run_dir).name, rows)] if rows else []


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {
        str(key): float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
        if abs(value) <= sys.float_info.max
    }
