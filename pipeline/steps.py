"""The pipeline's run: job by job generation and evaluation, then the comparison of all models.

A job that fails is written down and the next one begins; what is done already is left alone.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, replace
from typing import Any

from config.loading import dump_config
from data.generation_record import read_record, record_path
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from data.splits import has_split, split_file
from evaluation import evaluate, track
from metrics.scenarios import SHIPPED
from models.checkpoint import read_student_file
from pipeline.generation import run_generator, training_config
from pipeline.job_result import JobResult
from pipeline.latency import latency_file
from pipeline.ledger import Entry, measures_version
from pipeline.material import Material
from pipeline.plan import Job, Plan, unread_settings
from pipeline.summary import Summary
from runtime.errors import UserError, one_line
from runtime.files import read_json, sha256_of_file
from runtime.inputs import Inputs
from runtime.logs import get_logger
from runtime.placing import clear, placing
from runtime.wandb_run import start_run
from search.searches import fits_costs, identity_of

logger = get_logger("pipeline")


@dataclass
class Clock:
    """Guesses how long the remaining jobs take from those that were really run."""

    total: int
    done: int = 0
    seconds: list[float] = field(default_factory=list)

    def remaining(self) -> str:
        """The guess in words; nothing where there is no ground for one."""
        if not self.seconds:
            return ""
        left = (self.total - self.done) * sum(self.seconds) / len(self.seconds)
        return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"


class Pipeline:
    """All jobs of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.config = plan, plan.config
        self.material = Material(plan)

    def run(self) -> list[JobResult]:
        """Does every job, then compares the models."""
        with placing("python_pipeline.py", self.plan.eval_dir, force=self.config.force):
            return self._run()

    def _run(self) -> list[JobResult]:
        for key in unread_settings(self.config):
            logger.warning("%s has no say in the searches that are asked for.", key)
        _ = self.material.network  # a broken dataset is no fault of a model's: it stops everything
        clock = Clock(len(self.plan.jobs))
        results = []
        for job in self.plan.jobs:
            logger.info("[%d/%d] %s%s.", clock.done + 1, clock.total, job.title, clock.remaining())
            started = time.perf_counter()
            result = self._run_job(job)
            clock.done += 1
            if "done" in (result.generation, result.evaluation):
                clock.seconds.append(time.perf_counter() - started)
            if not self.material.is_shown(job):
                result.assessment = None  # only its numbers are wanted from here on
            results.append(result)
        if not self.config.skip_eval:
            Summary(self.material).write(results)
        self.material.sync.report()
        return results

    def _run_job(self, job: Job) -> JobResult:
        result = JobResult(job)
        try:
            if not self.config.skip_eval:
                result.evaluation = "skipped"
            if not self.config.skip_gene:
                result.generation = "failed"
                result.generation = self._generate(job)
            if not self.config.skip_eval:
                result.evaluation = "failed"
                self._evaluate(job, result)
        except Exception as error:
            # One broken model must not cost the others their run; it is reported at the end.
            result.error = one_line(error) or type(error).__name__
            logger.error("%s failed: %s", job.title, result.error)
            logger.debug("Where it failed:", exc_info=error)
        return result

    def _generate(self, job: Job) -> str:
        entry = Entry(job.generated_file.with_suffix(".ledger.json"), self._generation_inputs(job))
        if not self.config.force and entry.is_done():
            logger.info("%s is up to date.", job.generated_file)
            return "up to date"
        resume = not self.config.force and entry.was_stopped() and job.generated_file.exists()
        if entry.path.exists() and read_record(job.generated_file) is None:
            # Trips that the ledger knows are ours, so is their record: it is damaged.
            clear(record_path(job.generated_file))
            resume = False
        entry.begin()
        clear(latency_file(job))
        statistics = run_generator(job, self.plan, resume=resume, progress=sys.stderr.isatty())
        entry.finish([job.generated_file])
        run = start_run(
            self.config.wandb.model_copy(update={"run_name": ""}),
            job.gene_run,
            entry.inputs,
            self.plan.eval_dir,
            job_type="generation",
        )
        folder = run.directory
        run.log(statistics)
        run.summarize(statistics)
        run.log_artifact(job.gene_run, "generated-trips", job.generated_file)
        run.finish()
        self.material.sync.start(folder)
        return "done"

    def _zones_hash(self, job: Job) -> str:
        """The zones that the job will read; made now where they are missing."""
        folder = self.plan.data_dir
        zones = self.material.network.zones
        if zones is None:
            data = training_config(job.model, self.plan).data
            ensure_zones(
                folder, data.num_zones, on_bad_rows=data.on_bad_rows, cache_dir=data.cache_dir
            )
            zones = RoadNetwork.load(folder).require_zones()
        return zones.content_hash

    def _data(self, *splits: str) -> Inputs:
        """The network and the trips of these splits."""
        folder = self.plan.data_dir
        hashes = {
            split: sha256_of_file(split_file(folder, split))
            for split in splits
            if has_split(folder, split)
        }
        return Inputs(network=self.material.network.content_hash, **hashes)

    def _generation_inputs(self, job: Job) -> dict[str, Any]:
        config = self.config
        splits = {"train", job.od_source} | ({"val"} if _asks_validation_trips(job) else set())
        data = self._data(*splits)
        if job.model.baseline is not None:
            return {
                "step": "baseline",
                **replace(data, model=job.model.baseline).to_json(),
                "num_gene": config.num_gene,
                "seed": config.seed,
            }
        return {
            "step": "generation",
            **replace(
                data,
                model=sha256_of_file(job.model.file),
                zones=self._zones_hash(job),
            ).to_json(),
            "model_config": dump_config(training_config(job.model, self.plan)),
            "od_source": job.od_source,
            "num_gene": config.num_gene,
            "seed": config.seed,
            **identity_of(job.search),
        }

    def _evaluate(self, job: Job, result: JobResult) -> None:
        if not job.generated_file.is_file():
            raise UserError(f"{job.generated_file} does not exist; run without --skip-gene.")
        material = self.material
        reference, usual = material.reference(job.od_source), material.usual
        inputs = {
            "step": "evaluation",
            **Inputs(
                network=material.network.content_hash,
                trips_file=sha256_of_file(job.generated_file),
                code=measures_version(),
            ).to_json(),
            "real_trips": reference.trips.content_hash,
            "usual": None if usual is None else usual.trips.content_hash,
            "settings": dict(material.settings.__dict__),
            "scenarios": sha256_of_file(material.settings.scenarios or SHIPPED),
        }
        entry = Entry(job.evaluation_folder / "ledger.json", inputs)
        result.evaluation_key = entry.key
        if not self.config.force and entry.is_done():
            result.results = read_json(job.evaluation_folder / "results.json")
            result.evaluation = "up to date"
            return
        entry.begin()
        evaluated = evaluate(
            job.generated_file,
            od_source=job.od_source,
            output_dir=job.evaluation_folder,
            name=job.name,
            reference=reference,
            report=False,
            replace=True,  # the folder is the pipeline's own
        )
        wandb = self.config.wandb.model_copy(update={"run_name": ""})
        self.material.sync.start(track(evaluated, wandb, job.eval_run, self.plan.eval_dir))
        entry.finish([job.evaluation_folder / name for name in evaluated.files])
        result.results, result.assessment = evaluated.metrics, evaluated.assessment
        result.evaluation = "done"


def _asks_validation_trips(job: Job) -> bool:
    """Whether the search's costs, or how its student's times spread, are found out on them."""
    if job.model.baseline is not None or fits_costs(job.search):
        return job.model.baseline is None
    draws_times = job.search.times == "drawn"
    return draws_times and read_student_file(job.model.file).travel_times is None
