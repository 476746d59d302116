"""What several jobs and their comparison need, loaded once: network, real trips, measurements."""

from __future__ import annotations

from functools import cached_property

from data.road_network import RoadNetwork
from evaluation import load_usual, measure
from metrics.assessment import Assessment
from metrics.reference import Reference, Settings
from metrics.trips import read_real_trips
from metrics.usual import Usual
from pipeline.groups import assign
from pipeline.job_result import JobResult
from pipeline.plan import Job, Model, Plan
from runtime.wandb_sync import BackgroundSync


class Material:
    """The dataset of a plan, how it is measured, and which models are shown."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.config = plan, plan.config
        self.settings = Settings(
            grid_size=self.config.grid_size,
            edr_eps=self.config.edr_eps,
            dtw=self.config.dtw,
            bootstrap=self.config.bootstrap,
            seed=self.config.seed,
            on_bad_rows=self.config.on_bad_rows,
            behaviour=self.config.behaviour,
            scenarios=plan.scenario_file,
        )
        self.sync = BackgroundSync(
            plan.eval_dir / "wandb_sync.log",
            self.config.wandb.enable and self.config.wandb.background_sync,
        )
        self._references: dict[str, Reference] = {}

    @cached_property
    def network(self) -> RoadNetwork:
        """The road network of the dataset."""
        return RoadNetwork.load(self.plan.data_dir)

    @cached_property
    def usual(self) -> Usual | None:
        """What is usual in the training trips."""
        return load_usual(self.network, self.settings)

    def reference(self, source: str) -> Reference:
        """The measured real trips of a source."""
        if source not in self._references:
            trips = read_real_trips(
                self.plan.data_dir, source, self.network, self.settings.on_bad_rows
            )
            self._references[source] = Reference.of(trips, self.network, self.settings, self.usual)
        return self._references[source]

    def assessment(self, result: JobResult) -> Assessment:
        """The measurements in memory; measured anew where the evaluation was up to date."""
        if result.assessment is None:
            job = result.job
            reference = self.reference(job.od_source)
            result.assessment = measure(job.name, job.generated_file, reference)
        return result.assessment

    def is_shown(self, job: Job) -> bool:
        """Whether the report shows the trips of this model: with groups, one of each."""
        return self.config.groups is None or job.model in self._representatives

    @cached_property
    def _representatives(self) -> list[Model]:
        assert self.config.groups is not None
        names = {model.name: model for model in self.plan.models}
        students = [name for name, model in names.items() if model.baseline is None]
        assigned = assign(students, self.config.groups) if students else {}
        baselines = [model for model in names.values() if model.baseline is not None]
        return [*(names[members[0]] for members in assigned.values()), *baselines]
