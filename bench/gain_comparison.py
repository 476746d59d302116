"""What the parts of the gain study share: measures, sizes, and students compared by seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench._common import print_table
from bench.gain_runs import GainStudy
from bench.students import Run, size_name
from metrics.statistics import holm
from tuning.comparison import PairedComparison, compare_all

EPOCHS = {1000: 40, 3000: 10, None: 2}  # by training trips; None is all of them
NUM_SEEDS = 5
NUM_GENERATED = 3000
FEW = 1000
PUBLISHED = {"vocabulary": "grid", "destination_prefix": False, "window": 4}
MEASURES = {
    "accuracy": "Next-step accuracy",
    "nll": "Negative log-likelihood",
    "calibration_error": "Calibration error",
    "mape": "Travel-time MAPE (log1p)",
    "mape_seconds": "Travel-time MAPE (seconds)",
    "hausdorff_km": "Hausdorff (km)",
    "dtw_km": "DTW (km)",
    "edr": "EDR",
    "distance_jsd": "Distance JSD",
    "duration_jsd": "Duration JSD",
    "radius_jsd": "Radius JSD",
    "destination_reached_rate": "Destinations reached",
}
HIGHER_IS_BETTER = {"accuracy", "destination_reached_rate"}


def teacher_settings(study: GainStudy, name: str) -> dict[str, Any]:
    """The settings of `distill` that go with a teacher."""
    settings: dict[str, Any] = {"ckpt": str(study.teachers / f"{name}.pt"), "window": "full"}
    return {**settings, **PUBLISHED} if name == "grid" else settings


def by_seed(study: GainStudy, variant: str, size: int | None) -> dict[int, dict[str, float]]:
    """The figures of a variant's finished runs."""
    runs = [Run(variant, size, seed, 1) for seed in range(NUM_SEEDS)]
    return {run.seed: study.result(run) for run in runs if study.result_file(run).exists()}


def corrected(tests: Sequence[PairedComparison]) -> dict[str, float]:
    """Their p together (Holm), by measure; where there is none it counts as 1."""
    raw = np.array([1.0 if test.p_value is None else test.p_value for test in tests])
    return dict(zip((test.metric for test in tests), holm(raw).tolist(), strict=True))


def compared(study: GainStudy, base: str, variant: str, size: int | None) -> dict[str, Any]:
    """Every measure of both: paired t-tests over the seeds, corrected (Holm) together."""
    vanilla, taught = (by_seed(study, name, size) for name in (base, variant))
    found = {test.metric: test for test in compare_all(vanilla, taught, tuple(MEASURES))}
    p_holm = corrected(list(found.values()))
    rows: list[Sequence[Any]] = []
    for measure, each in found.items():
        better = (each.difference > 0) == (measure in HIGHER_IS_BETTER)
        rows.append(
            [
                MEASURES[measure],
                f"{each.vanilla.mean:.4f} ± {each.vanilla.std or 0:.4f}",
                f"{each.distilled.mean:.4f} ± {each.distilled.std or 0:.4f}",
                f"{each.difference:+.4f} ({each.difference / (abs(each.vanilla.mean) or 1):+.1%})",
                f"{p_holm[measure]:.4f}",
                "better" if better else "worse",
            ]
        )
    title = f"{base} and {variant}, students of {size_name(size)} trips, {len(taught)} seeds"
    print_table(title, ["", "vanilla", "taught", "difference", "p (Holm)", ""], rows)
    return {
        measure: {**dataclasses.asdict(each), "p_holm": p_holm[measure]}
        for measure, each in found.items()
    }
