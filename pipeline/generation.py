"""The pipeline's one call of the generator."""

from __future__ import annotations

from dataclasses import asdict

from config import Config, load_config
from pipeline.plan import Job, Model, Plan, config_file_for, search_of


def training_config(model: Model, plan: Plan) -> Config:
    """The configuration of a model, on the dataset of the evaluation."""
    overrides = {"dataset": plan.config.dataset, "data_dir": str(plan.data_dir)}
    return load_config(config_file_for(model, plan.config, plan.eval_dir), overrides)


def run_generator(job: Job, plan: Plan, *, resume: bool, progress: bool) -> dict[str, float]:
    """Generates the trips of a job into its file; returns how it went, as numbers."""
    from gene import generate

    settings = plan.config
    result = generate(
        config=training_config(job.model, plan),
        model_path=job.model.file,
        output=job.generated_file,
        num_gene=settings.num_gene,
        seed=settings.seed,
        od_source=job.od_source,
        search=search_of(settings),
        beam_width=settings.beam_width,
        max_steps=settings.max_steps,
        processes=settings.processes,
        cuda=settings.cuda_device,
        device=settings.device,
        resume=resume,
        progress=progress,
    )
    numbers = asdict(result).items()
    return {name: float(value) for name, value in numbers if isinstance(value, int | float)}
