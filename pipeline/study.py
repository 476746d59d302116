"""How a study ends: its final models generate trips, which are compared as groups over seeds."""

from __future__ import annotations

from pathlib import Path

from config import load_evaluation_config
from pipeline.plan import make_plan
from pipeline.steps import Pipeline
from runtime.files import FolderLock
from runtime.logs import get_logger

logger = get_logger("pipeline")


def compare_final_models(folder: Path, num_gene: int, device: str | None) -> str | None:
    """Evaluates the models of an evaluation folder; the groups' tables, if any model came through.

    What is done already is found; another worker that is at it is waited for.
    """
    changes = {"eval_dir": str(folder), "groups": "auto", "num_gene": num_gene}
    if device is not None:
        changes["device"] = device
    plan = make_plan(load_evaluation_config(folder / "config" / "evaluation.yaml", changes))
    with FolderLock(folder, name=".pipeline.lock", wait=True):
        results = Pipeline(plan).run()
    for result in results:
        if result.error is not None:
            logger.warning("%s is missing in the comparison: %s", result.job.title, result.error)
    table = plan.folder / "groups.md"
    came_through = any(result.results is not None for result in results)
    return table.read_text(encoding="utf-8") if came_through else None
