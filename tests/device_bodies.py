"""What a device computes on one small city, as plain values to hold against another device's.

`test_accelerator` runs these on the CPU and on a pretended GPU, `tests/cuda` on a real one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from config.generation import SearchName, SearchSettings
from critics.cache_builder import open_or_build
from critics.replay.policies import LMTADPolicy, Policy, StudentPolicy
from critics.replay.times import predict_times
from critics.scoring.judges import StudentJudge, TeacherJudge
from critics.scoring.running import Reader, StudentReader, TeacherReader
from critics.scoring.trips import as_trips
from critics.teacher_training.options import TeacherOptions
from critics.teacher_training.run import TeacherRun
from search.engine import SearchEngine
from search.graph import SearchGraph
from search.scorer import Scorer
from search.searches import build_search
from search.trips import TripRequests
from tests.accelerator_helpers import Lesson
from times.records import drive_real_trips
from training.calibration import calibrate
from training.validation import validate


def live_answers(
    city: Path, scratch: Path, device: torch.device, positions: int | str
) -> list[float]:
    """The terms of a batch by a teacher without a cache."""
    lesson = Lesson.on(
        city, scratch, device,
        distill__cache=False, distill__positions=positions, distill__embedding_weight=0.3,
        distill__zone_weight=0.2, distill__ties="marginal", distill__loss="jensen_shannon",
    )  # fmt: skip
    batch = lesson.train.batch(range(6), device)
    manager = lesson.manager(cached=False)
    manager.attach(lesson.train)
    outputs = lesson.student()(batch, with_hidden=True)
    taught = manager.compute_kl_for_batch(batch, outputs[0], step=3, student_embedding=outputs[2])
    return [term.sum.item() for term in taught.terms.values()]


def caches_and_drives(lesson: Lesson, folder: Path) -> dict[str, torch.Tensor]:
    """The teacher's answers, everybody's drives, and the times predicted for driven trips."""
    cache = open_or_build(folder, lesson.train, lesson.teacher(), progress=False)
    batch = lesson.train.batch(range(9), lesson.device)
    student = lesson.student()
    statistics = (lesson.train.time_mean, lesson.train.time_std)
    features = lesson.train.tables(lesson.device)
    knows = lesson.teacher(destination_prefix=True)
    drivers: dict[str, Policy] = {
        "teacher": LMTADPolicy(knows),
        "uncached": LMTADPolicy(knows, cached=False),
        "student": StudentPolicy(student, features, statistics),
    }
    found = {"cache": cache.lookup(batch).cpu()}
    for name, policy in drivers.items():
        drives = lesson.drives(policy)
        found[f"{name} roads"] = torch.from_numpy(drives.road_ids)
        found[f"{name} values"] = torch.from_numpy(drives.values)
    driven = lesson.replayed.dataset(lesson.train)
    predict_times(student, driven, np.arange(len(driven)), 16)
    return {**found, "times": torch.from_numpy(driven.seconds)}


def searched(lesson: Lesson, name: SearchName) -> list[tuple[list[int], bool]]:
    """The roads of five trips, and whether they arrived."""
    graph, trips = SearchGraph.of(lesson.network), lesson.train
    features = trips.tables(lesson.device)
    model = lesson.student().eval()
    scorer = Scorer(model, features, graph, trips.time_mean, trips.time_std)
    ends = np.stack([trips.road_ids[trips.offsets[:-1]], trips.road_ids[trips.offsets[1:] - 1]])
    pairs = ends[:, :5].astype(np.int64)
    block = TripRequests(0, pairs[0], pairs[1], np.asarray(trips.starts[:5]))
    search = build_search(SearchSettings(name, max_steps=20), graph, 4, seed=3)
    found = SearchEngine(search, scorer).run([block])
    return [(trip.road_ids.tolist(), trip.reached) for trip in found]


def measures(lesson: Lesson) -> list[float]:
    """Validation, calibration and how travel times spread."""
    model = lesson.student()
    manager = lesson.manager()
    result = validate(model, lesson.train, device=lesson.device, batch_size=16, teacher=manager)
    assert result is not None
    temperature = calibrate(model, lesson.train, lesson.device, 16)
    records = drive_real_trips(model, lesson.train, lesson.device)
    return [
        *[value for value in result.as_dict().values() if value is not None],
        temperature,
        float(records.seconds.sum()),
        float(records.conditions.expected.sum()),
    ]


def scores(lesson: Lesson) -> list[float]:
    """How strange trips are to a student and a teacher, whole and under way."""
    trips = as_trips(lesson.train)
    student, teacher = lesson.student().eval(), lesson.teacher()
    network = lesson.network
    judges = (
        StudentJudge("student", student, network, (2.0, 1.0)),
        TeacherJudge("teacher", teacher, network),
    )
    readers: tuple[Reader, ...] = (StudentReader(student, network), TeacherReader(teacher, network))
    found = [float(judge.surprises(trips).route.sum()) for judge in judges]
    keys = np.arange(3)
    first = trips.offsets[:3]
    last = trips.offsets[1:4] - 1
    roads, times = trips.road_ids.astype(np.int64), trips.times
    for reader in readers:
        reader.begin(keys, roads[first], roads[last], times[first])
        found.append(float(reader.read(keys, roads[first + 1], times[first + 1]).sum()))
    return found


def teacher_losses(lesson: Lesson, output: Path, **changes: Any) -> list[float]:
    """The first steps of a teacher's training, and its validation."""
    settings = {"n_layer": 1, "n_head": 2, "n_embd": 16, "dropout": 0.0, "amp": "off", **changes}
    options = TeacherOptions(
        output, epochs=1, batch_size=16, device=str(lesson.device), progress=False, **settings
    )
    run = TeacherRun(options, lesson.network, lesson.train, lesson.train)
    rows = [np.arange(first, first + 16) for first in (0, 16)]
    losses = [float(run.take_step(run.examples(lesson.train, part, 0))) for part in rows]
    run._validate(0)
    return [*losses, run.best_loss]
