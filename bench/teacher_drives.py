"""What a teacher that drives is worth to students that train until they stop learning.

    python -m bench.teacher_drives --folder study [--city SEED] [--seeds 5] [--processes 2]
    python -m bench.teacher_drives --folder all --trips 8000 --epochs 12
    python -m bench.teacher_drives --page

On a demo city of 1,500 roads: a teacher of all its training trips, and students of few of them.
Half of them have no teacher, the others are taught on their own trips and on those that the teacher
drives; of each the best epoch by validation trips counts. They are measured on all test trips, by
themselves and weighed against the way, and drive between the same pairs by best-first search, with
and without costs fitted to them; so do the city's drivers, sent out again. The folder keeps
everything: what is done is not done again. The figures of all cities and numbers of trips stand in
docs/teacher_drives.json; `--page` makes tables of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench._common import RESULTS, machine
from bench._pages import change_of, fill
from bench.gain_comparison import corrected
from bench.oracle_teacher import drive_test_pairs_again
from bench.scoring_study import CITY, QUICK_CITY
from bench.students import DEMO, assessed, drive, measure_choices, measure_weighed
from bench.study_students import (
    ARMS,
    Student,
    Training,
    make_students,
    make_teachers,
    student_config,
)
from config import load_config
from config.generation import SearchSettings
from data.demo_city import DemoCitySettings, make_demo_city
from data.demo_city.oracle import DemoCityOracle
from data.preprocess import ensure_zones
from evaluation import load_reference
from metrics.reference import Reference, Settings
from report.tables import markdown_table
from runtime.files import read_json, write_json
from runtime.logs import setup_logging
from training.resources import ResourcePool
from tuning.comparison import compare_all

FIGURES = RESULTS.parent / "teacher_drives.json"
PAGE = RESULTS.parent / "distillation.md"
NUM_ZONES = 60
NUM_GENERATED = 3000
TRAINING = Training(epochs=40, replayed=20_000)
CHOICES = {
    "accuracy": "next-road accuracy",
    "nll": "negative log-likelihood",
    "nll_calibrated": "the same, both calibrated",
    "calibration_error": "calibration error",
    "calibration_error_calibrated": "the same, both calibrated",
    "mape": "travel-time MAPE (log1p)",
    "mape_seconds": "travel-time MAPE (seconds)",
    "accuracy_weighed": "next-road accuracy, weighed against the way",
    "nll_weighed": "negative log-likelihood, weighed",
    "calibration_error_weighed": "calibration error, weighed",
}
# Only taught students are calibrated by training: what the others would have from it.
CALIBRATED = ("nll", "calibration_error")
TRIPS = {
    "hausdorff_km": "Hausdorff, km",
    "dtw_km": "DTW, km",
    "edr": "EDR",
    "distance_jsd": "distance JSD",
    "radius_jsd": "radius JSD",
    "duration_jsd": "segment duration JSD",
    "trip_duration_jsd": "trip duration JSD",
}
FITTED = "_fitted"  # of trips whose search has costs fitted to the student
BY_FITTED_COSTS = {f"{name}{FITTED}": f"{title}, fitted costs" for name, title in TRIPS.items()}
SEARCHES = {"": SearchSettings("astar"), FITTED: SearchSettings("astar", costs="fitted")}
Figures = dict[str, float]


@dataclass
class DriveStudy:
    """A city, its teacher, and the figures of its students."""

    folder: Path
    settings: DemoCitySettings
    training: Training
    num_generated: int = NUM_GENERATED

    @property
    def city(self) -> Path:
        """The city's folder."""
        return self.folder / "city"

    @property
    def students(self) -> Path:
        """Where the students are."""
        return self.folder / "students"

    def make(self, processes: int) -> dict[str, dict[int, Figures]]:
        """Makes and measures what is missing; figures by arm and seed."""
        make_demo_city(self.city, settings=self.settings, progress=False)
        ensure_zones(self.city, NUM_ZONES)
        teachers = make_teachers(self.city, self.folder, self.training.teachers)
        students = make_students(self.city, teachers, self.students, self.training, processes)
        pool = ResourcePool()
        found: dict[str, dict[int, Figures]] = {arm: {} for arm in ARMS}
        for student in students:
            figures = self._measured(student, teachers, pool)
            found[student.arm][student.seed] = figures
            shown = {name: round(figures[name], 4) for name in ("accuracy", "hausdorff_km")}
            print(f"  {student.file(self.students).parent.name}: {shown}", flush=True)
        return found

    @property
    def temperature(self) -> str:
        """At which the students are taught, from the first step to the last."""
        distill = load_config(DEMO).distill
        return " to ".join(f"{at:g}" for at in (distill.temperature, distill.temperature_end) if at)

    def _measured(self, student: Student, teachers: Sequence[Path], pool: ResourcePool) -> Figures:
        """A student's figures, from its folder where they are there."""
        file = student.file(self.students)
        kept = file.with_name("figures.json")
        if kept.exists():
            return dict(read_json(kept))
        config = student_config(self.city, teachers, self.training, student)
        figures = measure_choices(config, file, pool)
        calibrated = measure_choices(config, file, pool, calibrated=True)
        figures |= {f"{name}_calibrated": calibrated[name] for name in CALIBRATED}
        figures |= measure_weighed(config, file)
        for suffix, search in SEARCHES.items():
            trips = file.with_name(f"trips{suffix}.csv")
            drive(config, file, search, self.num_generated, trips)
            found = assessed(trips, self.reference)
            figures |= {f"{name}{suffix}": value for name, value in found.items()}
        write_json(kept, figures)
        return figures

    @cached_property
    def reference(self) -> Reference:
        """The real trips of the test split."""
        return load_reference(self.city, "test", Settings(0.001, 100.0, "exact", 0, 0))

    def drivers(self) -> Figures:
        """What the city's own drivers reach, sent out again between the students' roads."""
        output = self.folder / "drivers.csv"
        oracle = DemoCityOracle(self.settings)
        drive_test_pairs_again(oracle, self.reference.network, self.num_generated, output)
        found = assessed(output, self.reference)
        return {name: found[name] for name in TRIPS if name in found}


def compared(found: Mapping[str, Mapping[int, Figures]]) -> dict[str, Any]:
    """The taught students against those without a teacher, paired over seeds."""
    vanilla, distilled = (found[arm] for arm in ARMS)
    tests = compare_all(vanilla, distilled, (*CHOICES, *TRIPS, *BY_FITTED_COSTS))
    p_holm: dict[str, float] = {}
    for family in (TRIPS, BY_FITTED_COSTS):
        p_holm |= corrected([test for test in tests if test.metric in family])
    return {test.metric: {**asdict(test), "p_holm": p_holm.get(test.metric)} for test in tests}


def table(study: dict[str, Any]) -> str:
    """One city: means and deviations over seeds, the change, the tests, and the drivers."""
    header = ["", "no teacher", "with the teacher's drives", "change", "p", "p Holm"]
    header.append("the drivers again")
    rows = []
    for measure, title in (CHOICES | TRIPS | BY_FITTED_COSTS).items():
        test = study["tests"].get(measure)
        if test is None:
            continue
        difference = test["difference"]
        change = change_of(measure, difference, difference / abs(test["vanilla"]["mean"]))
        ps = ("" if p is None else f"{p:.2g}" for p in (test["p_value"], test["p_holm"]))
        driven = study["drivers"].get(measure.removesuffix(FITTED))
        cells = [title, *(_spread(test[side]) for side in ("vanilla", "distilled")), change, *ps]
        rows.append([*cells, "" if driven is None else f"{driven:.4f}"])
    return markdown_table(rows, header)


def _spread(side: dict[str, Any]) -> str:
    return f"{side['mean']:.4f}" + ("" if side["std"] is None else f" ± {side['std']:.4f}")


def write_page(page: Path = PAGE) -> None:
    """Writes the tables of all cities into docs/distillation.md."""
    known = read_json(FIGURES)

    def tables() -> str:
        parts = []
        for study in known.values():
            parts.append(f"{_title(study)}\n\n{table(study)}")
        return "\n\n".join(parts)

    fill(page, {"teacher_drives": tables})


def _title(study: dict[str, Any]) -> str:
    trained, machine_of = study["training"], study["machine"]
    teachers = trained["teachers"]
    return (
        f"Demo city {study['city']}, {trained['seeds']} seeds, "
        f"{teachers} teacher{'s' if teachers > 1 else ''}, temperature {study['temperature']}, "
        f"students of {trained['trips']:,} trips, {trained['epochs']} epochs, "
        f"{trained['replayed']:,} drives, {study['num_generated']:,} generated trips "
        f"({machine_of['processor']}, {machine_of['cores']} cores, {machine_of['date']}):"
    )


def main() -> None:
    """Makes what is missing of one city, prints and keeps its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--folder", type=Path, default=Path("teacher_drives"))
    add("--city", type=int, default=0, help="the city's seed")
    for name, number in asdict(TRAINING).items():
        add(f"--{name}", type=int, default=number, help=f"of the training; default: {number}")
    add("--processes", type=int, default=2, help="students trained side by side")
    add("--quick", action="store_true", help="small sizes, for a try; nothing is kept in docs")
    add("--page", action="store_true", help="only write the tables of docs/distillation.md")
    options = parser.parse_args()
    if options.page:
        write_page()
        return
    setup_logging("WARNING")
    training = Training(**{name: getattr(options, name) for name in asdict(TRAINING)})
    study = DriveStudy(options.folder, replace(CITY, seed=options.city), training)
    if options.quick:
        quick = Training(trips=100, epochs=2, replayed=100, seeds=2)
        study = DriveStudy(options.folder, QUICK_CITY, quick, num_generated=50)
    found = study.make(options.processes)
    result = {
        "city": options.city,
        "tests": compared(found),
        "machine": machine(),
        "training": asdict(study.training),
        "temperature": study.temperature,
        "num_generated": study.num_generated,
        "drivers": study.drivers(),
    }
    print(f"\n{table(result)}")
    if not options.quick:
        known = read_json(FIGURES) if FIGURES.exists() else {}
        write_json(FIGURES, {**known, f"city {options.city}, {training.trips} trips": result})


if __name__ == "__main__":
    main()
