"""Does distillation help? Students with and without a teacher, on few and on many trips.

    python -m bench.distill_gain --folder gain [--parts teachers tune gain ... report]
    python -m bench.distill_gain --folder other --city 1 --chosen docs/distill_gain.json
    python -m bench.distill_gain --folder real --data_dir DIR --parts teachers replay report

On a demo city of 5,000 roads: teachers that saw all training trips, λ and τ chosen on the
validation split by a small study, the same seeds with and without the teacher, everything reported
on the test split with paired tests. The second line confirms on another city what the first found,
without choosing anything anew. The third takes any folder in HOSER's format. The part `replay`
compares, with best-first search, students without a teacher (of the same optimizer steps, and of
three times as many, of which the best epoch on validation trips counts) with students that are
taught on their own trips, and on those that the teacher or they themselves drive. The folder
keeps every part; what is done is not repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench._common import RESULTS, machine, print_table
from bench.gain_comparison import (
    EPOCHS,
    FEW,
    MEASURES,
    NUM_GENERATED,
    NUM_SEEDS,
    by_seed,
    compared,
    teacher_settings,
)
from bench.gain_replay import replay_report, replay_runs
from bench.gain_runs import NUM_ZONES, ORACLE, GainStudy, Laboratory, run_all
from bench.oracle_teacher import OracleTeacher
from bench.students import Run, size_name
from config.generation import SearchName
from config.study import PrunerConfig, SearchSpace
from critics.registry import teacher_path
from critics.teacher_report import teacher_report
from critics.teacher_training import TeacherOptions, train_teacher
from critics.teachers import load_teacher
from data.demo_city import DemoCitySettings, make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.files import read_json, write_json
from runtime.logs import setup_logging
from tune_hoser import tune
from tuning.report import StudyResult

# Few validation trips, because every epoch ends with them; many test trips, for the figures.
CITY = DemoCitySettings(num_roads=5000, num_trips=30_000, val=600, test=3000)
NUM_SEARCHED = 1000  # with every other search
VARIANT_SEEDS = 2
VARIANT_EPOCHS = 12
NUM_TRIALS = 6
SEARCH_SPACE = {
    "lambda": {"low": 1.0, "high": 100.0, "log": True},
    "temperature": {"low": 1.0, "high": 5.0},
    "window": None,
}
TEACHERS: dict[str, dict[str, Any]] = {
    "road": {"epochs": 8},
    "grid": {"vocabulary": "grid", "destination_prefix": False, "epochs": 5, "random_start": 0.5},
}
# Beside vanilla and distilled, on few trips: the shipped weight, and the best teacher there is.
ARMS = ("lambda_10", ORACLE)
# The same students with other searches than a beam of 4.
SEARCHES: dict[str, tuple[SearchName, int]] = {"beam_16": ("beam", 16), "best_first": ("astar", 4)}
PARTS = ("teachers", "tune", "gain", "arms", "searches", "variants", "replay", "report")


def main() -> None:
    """Does the parts that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("distill_gain"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    sizes = {size_name(size): size for size in EPOCHS}
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=list(sizes))
    parser.add_argument("--data_dir", type=Path, help="a folder in HOSER's format: no demo city")
    parser.add_argument("--city", type=int, default=CITY.seed, help="the city's seed")
    parser.add_argument("--chosen", type=Path, help="a report whose λ and τ are used: no study")
    parser.add_argument("--processes", type=int, default=2, help="students trained side by side")
    options = parser.parse_args()
    setup_logging("WARNING")
    torch.set_num_threads(max(1, options.processes))
    study = GainStudy(
        options.folder, dataclasses.replace(CITY, seed=options.city), options.data_dir
    )
    if study.is_simulated:
        make_demo_city(study.city, settings=study.settings, progress=False)
    ensure_zones(study.city, NUM_ZONES if study.is_simulated else 300)
    if "teachers" in options.parts:
        make_teachers(study)
    if options.chosen:
        write_json(study.chosen, {"chosen": read_json(options.chosen)["chosen"]})
    elif "tune" in options.parts:
        choose(study, options.processes)
    if "gain" in options.parts:
        chosen_sizes = [sizes[name] for name in options.sizes]
        run_all(study, gain_runs(study, chosen_sizes), options.processes)
    if "arms" in options.parts:
        run_all(study, arm_runs(study), options.processes)
    if "searches" in options.parts:
        run_all(study, search_runs(), options.processes)
    if "variants" in options.parts:
        run_all(study, variant_runs(study), options.processes)
    if "replay" in options.parts:
        chosen_sizes = [sizes[name] for name in options.sizes]
        run_all(study, replay_runs(study, chosen_sizes), options.processes)
    if "report" in options.parts:
        report(study)


def make_teachers(study: GainStudy) -> None:
    """Trains the teachers on all training trips and measures their choices on validation trips.

    Cells teach nothing on a demo city already: on other data there is the teacher of roads alone.
    """
    network = RoadNetwork.load(study.city)
    train, val = (TripDataset.load(study.city, split, network) for split in ("train", "val"))
    for name, changes in _teachers(study).items():
        output = study.teachers / f"{name}.pt"
        if not output.exists():
            options = TeacherOptions(output, progress=False)
            train_teacher(dataclasses.replace(options, **changes), network, train, val)
        settings = teacher_settings(study, name)
        config = study.config(Run("teacher", None, 0, 1, settings))
        teacher = load_teacher(config, network, torch.device("cpu"))
        found = teacher_report(teacher, val, train)
        print(f"\nTeacher {name}, {teacher_path(config)}\n{found.table()}", flush=True)
        write_json(study.teachers / f"{name}.json", found.to_dict())


def _teachers(study: GainStudy) -> dict[str, dict[str, Any]]:
    return TEACHERS if study.is_simulated else {"road": TEACHERS["road"]}


def choose(study: GainStudy, processes: int) -> None:
    """λ and τ for students of few trips, by validation accuracy in a study of `tune_hoser`."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_tune, args=(study,)) for _ in range(processes - 1)]
    for other in others:
        other.start()
    result = _tune(study)
    for other in others:
        other.join()
    ended = [
        (trial.accuracy, trial)
        for trial in result.trials
        if trial.mode == "distilled" and trial.accuracy
    ]
    _, best = max(ended, key=lambda entry: entry[0])
    chosen = {"lambda": best.params["lambda"], "temperature": best.params["temperature"]}
    rows = [
        [trial.number, trial.state, trial.params, trial.epochs, trial.accuracy]
        for trial in result.trials
    ]
    print_table("Trials", ["", "", "parameters", "epochs", "validation accuracy"], rows)
    trials = [dataclasses.asdict(trial) for trial in result.trials]
    write_json(study.chosen, {"chosen": chosen, "trials": trials})


def _tune(study: GainStudy) -> StudyResult:
    """One worker's share of the study."""
    setup_logging("WARNING")
    torch.set_num_threads(1)
    folder = study.folder
    settings = teacher_settings(study, "road")
    config = study.config(Run("tune", FEW, 0, EPOCHS[FEW], settings))
    changes = {
        "study_name": "gain",
        "storage": f"sqlite:///{folder}/study.db",
        "n_trials": NUM_TRIALS,
        "max_epochs": EPOCHS[FEW],
        "trials_dir": str(folder / "trials"),
        "results_dir": str(folder / "results"),
        # After a few epochs the order of the trials says nothing about their end.
        "pruner": PrunerConfig(kind="none"),
        "search_space": SearchSpace.model_validate(SEARCH_SPACE),
        "plots": False,
    }
    config.optuna = config.optuna.model_copy(update=changes)
    return tune(config, phase2=False)


def distilled(study: GainStudy, **changes: Any) -> dict[str, Any]:
    """The chosen way to distil, with changes."""
    chosen = read_json(study.chosen)["chosen"]
    return {**teacher_settings(study, "road"), **chosen, **changes}


def gain_runs(study: GainStudy, sizes: Sequence[int | None]) -> list[Run]:
    """Vanilla and distilled, size by size."""
    return [
        Run(variant, size, seed, EPOCHS[size], settings, NUM_GENERATED)
        for size in sizes
        for seed in range(NUM_SEEDS)
        for variant, settings in (("vanilla", {}), ("distilled", distilled(study)))
    ]


def arm_runs(study: GainStudy) -> list[Run]:
    """Students of few trips that are taught otherwise; the oracle's settings are the chosen."""
    settings = {"lambda_10": distilled(study, **{"lambda": 10.0}), ORACLE: distilled(study)}
    return [
        Run(arm, FEW, seed, EPOCHS[FEW], settings[arm], NUM_GENERATED)
        for seed in range(NUM_SEEDS)
        for arm in ARMS
    ]


def search_runs() -> list[Run]:
    """Vanilla and distilled students of few and of all trips, driven otherwise."""
    return [
        Run(
            f"{variant}_{name}",
            size,
            seed,
            EPOCHS[size],
            num_generated=NUM_SEARCHED,
            search=search,
            beam_width=width,
            of=variant,
        )
        for size in (FEW, None)
        for name, (search, width) in SEARCHES.items()
        for seed in range(NUM_SEEDS)
        for variant in ("vanilla", "distilled")
    ]


def variant_settings(study: GainStudy) -> dict[str, dict[str, Any]]:
    """Other ways to distil, each one change away from the chosen one."""
    return {
        "window_2": distilled(study, window=2),
        "window_4": distilled(study, window=4),
        "window_8": distilled(study, window=8),
        "positions_last": distilled(study, positions="last"),
        "temperature_4_to_1": distilled(
            study, temperature=4.0, temperature_end=1.0, temperature_schedule="linear"
        ),
        "zone_weight_10": distilled(study, zone_weight=10.0),
        "embedding_weight_10": distilled(study, embedding_weight=10.0),
        "lambda_6": distilled(study, **{"lambda": 6.0}),
        "lambda_0.01": distilled(study, **{"lambda": 0.01}),
        "grid_teacher": distilled(study, **teacher_settings(study, "grid")),
    }


def variant_runs(study: GainStudy) -> list[Run]:
    """Every variant on few trips, and what it is compared with at the same epochs."""
    variants = {"short_vanilla": {}, "short_distilled": distilled(study), **variant_settings(study)}
    return [
        Run(name, FEW, seed, VARIANT_EPOCHS, settings)
        for seed in range(VARIANT_SEEDS)
        for name, settings in variants.items()
    ]


def report(study: GainStudy) -> None:
    """Prints and keeps means, differences and tests."""
    gain = _by_size(study, "vanilla", "distilled", EPOCHS)
    arms = {arm: compared(study, "vanilla", arm, FEW) for arm in ARMS if by_seed(study, arm, FEW)}
    searches = {
        name: _by_size(study, f"vanilla_{name}", f"distilled_{name}", (FEW, None))
        for name in SEARCHES
    }
    results = {
        "machine": machine(),
        "city": _described(study),
        "epochs": {size_name(size): epochs for size, epochs in EPOCHS.items()},
        "teachers": {name: read_json(study.teachers / f"{name}.json") for name in _teachers(study)},
        "chosen": read_json(study.chosen)["chosen"] if study.chosen.exists() else None,
        "gain": gain,
        "arms": arms,
        "searches": searches,
        "oracle": _oracle(study) if study.is_simulated else None,
        "variants": _variants(study) if study.chosen.exists() else None,
        "replay": replay_report(study),
    }
    name = "distill_gain" + (f"_city{study.settings.seed}" if study.settings.seed else "")
    path = RESULTS.parent / f"{name}.json"
    if not study.is_simulated:
        path = study.folder / "report.json"
    write_json(path, results)
    print(f"\nWritten to {path}.")


def _described(study: GainStudy) -> dict[str, Any]:
    """What the figures are of."""
    if study.is_simulated:
        return {**dataclasses.asdict(study.settings), "generated": NUM_GENERATED}
    return {"folder": study.city.name, "generated": NUM_GENERATED}


def _oracle(study: GainStudy) -> dict[str, Any]:
    """The city's own drivers: how sure their choices are, and how much two trips of them differ."""
    network = RoadNetwork.load(study.city)
    train, test = (TripDataset.load(study.city, split, network) for split in ("train", "test"))
    laboratory = Laboratory(study)
    choices = teacher_report(OracleTeacher(laboratory.oracle), test, train, max_trips=len(test))
    print(f"\n{choices.table()}")
    driven = laboratory.drivers(NUM_GENERATED)
    shown = {key: driven[key] for key in MEASURES if key in driven}
    print_table(f"The drivers again, {NUM_GENERATED} trips", ["", ""], list(shown.items()))
    return {"choices": choices.to_dict(), "trips": shown}


def _by_size(
    study: GainStudy, base: str, variant: str, sizes: Iterable[int | None]
) -> dict[str, Any]:
    """The comparisons of the sizes that have been trained."""
    return {
        size_name(size): compared(study, base, variant, size)
        for size in sizes
        if by_seed(study, variant, size)
    }


def _variants(study: GainStudy) -> dict[str, Any]:
    """The variants beside the chosen way, on the seeds that all have."""
    names = ["short_vanilla", "short_distilled", *variant_settings(study)]
    shown = [
        *("accuracy", "nll", "mape_seconds", "hausdorff_km", "dtw_km", "distance_jsd"),
        "destination_reached_rate",
    ]
    base = by_seed(study, "short_vanilla", FEW)
    found: dict[str, Any] = {}
    rows: list[Sequence[Any]] = []
    for name in names:
        runs = by_seed(study, name, FEW)
        seeds = [seed for seed in range(VARIANT_SEEDS) if seed in runs and seed in base]
        if not seeds:
            continue
        means = {key: float(np.mean([runs[seed][key] for seed in seeds])) for key in shown}
        gain = np.array([runs[seed]["accuracy"] - base[seed]["accuracy"] for seed in seeds])
        spread = float(gain.std(ddof=1)) if len(gain) > 1 else 0.0
        found[name] = {"seeds": seeds, **means, "gain": float(gain.mean()), "gain_std": spread}
        rows.append(
            [name, *(f"{means[key]:.4f}" for key in shown), f"{gain.mean():+.4f} ± {spread:.4f}"]
        )
    header = ["", *(MEASURES[key] for key in shown), "accuracy against vanilla"]
    print_table(f"Ways to distil, {FEW} trips", header, rows)
    return found


if __name__ == "__main__":
    main()
