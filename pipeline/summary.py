"""After the jobs: models against each other, groups over seeds, searches, and the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from config.finding import run_file
from data.generation_record import read_record
from metrics.comparison import Comparison, compare
from metrics.groups import Group, GroupComparison, compare_groups
from pipeline.groups import make_groups
from pipeline.job_result import JobResult
from pipeline.latency import latency_of
from pipeline.ledger import Entry, measures_version
from pipeline.material import Material
from pipeline.plan import Job
from pipeline.questions import Questions
from report.document import Extras, Run, write_comparison, write_report
from report.groups import groups_section, groups_summary, write_groups
from report.inputs import learning_curves
from report.leakage import leakage_section
from report.searches import SearchRow, searches_section
from report.sections import Section, write_section
from report.utility import utility_section
from report.yardsticks import YardstickRow, yardsticks_section
from runtime.errors import UserError
from runtime.files import read_json, sha256_of_file, write_json
from runtime.inputs import Inputs
from runtime.logs import get_logger
from runtime.wandb_run import start_run

logger = get_logger("pipeline")


class Summary:
    """What is written of all jobs together, unless it is there already."""

    def __init__(self, material: Material) -> None:
        self.material, self.plan, self.config = material, material.plan, material.config
        self.questions = Questions(material)

    def write(self, results: list[JobResult]) -> None:
        """Writes comparison, groups, searches and report of these very evaluations."""
        evaluated = [result for result in results if result.results is not None]
        if not evaluated:
            return
        folder = self.plan.folder
        entry = Entry(folder / "comparison.ledger.json", self._inputs(evaluated))
        if not self.config.force and entry.is_done():
            logger.info("The comparison in %s is up to date.", folder)
            return
        entry.begin()
        shown = [result for result in evaluated if self.material.is_shown(result.job)]
        comparisons = [self._compare(source, shown) for source in _sources(shown)]
        write_comparison(folder, comparisons, _tables(shown))
        outputs = [folder / f"comparison.{kind}" for kind in ("json", "md", "png")]
        parts = list(self._parts(evaluated, shown))
        outputs += [file for part in parts for file in part.files]
        if self.config.report:
            runs = [self._report_run(result) for result in shown]
            title = f"{self.config.dataset}: generated trips, seed {self.config.seed}"
            extras = Extras([part.section for part in parts], self.config.plots)
            outputs.append(write_report(folder, runs, comparisons, title, extras))
        entry.finish(outputs)

    def _parts(self, evaluated: list[JobResult], shown: list[JobResult]) -> Iterator[_Part]:
        """What a study asks beside the measures, as far as it was asked for."""
        folder = self.plan.folder
        if self.config.groups is not None:
            groups = [self._groups(source, evaluated) for source in _sources(evaluated)]
            yield _Part(groups_section(groups), write_groups(folder, groups))
            self._track(groups)
        if self.plan.compares_searches:
            section = searches_section([self._search_row(result) for result in evaluated])
            yield _Part(section, write_section(section, folder / "searches"))
        if any(result.job.model.baseline for result in shown):
            section = yardsticks_section([_yardstick_row(result) for result in shown])
            yield _Part(section, write_section(section, folder / "yardsticks"))
        if self.config.utility:
            section = utility_section(self.questions.utilities(shown))
            yield _Part(section, write_section(section, folder / "utility"))
        if self.config.leakage:
            leaks = self.questions.leaks(shown)
            file = folder / "leakage.json"
            write_json(file, {name: leak.to_json() for name, leak in leaks.items()})
            yield _Part(leakage_section(leaks), [file])

    def _inputs(self, evaluated: list[JobResult]) -> dict[str, Any]:
        return {
            "step": "comparison",
            "evaluations": [
                [result.job.name, result.job.od_source, result.evaluation_key]
                for result in evaluated
            ],
            "curves": [self._curves_key(result.job) for result in evaluated],
            "report": self.config.report,
            "plots": self.config.plots,
            "groups": self.config.groups,
            "searches": self.config.searches,
            "leakage": self.config.leakage,
            "utility": self.config.utility,
            "other_seeds": [
                sha256_of_file(file) for result in evaluated for file in self._others(result.job)
            ],
        }

    def _compare(self, source: str, shown: list[JobResult]) -> Comparison:
        assessments = [
            self.material.assessment(result) for result in shown if result.job.od_source == source
        ]
        settings = self.material.settings
        return compare(assessments, source, settings.bootstrap, settings.seed)

    def _report_run(self, result: JobResult) -> Run:
        model = result.job.model
        curves = learning_curves(model.run_folder, result.job.name)
        return Run(self.material.assessment(result), result.job.od_source, curves)

    def _curves_key(self, job: Job) -> str | None:
        metrics = run_file(job.model.run_folder, "metrics.json")
        return sha256_of_file(metrics) if metrics.is_file() else None

    @cached_property
    def _other_seeds(self) -> list[int]:
        return [seed for seed in dict.fromkeys(self.config.seeds) if seed != self.config.seed]

    def _others(self, job: Job) -> list[Path]:
        """The results of the same job under the other generation seeds."""
        if self.config.groups is None:
            return []
        inside = job.evaluation_folder.relative_to(self.plan.folder)
        files = [
            self.plan.eval_dir / "eval" / f"seed{seed}" / inside / "results.json"
            for seed in self._other_seeds
        ]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise UserError(
                f"{missing[0]} does not exist; evaluate that seed first "
                "(python_pipeline.py --seed N, or run_all_seeds.sh)."
            )
        for file in files:
            self._check_alike(file, job)
        return files

    def _check_alike(self, results: Path, job: Job) -> None:
        """Refuses to average over figures of other trips, or of another version of the measures."""
        here = Inputs(
            network=self.material.network.content_hash,
            **{job.od_source: self.material.reference(job.od_source).trips.source_hash},
        )
        seed = results.relative_to(self.plan.eval_dir / "eval").parts[0].removeprefix("seed")
        advice = f"Evaluate it anew with --seed {seed}."
        Inputs.read(read_json(results)).refuse_others(here, results, advice)
        ledger = results.with_name("ledger.json")
        if ledger.is_file():
            code = Inputs(code=measures_version())
            Inputs.read(read_json(ledger)).refuse_others(code, results, advice)

    def _groups(self, source: str, evaluated: list[JobResult]) -> GroupComparison:
        """The groups of every search, the models' values averaged over generation seeds."""
        groups: list[Group] = []
        of_source = [result for result in evaluated if result.job.od_source == source]
        labels = list(dict.fromkeys(result.job.search_label for result in of_source))
        several = len([label for label in labels if label != "baseline"]) > 1
        for label in labels:
            found = {
                result.job.model.name: [
                    result.results or {},
                    *(read_json(file) for file in self._others(result.job)),
                ]
                for result in of_source
                if result.job.search_label == label
            }
            if label == "baseline":
                made = make_groups(found, {name: name for name in found})
                groups += [replace(group, is_yardstick=True) for group in made]
                continue
            made = make_groups(found, self.config.groups or "auto")
            groups += [Group(f"{g.name} {label}" if several else g.name, g.by_seed) for g in made]
        return compare_groups(groups, source, self.config.seed)

    def _track(self, groups: list[GroupComparison]) -> None:
        wandb = self.config.wandb.model_copy(update={"run_name": ""})
        name = f"groups_{self.config.dataset}_seed{self.config.seed}"
        run = start_run(wandb, name, {}, self.plan.eval_dir, job_type="groups")
        folder = run.directory
        run.summarize(groups_summary(groups))
        run.finish()
        self.material.sync.start(folder)

    def _search_row(self, result: JobResult) -> SearchRow:
        job = result.job
        # Models of one group take as long as each other.
        latency = latency_of(job, self.plan) if self.material.is_shown(job) else None
        performance = read_record(job.generated_file) or {}
        return SearchRow(
            model=job.model.name,
            search=job.search_label,
            od_source=job.od_source,
            results=result.results or {},
            trips_per_second=performance.get("trips_per_second"),
            median_s=None if latency is None else latency.median,
            p95_s=None if latency is None else latency.p95,
        )


@dataclass(frozen=True)
class _Part:
    """A section of the report and the files that say the same."""

    section: Section
    files: list[Path]


def _yardstick_row(result: JobResult) -> YardstickRow:
    job = result.job
    is_yardstick = job.model.baseline is not None
    return YardstickRow(job.name, job.od_source, is_yardstick, result.results or {})


def _sources(results: list[JobResult]) -> list[str]:
    return list(dict.fromkeys(result.job.od_source for result in results))


def _tables(results: list[JobResult]) -> dict[str, dict[str, dict[str, Any]]]:
    """The results by OD source and model."""
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for result in results:
        tables.setdefault(result.job.od_source, {})[result.job.name] = result.results or {}
    return tables
