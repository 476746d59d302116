"""What is asked of a model's trips once, whichever searches were compared: are they of use, and do
they leak? Each answer costs trainings or a search through all training trips.

The trips are those of the plan's usual search where it is among the searches, else of the first;
of one source of OD pairs for the use, of every source for the leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import cached_property

from config import Config
from metrics.generated import read_generated
from metrics.leakage import Leakage, LeakSearch
from metrics.trips import Trips, read_real_trips
from metrics.utility import Utility
from pipeline.generation import training_config
from pipeline.job_result import JobResult
from pipeline.likelihood import likelihood_auc
from pipeline.material import Material
from pipeline.plan import Model
from pipeline.utility import measure_utility
from runtime.errors import UserError
from runtime.logs import get_logger
from search.searches import label_of
from search.student import open_city

logger = get_logger("pipeline")


class Questions:
    """The answers for the models of a plan."""

    def __init__(self, material: Material) -> None:
        self.material, self.plan, self.config = material, material.plan, material.config

    def leaks(self, shown: Sequence[JobResult]) -> dict[str, Leakage]:
        """What each model's trips give away of the trips that it was trained on."""
        searches: dict[int | None, LeakSearch] = {}
        found = {}
        for result in self._once(shown, lambda result: result.job.od_source):
            model = result.job.model
            city = None if model.baseline else open_city(self._config(model), model.file)
            seen = None if city is None else city.config.data.max_train_trips
            if seen not in searches:
                searches[seen] = self._leak_search(seen)
            leak = searches[seen].leaks(self.material.assessment(result).read_trips())
            if city is not None:
                score = likelihood_auc(city, self.config.seed)
                leak = replace(leak, likelihood_auc=score)
            found[title(result)] = leak
        return found

    def _leak_search(self, seen: int | None) -> LeakSearch:
        num_roads = self.material.network.num_roads
        return LeakSearch(*self._real_trips, num_roads, self.config.seed, seen)

    @cached_property
    def _real_trips(self) -> tuple[Trips, Trips]:
        """The training trips, and the test split as held-out ones."""
        folder, network = self.plan.data_dir, self.material.network
        train, test = (
            read_real_trips(folder, split, network, self.config.on_bad_rows)
            for split in ("train", "test")
        )
        return train, test

    def utilities(self, shown: Sequence[JobResult]) -> dict[str, Utility]:
        """What students learn from each model's trips; their trainings are found again."""
        found = {}
        for result in self._once(shown):
            try:
                found[title(result)] = self._utility(result)
            except UserError as error:  # too few of its trips can be driven
                logger.warning("%s has no utility: %s", title(result), error)
        return found

    def _utility(self, result: JobResult) -> Utility:
        job, network = result.job, self.material.network
        generated = read_generated(job.generated_file, network, self.config.on_bad_rows)
        place = f"{job.name} {job.od_source}".replace(" ", "_")
        folder = self.plan.eval_dir / "utility" / f"seed{self.config.seed}" / place
        return measure_utility(self._learner, generated, network, folder)

    @cached_property
    def _learner(self) -> Config:
        """How all of them learn: as the first student, so that their figures can be compared."""
        models = sorted(
            (job.model for job in self.plan.jobs), key=lambda model: model.baseline is not None
        )
        return self._config(models[0])

    def _config(self, model: Model) -> Config:
        return training_config(model, self.plan)

    def _once(
        self,
        shown: Sequence[JobResult],
        beside: Callable[[JobResult], Hashable] = lambda result: None,
    ) -> list[JobResult]:
        """One result of each model, and of whatever else is to be told apart."""
        usual = label_of(self.config.search_settings)
        chosen: dict[Hashable, JobResult] = {}
        for result in shown:
            key = (result.job.model.name, beside(result))
            is_usual = result.job.search_label == usual
            if key not in chosen or (is_usual and chosen[key].job.search_label != usual):
                chosen[key] = result
        return list(chosen.values())


def title(result: JobResult) -> str:
    """A model's trips in a table."""
    return f"{result.job.name}, {result.job.od_source}"
