"""Does it help when the teacher, or the student itself, drives further trips?

Every way to use a teacher is compared with the better of two students without one: of the same
optimizer steps, and of three times as many, of which the best epoch on validation trips counts.
Driven with best-first search, which hides nothing of what a student knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.gain_comparison import (
    EPOCHS,
    FEW,
    NUM_GENERATED,
    NUM_SEEDS,
    by_seed,
    compared,
    teacher_settings,
)
from bench.gain_runs import GainStudy
from bench.students import Run, size_name

LONG = 3
REPLAYED_TRIPS = 8  # for each trip that the student sees
DEFAULTS = {"lambda": 10.0, "temperature": 2.8}
END_TEMPERATURE = 1.0  # in the end the student hears the teacher as it is
TIME_WEIGHT = 5.0
REFRESH_EPOCHS = 3


def ways_to_teach(taught: dict[str, Any], num_driven: int) -> dict[str, dict[str, Any]]:
    """The settings of `distill` that are compared: own trips alone, or also drives, by driver."""
    driven = {
        **taught,
        "time_weight": TIME_WEIGHT,
        "first_embeddings": "teacher",
        "temperature_end": END_TEMPERATURE,
        "temperature_schedule": "linear",
        "replay.trips": num_driven,
    }
    anew = {**driven, "replay.refresh_epochs": REFRESH_EPOCHS}
    return {
        "own_trips": taught,
        "teacher_drives": driven,
        "student_drives": {**anew, "replay.driver": "student"},
        "both_drive": {**anew, "replay.driver": "both"},
    }


def replay_settings(study: GainStudy, size: int | None) -> dict[str, dict[str, Any]]:
    """The ways to use the study's teacher of roads."""
    taught = {**teacher_settings(study, "road"), **DEFAULTS}
    return ways_to_teach(taught, REPLAYED_TRIPS * (size or FEW))


def replay_runs(study: GainStudy, sizes: Sequence[int | None]) -> list[Run]:
    """Two students without a teacher and four with one, of every size and seed."""
    runs = []
    for size in sizes:
        epochs = EPOCHS[size]
        for seed in range(NUM_SEEDS):
            arms = {"plain": {}, **replay_settings(study, size)}
            for arm, settings in arms.items():
                runs.append(_best_first(arm, size, seed, epochs, settings))
            runs.append(_best_first("plain_long", size, seed, LONG * epochs, {}))
    return runs


def _best_first(
    arm: str, size: int | None, seed: int, epochs: int, settings: dict[str, Any]
) -> Run:
    return Run(arm, size, seed, epochs, settings, NUM_GENERATED, search="astar")


def replay_report(study: GainStudy) -> dict[str, Any]:
    """Every arm against the better of the two students without a teacher, by test accuracy."""
    found: dict[str, Any] = {}
    for size in EPOCHS:
        plain = {name: by_seed(study, name, size) for name in ("plain", "plain_long")}
        means = {
            name: float(np.mean([run["accuracy"] for run in runs.values()]))
            for name, runs in plain.items()
            if runs
        }
        if not means:
            continue
        base = max(means, key=lambda name: means[name])
        arms = {
            arm: compared(study, base, arm, size)
            for arm in replay_settings(study, size)
            if by_seed(study, arm, size)
        }
        found[size_name(size)] = {"base": base, "accuracy": means, "arms": arms}
    return found
