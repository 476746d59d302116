"""The dry run: what a study would do, and about how long it would take."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from config.schema import Config
from runtime.written import LOCK_NAME, RECORD_NAME
from training.demo import demo_city_is_missing
from training.folder import RunFolder
from training.reporting import format_duration
from training.resources import ResourcePool
from tuning.final import best_distilled, plan_final_runs
from tuning.queue import num_planned
from tuning.records import TrialRecord
from tuning.sampling import pruner_name, prunes, sampler_name
from tuning.space import Space, search_space
from tuning.storage import StorageAddress
from tuning.study import check_space, find_study
from tuning.trials import Train, run_config

WARM_UP_BATCHES = 2
TIMED_BATCHES = 20
VALIDATION_SHARE = 0.4  # of a training step's cost, per trip: a forward pass alone


@dataclass(frozen=True)
class StudyPlan:
    """What is left to do, and the measured cost of an epoch."""

    config: Config
    storage: str
    records: list[TrialRecord]
    trials_left: int
    final_left: int
    final_total: int
    seconds_per_epoch: float | None  # None: there is nothing yet to measure it on
    measured: str  # how the cost was measured, or why it was not
    space: Space

    @property
    def search_seconds(self) -> float:
        """Of the trials left, none of them pruned."""
        epochs = self.trials_left * self.config.optuna.max_epochs
        return epochs * (self.seconds_per_epoch or 0.0)

    @property
    def final_seconds(self) -> float:
        """Of the final runs left."""
        epochs = self.final_left * self.config.optuna.final_run.max_epochs
        return epochs * (self.seconds_per_epoch or 0.0)

    def text(self) -> str:
        """The plan in lines."""
        settings = self.config.optuna
        lines = [
            f"Study {settings.study_name} on {self.config.dataset}, kept in {self.storage}:",
            f"  so far       {self._so_far()}",
            f"  phase 1      {self._phase_1()}",
            f"  sampler      {sampler_name(settings)} over {self._space()}",
            f"  pruner       {pruner_name(settings)}",
            f"  phase 2      {self._phase_2()}",
            *self._times(),
            f"  files        {settings.trials_dir}, {settings.results_dir}/{settings.study_name}",
        ]
        return "\n".join(lines)

    def _times(self) -> list[str]:
        if self.seconds_per_epoch is None:
            return [f"  time         unknown: {self.measured}"]
        less = "; pruning makes it less" if prunes(self.config.optuna) else ""
        total = self.search_seconds + self.final_seconds
        return [
            f"  an epoch     {format_duration(self.seconds_per_epoch)} ({self.measured})",
            f"  phase 1 in   {format_duration(self.search_seconds)}{less}",
            f"  phase 2 in   {format_duration(self.final_seconds)}",
            f"  together     {format_duration(total)} with one worker",
            "  A distilled epoch costs about what a vanilla one does, once the teacher's answers",
            "  for its window are in the cache; computing them comes on top, once per window.",
        ]

    def _so_far(self) -> str:
        if not self.records:
            return "nothing"
        states = [record.state for record in self.records]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))

    def _phase_1(self) -> str:
        settings = self.config.optuna
        if not self.trials_left:
            return "nothing left"
        first = num_planned(self.records)
        seeds = f"seeds {settings.base_seed} + number of the trial"
        vanilla = ", trial 0 without a teacher" if first == 0 else ""
        return f"{self.trials_left} trials of up to {settings.max_epochs} epochs{vanilla}, {seeds}"

    def _phase_2(self) -> str:
        final = self.config.optuna.final_run
        if not self.final_total:
            return "none"
        seeds = ", ".join(map(str, final.seeds))
        return (
            f"{self.final_left} of {self.final_total} final runs left, {final.max_epochs} epochs "
            f"each: vanilla and distilled with seeds {seeds}"
        )

    def _space(self) -> str:
        parts = [
            f"{name} {limits.low:g} to {limits.high:g}{' (log)' if limits.log else ''}"
            for name, limits in self.space.items()
        ]
        return ", ".join(parts) or "nothing (every trial has the config's values)"


def plan_study(config: Config, train: Train, *, search: bool, final: bool) -> StudyPlan:
    """Looks at what is there and measures an epoch; neither study nor files are made."""
    settings = config.optuna
    space = search_space(config)
    check_space(config, space)
    study = find_study(config)
    records = study.records() if study is not None else []
    open_ones = sum(record.state in ("waiting", "running") for record in records)
    left = max(settings.n_trials - num_planned(records), 0) + open_ones if search else 0
    final_total = 2 * len(set(settings.final_run.seeds)) if final else 0
    final_left = final_total
    if study is not None and final:
        runs = plan_final_runs(study, best_distilled(records))
        final_left -= sum(run.metrics is not None for run in runs)
    seconds, measured = _seconds_per_epoch(config, records, train)
    return StudyPlan(
        config,
        StorageAddress.parse(settings.storage).shown,
        records,
        left,
        final_left,
        final_total,
        seconds,
        measured,
        space,
    )


def _seconds_per_epoch(
    config: Config, records: list[TrialRecord], train: Train
) -> tuple[float | None, str]:
    ended = [record for record in records if record.ended and record.epochs]
    if ended:
        seconds = sum(record.wall_seconds for record in ended)
        epochs = sum(record.epochs for record in ended)
        return seconds / epochs, f"the mean of {len(ended)} trials so far"
    if demo_city_is_missing(config):
        return None, "the demo city is made first, when the study begins"
    with tempfile.TemporaryDirectory() as folder:
        return _measure_epoch(_on_links(config, Path(folder)), train)


def _on_links(config: Config, folder: Path) -> Config:
    """The same data in a folder of links, so that zones and caches are not made in the real one."""
    data_dir = Path(config.data_dir)
    if not data_dir.is_dir():
        return config  # whoever reads it says so
    own_cache = config.data.cache_dir is not None
    cache = Path(config.data.cache_dir or data_dir / ".cache").expanduser()
    links = folder / "data"
    for source, target in ((data_dir, links), (cache, links / ".cache")):
        target.mkdir()
        files = source.glob("*") if source == data_dir else source.rglob("*")
        for file in files:
            if file.is_file() and file.name not in (RECORD_NAME, LOCK_NAME):
                link = target / file.relative_to(source)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())
    result = config.model_copy(deep=True)
    result.data_dir, result.save_dir = str(links), str(folder / "save")
    result.data.cache_dir = str(links / ".cache") if own_cache else None
    return result


def _measure_epoch(config: Config, train: Train) -> tuple[float, str]:
    """Trains a few batches without a teacher and scales up."""
    pool = ResourcePool()
    resources = pool.get(config)
    trial = run_config(config, "vanilla", seed=0, epochs=1, params={}, run_name="dry_run")
    trial.wandb.enable = False
    trial.training.progress = False
    rate = 0.0
    for batches in (WARM_UP_BATCHES, TIMED_BATCHES):
        trial.profiling.max_batches = batches
        run = RunFolder(Path(config.save_dir) / f"run{batches}")
        rate = train(trial, pool=pool, folder=run).batches_per_second
    trips = len(resources.train) + VALIDATION_SHARE * len(resources.val)
    batches_per_epoch = trips / config.optimizer_config.batch_size
    return batches_per_epoch / max(rate, 1e-9), f"measured on {TIMED_BATCHES} batches"
