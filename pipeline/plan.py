"""What the pipeline does: which models, which OD pairs, which files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from baselines.generators import BaselineName, chosen_baselines
from config.evaluation import EvaluationConfig
from config.finding import run_file, run_of, shipped_configs
from config.generation import COSTS, SearchName, SearchSettings, SplitName
from report.claim import RESULT_NAMES
from runtime.errors import UserError
from runtime.names import readable, safe_name
from search.searches import label_of, may_charge, unread


@dataclass(frozen=True)
class Model:
    """A model and the name it goes by: a student's file, or a baseline and what it counts on."""

    name: str
    file: Path
    baseline: BaselineName | None = None

    @property
    def run_folder(self) -> Path:
        """Where its training run left config and learning curve: `<name>/`, or beside the file.

        A link into a run's folder leads there.
        """
        own = self.file.with_suffix("")
        return own if own.is_dir() else run_of(self.file.resolve())


@dataclass(frozen=True)
class Job:
    """One model on one source of OD pairs, and where its files go."""

    model: Model
    od_source: SplitName
    search: SearchSettings
    name: str  # the model's, and the search's where there are several
    generated_file: Path
    evaluation_folder: Path
    gene_run: str
    eval_run: str

    @property
    def title(self) -> str:
        """The job in words."""
        return f"{self.name} on {self.od_source} OD pairs"

    @property
    def search_label(self) -> str:
        """The search's name; a baseline has none."""
        return "baseline" if self.model.baseline else label_of(self.search)


@dataclass(frozen=True)
class Plan:
    """All jobs of an evaluation folder."""

    config: EvaluationConfig
    eval_dir: Path
    data_dir: Path
    jobs: list[Job]

    @property
    def folder(self) -> Path:
        """Where comparison and report of this seed go."""
        return self.eval_dir / "eval" / f"seed{self.config.seed}"

    @property
    def scenario_file(self) -> str | None:
        """The scenarios of one's own, where there are some."""
        file = self.config.scenarios
        return None if file is None else str(_beside(self.eval_dir, file))

    @property
    def compares_searches(self) -> bool:
        """Whether every model is there with several searches."""
        return len(searches_of(self.config)) > 1

    @property
    def models(self) -> list[Model]:
        """The models, each once."""
        return list(dict.fromkeys(job.model for job in self.jobs))


def make_plan(config: EvaluationConfig) -> Plan:
    """Finds the models and lays out the jobs: every model for every OD source."""
    eval_dir = Path(config.eval_dir)
    if not eval_dir.is_dir():
        raise UserError(f"The evaluation folder {eval_dir} does not exist (--eval-dir).")
    data_dir = _beside(eval_dir, config.data_dir)
    folder = _beside(eval_dir, config.models_dir)
    has_models = folder.is_dir() and any(folder.glob("*.pth"))
    only_baselines = bool(config.baselines) and not has_models and not config.models
    models = [] if only_baselines else find_models(folder, config.models)
    searches = searches_of(config)
    sources = list(dict.fromkeys(config.od_sources))
    jobs = [
        _job(config, eval_dir, model, source, search)
        for model in models
        for search in searches
        for source in sources
    ]
    baselines = [
        Model(name, data_dir / "train.csv", name) for name in chosen_baselines(config.baselines)
    ]
    jobs += [
        _job(config, eval_dir, model, source, searches[0])
        for model in baselines
        for source in sources
    ]
    return Plan(config, eval_dir, data_dir, jobs)


def searches_of(config: EvaluationConfig) -> list[SearchSettings]:
    """The searches asked for, `name`, `name:beam width` or `name:fitted` each; else `search`.

    Several spellings of one, as `beam` and `beam:4`, are one: their files would be the same.
    """
    usual = config.search_settings
    by_label: dict[str, SearchSettings] = {}
    for text in config.searches:
        search = replace(usual, **_changes_of(text))
        by_label.setdefault(label_of(search), search)
    return list(by_label.values()) or [usual]


def unread_settings(config: EvaluationConfig) -> list[str]:
    """Keys that were set and that none of the searches asked for reads."""
    return sorted(set.intersection(*(set(unread(search)) for search in searches_of(config))))


def _changes_of(text: str) -> dict[str, Any]:
    """What one of `searches` says, as fields of `SearchSettings`."""
    name, separator, how = text.partition(":")
    if name in get_args(SearchName):
        if not separator:
            return {"name": name}
        if how.isdecimal():
            return {"name": name, "beam_width": int(how)}
        if how == "fitted" and may_charge(cast(SearchName, name)):
            # In place of costs that were given; and a beam of draws cannot charge any.
            return {"name": name, "costs": how, "beam_width": None, **dict.fromkeys(COSTS, 0.0)}
    raise UserError(
        f"searches: {text!r} is no search; expected a name, alone or with a beam width (beam:16) "
        f"or, for astar and sample, with fitted costs (astar:fitted). "
        f"Names: {', '.join(get_args(SearchName))}."
    )


def find_models(folder: Path, wanted: list[str]) -> list[Model]:
    """Every `.pth` in `folder`, vanilla ones first, or those wanted by name or by kind."""
    if not folder.is_dir():
        raise UserError(f"The models' folder {folder} does not exist; put the .pth files there.")
    found = {
        name: Model(name, file)
        for file in sorted(folder.glob("*.pth"))
        if (name := _model_name(file))
    }
    if not found:
        raise UserError(f"{folder} holds no .pth file; copy or link the trained models there.")
    if not wanted:
        return sorted(found.values(), key=lambda model: "vanilla" not in model.name)
    chosen: dict[str, Model] = {}
    for name in wanted:
        names = [name] if name in found else [each for each in found if name in words_of(each)]
        if not names:
            raise UserError(
                f"There is no model {name} in {folder}, and none of that kind; there are: "
                f"{', '.join(found)}."
            )
        chosen |= {each: found[each] for each in names}
    return list(chosen.values())


def words_of(name: str) -> set[str]:
    """What a model's name says of its kind: `final_distilled_seed42` is a `distilled` one."""
    return set(re.split(r"[^A-Za-z0-9]+", name))


def _model_name(file: Path) -> str:
    """The model's name, which is also that of its folders in `gene/` and `eval/`."""
    name = safe_name(readable(file.stem), f"the name of {file}")
    if name in RESULT_NAMES:
        raise UserError(f"{file} has the name of a file of results; rename it.")
    return name


def _job(
    config: EvaluationConfig,
    eval_dir: Path,
    model: Model,
    source: SplitName,
    settings: SearchSettings,
) -> Job:
    search = "baseline" if model.baseline else label_of(settings)
    several = len(searches_of(config)) > 1 and not model.baseline
    place = f"seed{config.seed}_{source}od"
    stem = f"{source}od_{search}"
    return Job(
        model=model,
        od_source=source,
        search=settings,
        name=f"{model.name} {search}" if several else model.name,
        generated_file=eval_dir / "gene" / model.name / f"seed{config.seed}" / f"{stem}.csv",
        evaluation_folder=eval_dir / "eval" / f"seed{config.seed}" / model.name / stem,
        gene_run=f"gene_{model.name}_{place}_{search}",
        eval_run=f"eval_{model.name}_{place}" + (f"_{search}" if several else ""),
    )


def _beside(eval_dir: Path, path: str) -> Path:
    """A path of the configuration: as it stands, or else from the evaluation folder."""
    inside = eval_dir / path
    return inside if inside.exists() or not Path(path).exists() else Path(path)


def config_file_for(model: Model, config: EvaluationConfig, eval_dir: Path) -> Path | None:
    """The training configuration of a model, where there is one.

    It may be missing: the model's architecture is read from its own file.
    """
    if config.model_config_file is not None:
        return _beside(eval_dir, config.model_config_file)
    candidates = [
        model.file.with_suffix(".yaml"),
        run_file(model.run_folder, "config.yaml"),
    ]
    shipped = shipped_configs().get(config.dataset)
    return next((file for file in candidates if file.is_file()), shipped)
