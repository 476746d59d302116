"""Trips for the same OD pairs by every student, search and yardstick, and how real they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from baselines.generators import BaselineName
from baselines.writing import write_baseline
from bench.city_study.settings import SEARCHES
from bench.city_study.steps import Outcome
from bench.city_study.study import Study
from bench.students import Run, drive
from dataset import TripDataset
from metrics.assessment import assess
from metrics.generated import read_generated
from search.od import SampledOD

TRIPS = "trips.csv"


def drive_student(study: Study, run: Run, search: str, folder: Path, resumed: bool) -> Outcome:
    """A student's trips by one search."""
    output = folder / TRIPS
    count = study.settings.num_generated
    drive(study.place.config(run), study.student_file(run), SEARCHES[search], count, output)
    return Outcome(_assessed(study, output), (output,))


def drive_yardstick(study: Study, name: BaselineName, folder: Path, resumed: bool) -> Outcome:
    """The trips of one yardstick that needs no training."""
    output = folder / TRIPS
    test = TripDataset.load(study.city, "test", study.network)
    source = SampledOD(test, study.settings.num_generated, 0)
    write_baseline(name, study.habits, source, output, 0)
    return Outcome(_assessed(study, output), (output,))


def _assessed(study: Study, trips: Path) -> dict[str, Any]:
    """Every measure of a generated file."""
    generated = read_generated(trips, study.network)
    found = assess(trips.parent.name, generated, study.reference)
    return {"values": found.overall.values, "pairs": len(found.pairs)}
