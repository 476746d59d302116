"""How the next trial's parameters are drawn, and when a trial stops early.

CMA-ES is Optuna's in method (start, spread, population), but keeps no state in the store: the
finished trials are replayed. So the vanilla trial, which has no parameters, does not push it back
to random draws, workers agree on what they saw, and no pickle is ever read from a database.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from config.study import OptunaConfig
from runtime.logs import get_logger
from tuning.space import Space, from_unit, to_unit

if TYPE_CHECKING:
    from cmaes import CMA
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

logger = get_logger("tune")
INITIAL_SPREAD = 1 / 6  # of each range, as in Optuna


class CmaEsSampler(BaseSampler):
    """Covariance matrix adaptation on the unit cube, rebuilt from the study for each draw."""

    def __init__(self, space: Space, seed: int, trial_number: int) -> None:
        self.space: Space = {name: d for name, d in space.items() if not d.single()}
        self.seed = draw_seed(seed, trial_number)
        self.fallback = RandomSampler(seed=self.seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What is searched does not depend on what earlier trials had."""
        return dict(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One draw from the distribution that the finished trials lead to."""
        if not self.space:
            return {}
        return from_unit(self.space, self.optimizer(study).ask())

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.fallback.sample_independent(study, trial, param_name, param_distribution)

    def optimizer(self, study: Study) -> CMA:
        """The state after every full population of finished trials, in the order they ended."""
        from cmaes import CMA

        size = len(self.space)
        bounds = np.tile([0.0, 1.0], (size, 1))
        optimizer = CMA(np.full(size, 0.5), INITIAL_SPREAD, bounds=bounds, seed=self.seed)
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        seen = [
            (to_unit(self.space, trial.params), sign * float(trial.value))
            for trial in self._finished(study)
            if trial.value is not None
        ]
        population = optimizer.population_size
        for start in range(0, len(seen) - population + 1, population):
            optimizer.tell(seen[start : start + population])
        return optimizer

    def _finished(self, study: Study) -> list[FrozenTrial]:
        """Complete and pruned trials that have all the parameters."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        trials = [
            trial
            for trial in study.get_trials(deepcopy=False, states=states)
            if self.space.keys() <= trial.params.keys() and trial.datetime_complete is not None
        ]
        return sorted(trials, key=lambda trial: (trial.datetime_complete, trial.number))


def draw_seed(seed: int, trial_number: int) -> int:
    """A seed of its own for each trial, so that workers and resumed studies never draw alike."""
    return int(np.random.SeedSequence([seed, trial_number]).generate_state(1)[0] >> 1)


def make_sampler(settings: OptunaConfig, space: Space, trial_number: int) -> BaseSampler:
    """The configured sampler as it draws for one trial."""
    kind, seed = settings.sampler.kind, settings.sampler.seed
    if kind == "random":
        return RandomSampler(seed=draw_seed(seed, trial_number))
    if kind == "tpe" or len(settings.objectives) > 1:  # CMA-ES has one objective
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TPESampler(seed=draw_seed(seed, trial_number))
    return CmaEsSampler(space, seed, trial_number)


def sampler_name(settings: OptunaConfig) -> str:
    """What `make_sampler` makes, in words."""
    kind = settings.sampler.kind
    if kind == "cmaes" and len(settings.objectives) > 1:
        return "TPE (CMA-ES has a single objective)"
    return {"cmaes": "CMA-ES", "tpe": "TPE", "random": "random"}[kind]


def make_pruner(settings: OptunaConfig) -> BasePruner:
    """The configured pruner; none where no trial could be stopped before its end."""
    pruner, epochs = settings.pruner, settings.max_epochs
    if not prunes(settings):
        return NopPruner()
    if pruner.kind == "median":
        return MedianPruner(n_startup_trials=1, n_warmup_steps=pruner.min_resource - 1)
    return HyperbandPruner(pruner.min_resource, epochs, pruner.reduction_factor)


def prunes(settings: OptunaConfig) -> bool:
    """Whether trials may stop early: one objective, and epochs left after the first check."""
    pruner = settings.pruner
    possible = pruner.kind != "none" and settings.objectives == ["accuracy"]
    return possible and pruner.min_resource < settings.max_epochs


def pruner_name(settings: OptunaConfig) -> str:
    """What `make_pruner` makes, in words."""
    pruner = settings.pruner
    if len(settings.objectives) > 1 or settings.objectives != ["accuracy"]:
        return "none (trials are compared in more than their accuracy)"
    if pruner.kind == "none":
        return "none"
    if not prunes(settings):
        return f"none (the first check, epoch {pruner.min_resource}, would be a trial's last)"
    if pruner.kind == "median":
        return f"median (from epoch {pruner.min_resource})"
    brackets = _num_brackets(settings)
    return (
        f"Hyperband (from epoch {pruner.min_resource}, factor {pruner.reduction_factor}, "
        f"{brackets} bracket{'s' if brackets > 1 else ''})"
    )


def _num_brackets(settings: OptunaConfig) -> int:
    ratio = settings.max_epochs / settings.pruner.min_resource
    return math.floor(math.log(ratio, settings.pruner.reduction_factor)) + 1


def directions(objectives: Sequence[str]) -> list[StudyDirection]:
    """Accuracy and throughput are to be high, latency low."""
    lower_is_better = ("latency",)
    return [
        StudyDirection.MINIMIZE if name in lower_is_better else StudyDirection.MAXIMIZE
        for name in objectives
    ]
