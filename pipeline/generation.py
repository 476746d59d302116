"""The pipeline's one call of the generator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from baselines.writing import load_habits, write_baseline
from config import Config, load_config
from config.generation import Execution, PairSettings
from dataset import TripDataset
from pipeline.plan import Job, Model, Plan, config_file_for
from runtime.device import resolve_device
from search.od import SampledOD


def training_config(model: Model, plan: Plan, **overrides: Any) -> Config:
    """The configuration of a model, on the dataset and with the seed of the evaluation."""
    settings = plan.config
    overrides = {
        "dataset": settings.dataset,
        "data_dir": str(plan.data_dir),
        "training.seed": settings.seed,
        **overrides,
    }
    if settings.on_bad_rows == "skip":  # asked of the evaluation, whatever the training asked
        overrides["data.on_bad_rows"] = "skip"
    return load_config(config_file_for(model, settings, plan.eval_dir), overrides)


def run_generator(job: Job, plan: Plan, *, resume: bool, progress: bool) -> dict[str, float]:
    """Generates the trips of a job into its file; returns how it went, as numbers."""
    if job.model.baseline is not None:
        return _run_baseline(job, plan)
    from gene import generate

    settings = plan.config
    device = resolve_device(settings.cuda_device, settings.device)
    result = generate(
        training_config(job.model, plan, **{"training.device": str(device)}),
        model_path=job.model.file,
        num_gene=settings.num_gene,
        output=job.generated_file,
        search=job.search,
        pairs=PairSettings(job.od_source),
        execution=Execution(processes=settings.processes, resume=resume, progress=progress),
    )
    numbers = asdict(result).items()
    return {name: float(value) for name, value in numbers if isinstance(value, int | float)}


def _run_baseline(job: Job, plan: Plan) -> dict[str, float]:
    """The same for a baseline, on the very OD pairs that the students get."""
    assert job.model.baseline is not None
    seed, on_bad_rows = plan.config.seed, plan.config.on_bad_rows
    habits = load_habits(plan.data_dir, on_bad_rows)
    trips = TripDataset.load(plan.data_dir, job.od_source, habits.network, on_bad_rows=on_bad_rows)
    source = SampledOD(trips, plan.config.num_gene, seed)
    return write_baseline(job.model.baseline, habits, source, job.generated_file, seed).figures
