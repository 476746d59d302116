"""The pipeline's one call of the generator."""

from __future__ import annotations

from typing import Any

from config import load_config
from pipeline.plan import Job, Plan, config_file_for, search_of
from runtime.errors import UserError
from runtime.files import read_json


def training_overrides(plan: Plan) -> dict[str, Any]:
    """What the evaluation decides in the place of the training configuration."""
    return {"dataset": plan.config.dataset, "data_dir": str(plan.data_dir)}


def run_generator(job: Job, plan: Plan, *, resume: bool) -> None:
    """Generates the trips of a job into its file."""
    from gene import generate

    settings = plan.config
    config_file = config_file_for(job.model, settings, plan.eval_dir)
    device = settings.device
    if device is None and settings.cuda_device is not None:
        device = f"cuda:{settings.cuda_device}"
    generate(
        model_path=job.model.file,
        data_dir=plan.data_dir,
        output=job.generated_file,
        num_gene=settings.num_gene,
        seed=settings.seed,
        od_source=job.od_source,
        search=search_of(settings),
        beam_width=settings.beam_width,
        max_steps=settings.max_steps,
        processes=settings.processes,
        device=device,
        resume=resume,
        config=load_config(config_file, training_overrides(plan)),
    )


def generation_statistics(job: Job) -> dict[str, Any]:
    """What the generator wrote beside its file: throughput, forward passes, times."""
    try:
        content = read_json(job.generated_file.with_suffix(".json"))
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}
