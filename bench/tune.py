"""What a study costs: all of it on a small city, a distilled trial against a vanilla one, set-up.

python -m bench.tune [--quick] [--skip-study]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench._common import Timing, parser, print_table, save, timed_alternately
from config import Config, load_config
from critics.teacher_training import TeacherOptions, train_teacher
from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from train_with_distill import train
from training.folder import RunFolder
from training.reporting import format_duration
from training.resources import ResourcePool
from tune_hoser import tune

DEMO = Path(__file__).parent.parent / "config" / "demo.yaml"
NUM_TRIALS = 12
EPOCHS = 2
STUDY_BAR_MINUTES = 15.0
RATIO_BAR = 1.15
SETUP_BAR_S = 2.0
PUBLISHED_RATIO = 4.9
WINDOWS = (2, 8)
LIVE_BATCHES = 20
REPEATS = 3
REPLAYED = 4000


def main() -> None:
    """Runs the parts and prints them beside their bars."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--skip-study", action="store_true", help="without the whole study")
    options = arguments.parse_args()
    roads, trips = (500, 600) if options.quick else (2000, 4000)
    with tempfile.TemporaryDirectory() as scratch:
        config = _prepare(Path(scratch), roads, trips)
        pool = ResourcePool()
        results: dict[str, Any] = {"roads": roads, "trips": trips}
        results["trial"] = _trials(config, Path(scratch), pool)
        if not options.skip_study:
            results["study"] = _study(config, pool)
    if not options.no_save:
        save("tune", results)


def _prepare(scratch: Path, roads: int, trips: int) -> Config:
    """A city, a small teacher of its roads, and a study as the documents describe it."""
    city = make_demo_city(scratch / "city", roads, trips, progress=False)
    ensure_zones(city, 60)
    network = RoadNetwork.load(city)
    trains, vals = (TripDataset.load(city, split, network) for split in ("train", "val"))
    teacher = scratch / "teacher.pt"
    train_teacher(TeacherOptions(teacher, epochs=1, progress=False), network, trains, vals)
    return load_config(
        DEMO,
        {
            "dataset": "bench",
            "data_dir": str(city),
            "distill.ckpt": str(teacher),
            "distill.replay.trips": 0,
            "training.progress": False,
            "optuna.storage": f"sqlite:///{scratch}/study.db",
            "optuna.trials_dir": str(scratch / "trials"),
            "optuna.results_dir": str(scratch / "results"),
            "optuna.n_trials": NUM_TRIALS,
            "optuna.max_epochs": EPOCHS,
            "optuna.search_space.window": {"low": WINDOWS[0], "high": WINDOWS[1]},
        },
    )


def _trials(config: Config, scratch: Path, pool: ResourcePool) -> dict[str, Any]:
    """Whole trials in turns, with everything loaded and the teacher's answers in the cache."""
    count = iter(range(1_000_000))

    def run(**changes: Any) -> float:
        own = config.model_copy(deep=True)
        own.optimizer_config.max_epoch = EPOCHS
        own.distill.window = 4
        own.distill.enable = changes.get("distilled", False)
        own.distill.cache = changes.get("cache", True)
        own.distill.replay.trips = changes.get("replayed", 0)
        own.profiling.max_batches = changes.get("batches")
        folder = RunFolder(scratch / "runs" / str(next(count)))
        return train(own, pool=pool, folder=folder, finish=False).batches_per_second

    kinds: dict[str, Callable[[], Any]] = {
        "vanilla": lambda: run(),
        "distilled": lambda: run(distilled=True),
        "replay": lambda: run(distilled=True, replayed=REPLAYED),
    }
    timings = timed_alternately(kinds, repeats=REPEATS)
    setups = timed_alternately(
        {
            "vanilla": lambda: run(batches=1),
            "distilled": lambda: run(distilled=True, batches=1),
        },
        repeats=REPEATS,
    )
    with_cache = run(distilled=True, batches=LIVE_BATCHES)
    live = run(distilled=True, cache=False, batches=LIVE_BATCHES)
    vanilla = timings["vanilla"].median
    results = {
        **{f"{name}_s": timing.seconds for name, timing in timings.items()},
        "ratio": timings["distilled"].median / vanilla,
        "replay_ratio": timings["replay"].median / vanilla,
        "live_step_ratio": with_cache / live,
        "setup_s": {name: timing.median for name, timing in setups.items()},
    }
    _print_trials(timings, results)
    return results


def _print_trials(timings: dict[str, Timing], results: dict[str, Any]) -> None:
    duration = {name: format_duration(timing.median) for name, timing in timings.items()}
    bars = f"bar {RATIO_BAR}x, published {PUBLISHED_RATIO}x"
    rows = [
        ["vanilla trial", duration["vanilla"], f"± {timings['vanilla'].spread:.0%}", ""],
        ["distilled trial", duration["distilled"], f"{results['ratio']:.2f}x vanilla", bars],
        [
            "… with as many driven trips",
            duration["replay"],
            f"{results['replay_ratio']:.2f}x vanilla",
            "twice the positions",
        ],
        ["a step with the teacher live", "", f"{results['live_step_ratio']:.2f}x cached", ""],
        [
            "set-up after the first",
            f"{max(results['setup_s'].values()):.2f} s",
            "",
            f"bar {SETUP_BAR_S:.0f} s",
        ],
    ]
    print_table(f"A trial of {EPOCHS} epochs", ["", "time", "", ""], rows)


def _study(config: Config, pool: ResourcePool) -> dict[str, Any]:
    """Phase 1 as a user runs it, caches of every window included."""
    started = time.perf_counter()
    result = tune(config, phase2=False, pool=pool)
    seconds = time.perf_counter() - started
    modes = {
        mode: [trial.wall_seconds for trial in result.trials if trial.mode == mode]
        for mode in ("vanilla", "distilled")
    }
    rows = [
        [
            f"{len(result.trials)} trials of {EPOCHS} epochs",
            format_duration(seconds),
            f"bar {STUDY_BAR_MINUTES:.0f} min",
        ],
        ["vanilla trial", format_duration(modes["vanilla"][0]), ""],
        [
            "distilled trials, caches built",
            format_duration(sum(modes["distilled"]) / max(len(modes["distilled"]), 1)),
            "the mean",
        ],
    ]
    print_table("The whole of phase 1", ["", "time", ""], rows)
    return {"seconds": seconds, "trials": len(result.trials), "trial_seconds": modes}


if __name__ == "__main__":
    main()
