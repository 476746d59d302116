"""One student of the gain study: trained, measured on the test split, driven, compared.

A finished run leaves `result.json`, so a study that was stopped goes on where it was. Runs share
nothing but files; `run_all` deals them out to processes of one thread each.
"""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench.oracle_teacher import OraclePool, drive_test_pairs_again
from bench.students import Place, Run, assessed, drive, measure_choices
from config import Config
from config.generation import SearchSettings
from data.demo_city import DemoCitySettings
from data.demo_city.oracle import DemoCityOracle
from evaluation import load_reference
from metrics.reference import Settings
from runtime.files import read_json, write_json
from runtime.logs import setup_logging
from train_with_distill import train
from training.folder import RunFolder
from training.resources import ResourcePool

NUM_ZONES = 60
ORACLE = "oracle"  # the variant that the city's own drivers teach


class GainStudy:
    """The folder of a study: the city, the teachers, the runs."""

    def __init__(
        self, folder: Path, settings: DemoCitySettings, data_dir: Path | None = None
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.is_simulated = data_dir is None
        self.city = data_dir or folder / "city"
        self.teachers = folder / "teachers"
        self.chosen = folder / "chosen.json"

    def config(self, run: Run) -> Config:
        """The demo's configuration on this city, with what the run changes."""
        zones = NUM_ZONES if self.is_simulated else 300
        return Place(self.city, self.folder / "save", zones).config(run)

    def run_folder(self, run: Run) -> Path:
        """What a run leaves."""
        return self.folder / "runs" / run.name

    def training(self, run: Run) -> RunFolder:
        """Where the run's student is."""
        trained = replace(run, variant=run.of) if run.of else run
        return RunFolder(self.run_folder(trained) / "training")

    def result_file(self, run: Run) -> Path:
        """Where the figures of a run are kept."""
        return self.run_folder(run) / "result.json"

    def result(self, run: Run) -> dict[str, float]:
        """The figures of a finished run."""
        return dict(read_json(self.result_file(run))["figures"])

    def is_done(self, run: Run) -> bool:
        """Whether the run's figures are there, from the same settings."""
        file = self.result_file(run)
        return file.exists() and read_json(file)["run"] == asdict(run)


class Laboratory:
    """What a process needs for run after run, loaded once."""

    def __init__(self, study: GainStudy) -> None:
        self.study = study
        self.pool = ResourcePool()
        self.reference = load_reference(study.city, "test", Settings(0.001, 100.0, "exact", 0, 0))

    @cached_property
    def oracle(self) -> DemoCityOracle:
        """The city's own drivers."""
        return DemoCityOracle(self.study.settings)

    @cached_property
    def oracle_pool(self) -> OraclePool:
        """What students read whom the oracle teaches."""
        return OraclePool(self.oracle)

    def do(self, run: Run) -> None:
        """Trains, measures and drives one student, and writes its figures."""
        config = self.study.config(run)
        folder, training = self.study.run_folder(run), self.study.training(run)
        if folder.exists():
            shutil.rmtree(folder)
        figures: dict[str, float] = {}
        if not run.of:
            pool = self.oracle_pool if run.variant == ORACLE else self.pool
            result = train(config, pool=pool, folder=training)
            figures |= {"epoch": float(result.best_epoch), "val_accuracy": result.best_val_acc}
            figures |= measure_choices(config, training.best, self.pool)
        figures |= self._drive(config, training.best, run, folder / "trips.csv")
        write_json(self.study.result_file(run), {"run": asdict(run), "figures": figures})

    def drivers(self, num_generated: int) -> dict[str, float]:
        """What the city's own drivers reach, sent out again between the students' roads."""
        output = self.study.folder / "runs" / "drivers" / f"trips_{num_generated}.csv"
        drive_test_pairs_again(self.oracle, self.reference.network, num_generated, output)
        return assessed(output, self.reference)

    def _drive(self, config: Config, checkpoint: Path, run: Run, output: Path) -> dict[str, float]:
        """Trips for OD pairs of the test split, measured."""
        search = SearchSettings(run.search, run.beam_width)
        drive(config, checkpoint, search, run.num_generated, output)
        return assessed(output, self.reference)


def run_all(study: GainStudy, runs: Sequence[Run], processes: int) -> None:
    """Does the runs that are not done yet, several at a time."""
    missing = [run for run in runs if not study.is_done(run)]
    print(f"{len(runs)} runs, {len(missing)} of them to do.", flush=True)
    if not missing:
        return
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    for item in [*missing, *[None] * processes]:
        queue.put(item)
    workers = [context.Process(target=_work, args=(study, queue)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a worker of the study failed; its traceback is above")


def _work(study: GainStudy, queue: Any) -> None:
    torch.set_num_threads(1)
    setup_logging("WARNING")
    laboratory = Laboratory(study)
    while (run := queue.get()) is not None:
        laboratory.do(run)
        figures = laboratory.study.result(run)
        shown = "dtw_km" if run.of else "accuracy"
        print(f"  {run.name}: {shown} {figures[shown]:.4f}", flush=True)
