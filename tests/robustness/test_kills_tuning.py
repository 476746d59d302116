"""A study whose worker is killed at any moment ends with the trials of an undisturbed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from config import dump_config
from tests.robustness.programs import Programs
from tests.robustness.survival import Survival
from tests.tune_helpers import TinyCity


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite:///study.db", "journal://study.log"])
def test_tuning(programs: Programs, parity_city: Path, tmp_path: Path, storage: str) -> None:
    city = TinyCity.make(parity_city, tmp_path)

    def prepare(folder: Path) -> None:
        config = city.config(
            folder,
            optuna__storage=storage,
            optuna__n_trials=2,
            optuna__max_epochs=2,
            optuna__final_run__max_epochs=1,
            optuna__max_retries=50,
            optuna__final_run__seeds=[42],
            training__checkpoint_interval_steps=1,
        )
        (folder / "config.yaml").write_text(dump_config(config))

    def result(folder: Path) -> Any:
        file = folder / "results" / "hoser-distill" / "study_summary.json"
        summary = json.loads(file.read_text())
        assert summary["finished"]
        trials = [trial for trial in summary["trials"] if trial["state"] != "failed"]
        found = [(t["mode"], t["seed"], t["params"], t["values"]) for t in trials]
        runs = summary["final"]["runs"]
        final = [(run["mode"], run["seed"], run["metrics"]["val_next_step_acc"]) for run in runs]
        return sorted(found, key=str), sorted(final)

    Survival(
        programs,
        lambda folder: ["tune_hoser.py", "--config", folder / "config.yaml"],
        prepare,
        result,
        tmp_path / "work",
    ).endure(kills=5, seed=9)
