"""A whole study through the pipeline: six models of five training seeds, 5,000 trips each.

python -m bench.many_models [--quick] [--no-save] [--folder DIR]

The trips are made by the baselines on a demo city; the pipeline measures every file, compares the
groups over their seeds and writes the report, as `python_pipeline.py --groups` does.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from baselines.generators import BaselineName
from baselines.writing import load_habits, write_baseline
from bench._common import parser, print_table, save
from bench.peak import peak_memory_mib
from config import load_evaluation_config
from data.demo_city import DemoCitySettings, make_demo_city
from data.preprocess import ensure_zones
from dataset import TripDataset
from python_pipeline import run_pipeline
from runtime.logs import setup_logging
from search.od import SampledOD

MODELS: tuple[BaselineName, ...] = get_args(BaselineName)[-6:]
BARS = {"evaluation_s": 300.0}


@dataclass(frozen=True)
class Sizes:
    """How large the study is."""

    roads: int = 5000
    training_trips: int = 20_000
    trips: int = 5000  # real and generated, each model
    seeds: int = 5


def main() -> None:
    """Times the study, and again with everything up to date."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--folder", type=Path, help="kept, and found again")
    options = arguments.parse_args()
    sizes = Sizes(1000, 2000, 500, 2) if options.quick else Sizes()
    setup_logging("WARNING")
    with tempfile.TemporaryDirectory() as scratch:
        results = _measure(options.folder or Path(scratch), sizes)
    rows = [
        [name, f"{value:,.1f}", f"{BARS[name]:,.0f}" if name in BARS else ""]
        for name, value in results.items()
    ]
    title = f"{len(MODELS)} models × {sizes.seeds} seeds × {sizes.trips} trips"
    print_table(title, ["figure", "measured", "bar"], rows)
    if not options.no_save:
        save("many_models", results)


def _measure(folder: Path, sizes: Sizes) -> dict[str, float]:
    make_study(folder, sizes)
    settings = {
        "eval_dir": str(folder / "study"),
        "data_dir": str(folder / "city"),
        "num_gene": sizes.trips,
        "od_sources": ["test"],
        "skip_gene": True,
        "groups": "auto",
    }
    seconds = []
    for force in (True, False):
        started = time.perf_counter()
        results = run_pipeline(load_evaluation_config(None, {**settings, "force": force}))
        seconds.append(time.perf_counter() - started)
        assert all(result.error is None for result in results)
    return {
        "evaluation_s": seconds[0],
        "again_s": seconds[1],
        "files": float(len(results)),
        "peak_memory_mib": peak_memory_mib(),
    }


def make_study(folder: Path, sizes: Sizes) -> None:
    """The city, and an evaluation folder whose models have generated already."""
    val, total = 500, sizes.training_trips + 500 + sizes.trips
    city = DemoCitySettings(num_roads=sizes.roads, num_trips=total, val=val, test=sizes.trips)
    make_demo_city(folder / "city", settings=city, progress=False)
    ensure_zones(folder / "city")
    habits = load_habits(folder / "city")
    test = TripDataset.load(folder / "city", "test", habits.network)
    models = folder / "study" / "models"
    models.mkdir(parents=True, exist_ok=True)
    for seed in range(sizes.seeds):
        for name in MODELS:
            model = f"{name}_seed{seed}"
            (models / f"{model}.pth").touch()  # never opened: its trips are there
            output = folder / "study" / "gene" / model / "seed42" / "testod_beam4.csv"
            if not output.exists():
                output.parent.mkdir(parents=True, exist_ok=True)
                write_baseline(name, habits, SampledOD(test, sizes.trips, seed), output, seed)


if __name__ == "__main__":
    main()
