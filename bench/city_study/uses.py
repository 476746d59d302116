"""What else is asked of students and their trips: use, leaks, how well they find anomalies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from bench.city_study.steps import Outcome
from bench.city_study.study import Study
from bench.students import Run
from critics.scoring import ScoreRequest, score
from critics.scoring.anomalies import AnomalyKind
from metrics.generated import read_generated
from metrics.leakage import LeakSearch
from pipeline.likelihood import likelihood_auc
from pipeline.utility import measure_utility
from report.score_groups import Members, score_groups
from search.student import open_city

Seeds = dict[str, list[Run]]  # the students of each kind
OF_THE_ROUTE: tuple[AnomalyKind, ...] = ("detour", "switch", "loop")


def utility(study: Study, run: Run, trips: Path, folder: Path, resumed: bool) -> Outcome:
    """What a vanilla student learns from a student's trips, beside as many real ones."""
    settings = study.settings
    epochs = settings.epochs(min(settings.num_generated, study.num_train))
    vanilla = replace(run, settings={}, size=None, epochs=epochs)
    generated = read_generated(trips, study.network)
    trained = folder / "training"
    found = measure_utility(study.place.config(vanilla), generated, study.network, trained)
    return Outcome(found.to_json(), leftovers=(trained,))


def leakage(study: Study, run: Run, trips: Path, folder: Path, resumed: bool) -> Outcome:
    """What a student and its trips give away of the training trips that it saw."""
    generated = read_generated(trips, study.network).trips
    training, held_out = study.trips("train"), study.trips("test")
    num_roads, seen = study.network.num_roads, study.num_trips(run.size)
    search = LeakSearch(training, held_out, num_roads, seen=seen)
    found = search.leaks(generated)
    city = open_city(study.place.config(run), study.student_file(run))
    attack = likelihood_auc(city)
    return Outcome(replace(found, likelihood_auc=attack).to_json())


def scores(study: Study, students: Seeds, folder: Path, resumed: bool) -> Outcome:
    """How well the (first) teacher and the students find anomalies in test trips.

    And how well they find other ways than the usual one where the students know the way, too.
    """
    files = [study.student_file(run) for runs in students.values() for run in runs]
    request = ScoreRequest(
        models=[study.teacher_files[0], *files],
        data_dir=study.city,
        inject=get_args(AnomalyKind),
        max_trips=study.settings.scored_trips,
        device=study.device,
    )
    weighed = replace(request, inject=OF_THE_ROUTE, costs="fitted")
    return Outcome({**_detected(request, students), "weighed": _detected(weighed, students)})


def _detected(request: ScoreRequest, students: Seeds) -> dict[str, Any]:
    """The AUC of every model, and of the kinds of students over their seeds."""
    found = score(request)
    members: Members = {
        kind: {str(run.seed): run.name for run in runs} for kind, runs in students.items()
    }
    rows = [
        {
            "kind": each.kind,
            "severity": each.severity,
            "aspect": each.aspect,
            "ods": each.ods,
            "roc_auc": {name: detection.roc_auc for name, detection in each.models.items()},
        }
        for each in found.studies
    ]
    return {"rows": rows, "groups": score_groups(found.studies, members).to_json()}
