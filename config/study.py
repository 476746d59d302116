"""The configuration of a tuning study: what it searches, how, and its final runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from config.agreement import CHANGES_NO_RESULT
from config.choices import Objective
from config.section import NonNegativeFloat, NonNegativeInt, PositiveInt, Section, Window
from runtime.secrets import SecretAddress


class Kind(Section):
    """A section whose `kind` alone may stand for it: `sampler: tpe`."""

    @model_validator(mode="before")
    @classmethod
    def _plain_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class PrunerConfig(Kind):
    """Which trials stop early."""

    kind: Literal["hyperband", "median", "none"] = "hyperband"
    min_resource: PositiveInt = 5
    reduction_factor: Annotated[int, Field(ge=2)] = 3


class SamplerConfig(Kind):
    """How the next trial's parameters are drawn."""

    kind: Literal["cmaes", "tpe", "random"] = "cmaes"
    seed: NonNegativeInt = 42


class FloatRange(Section):
    """A range of a continuous parameter."""

    low: NonNegativeFloat
    high: NonNegativeFloat
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError("low must not exceed high, and must be positive with log")
        return self


class WindowRange(Section):
    """A range of history windows."""

    low: Window
    high: Window

    @model_validator(mode="after")
    def _ordered(self) -> WindowRange:
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


class SearchSpace(Section):
    """What the study searches; a parameter without a range keeps the config's value."""

    lambda_: FloatRange | None = Field(
        default=FloatRange(low=0.001, high=0.1, log=True), alias="lambda"
    )
    temperature: FloatRange | None = FloatRange(low=1.0, high=5.0)
    window: WindowRange | None = WindowRange(low=2, high=8)
    alpha: FloatRange | None = None  # for distill.combination: convex, instead of lambda

    @model_validator(mode="after")
    def _usable(self) -> SearchSpace:
        if self.temperature is not None and self.temperature.low <= 0:
            raise ValueError("temperature.low must be above 0")
        if self.temperature is not None and self.temperature.high > 1e4:
            raise ValueError("temperature.high must be at most 10000")
        if self.alpha is not None and self.alpha.high > 1:
            raise ValueError("alpha.high must be at most 1")
        return self


class FinalRunConfig(Section):
    """Phase 2: the best parameters and the vanilla baseline, trained fully on several seeds."""

    enabled: bool = True
    max_epochs: PositiveInt = 25
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1)] = [42, 43, 44]
    num_gene: Annotated[NonNegativeInt, CHANGES_NO_RESULT] = 1000


class OptunaConfig(Section):
    """The tuning study."""

    study_name: Annotated[str, CHANGES_NO_RESULT] = "hoser-distill"
    storage: Annotated[SecretAddress, CHANGES_NO_RESULT] = SecretAddress(
        "sqlite:///optuna_hoser_distill.db"
    )
    n_trials: Annotated[NonNegativeInt, CHANGES_NO_RESULT] = 12
    max_epochs: PositiveInt = 8
    base_seed: NonNegativeInt = 42
    trials_dir: Annotated[str, CHANGES_NO_RESULT] = "optuna_trials"
    results_dir: Annotated[str, CHANGES_NO_RESULT] = "optuna_results"
    sampler: Annotated[SamplerConfig, CHANGES_NO_RESULT] = SamplerConfig()
    pruner: Annotated[PrunerConfig, CHANGES_NO_RESULT] = PrunerConfig()
    search_space: SearchSpace = SearchSpace()
    final_run: Annotated[FinalRunConfig, CHANGES_NO_RESULT] = FinalRunConfig()
    objectives: Annotated[list[Objective], Field(min_length=1)] = ["accuracy"]
    heartbeat_interval: Annotated[PositiveInt, CHANGES_NO_RESULT] = 60
    max_retries: Annotated[NonNegativeInt, CHANGES_NO_RESULT] = 1
    plots: Annotated[bool, CHANGES_NO_RESULT] = True

    @model_validator(mode="after")
    def _accuracy_counts(self) -> OptunaConfig:
        if self.objectives[0] != "accuracy" or len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives must begin with accuracy and name each one once")
        return self
