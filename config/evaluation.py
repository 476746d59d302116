"""The configuration of the evaluation pipeline (`python_pipeline.py`, `config/evaluation.yaml`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.choices import DtwKind, OnBadRows
from config.generation import (
    DEFAULT_MAX_STEPS,
    USUAL_TEMPERATURE,
    CostsName,
    SearchName,
    SearchSettings,
    SplitName,
    TimesName,
)
from config.schema import WandbConfig
from config.section import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section


class EvaluationLogging(Section):
    """How much the pipeline says."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    verbose: bool = False


class EvaluationConfig(Section):
    """Which models generate how many trips, from which OD pairs, and how they are measured."""

    dataset: str = "demo"
    data_dir: str = "data/demo"
    models_dir: str = "models"
    eval_dir: str = "."
    model_config_file: str | None = None
    models: list[str] = []
    od_sources: Annotated[list[SplitName], Field(min_length=1)] = ["train", "test"]
    seed: NonNegativeInt = 42
    num_gene: PositiveInt = 5000
    search: SearchName = "beam"
    times: TimesName = "drawn"
    beam_search: bool = True
    beam_width: PositiveInt | None = None
    temperature: PositiveFloat = USUAL_TEMPERATURE
    costs: CostsName = "given"
    detour_cost: NonNegativeFloat = 0.0
    delay_cost: NonNegativeFloat = 0.0
    turn_cost: NonNegativeFloat = 0.0
    max_steps: PositiveInt | None = None
    searches: list[str] = []
    baselines: list[str] = []
    groups: dict[str, str] | Literal["auto"] | None = None
    seeds: list[NonNegativeInt] = []
    processes: PositiveInt = 1
    grid_size: PositiveFloat = 0.001
    edr_eps: PositiveFloat = 100.0
    dtw: DtwKind = "fastdtw"
    bootstrap: NonNegativeInt = 1000
    on_bad_rows: OnBadRows = "error"
    scenarios: str | None = None
    behaviour: bool = True
    leakage: bool = False
    utility: bool = False
    cuda_device: NonNegativeInt | None = None
    device: str | None = None
    skip_gene: bool = False
    skip_eval: bool = False
    force: bool = False
    report: bool = True
    plots: Annotated[list[Literal["png", "svg", "pdf"]], Field(min_length=1)] = ["png"]
    wandb: WandbConfig = WandbConfig()
    logging: EvaluationLogging = EvaluationLogging()

    @property
    def search_settings(self) -> SearchSettings:
        """The search asked for; `beam_search: false` is the older way to ask for best-first."""
        old_way = self.search == "beam" and not self.beam_search
        return SearchSettings(
            name="astar" if old_way else self.search,
            beam_width=self.beam_width,
            max_steps=DEFAULT_MAX_STEPS if self.max_steps is None else self.max_steps,
            temperature=self.temperature,
            detour_cost=self.detour_cost,
            delay_cost=self.delay_cost,
            turn_cost=self.turn_cost,
            costs=self.costs,
            times=self.times,
        )
