"""Scoring trips: positions a second, memory, and running trips, beside one trip at a time.

python -m bench.score [--quick] [--data_dir DIR --student FILE --teacher FILE]

On a demo city with an untrained student and teacher of the usual sizes (speed does not depend on
what they know), or on any folder with its own. How well anomalies are found is measured by
`tools.score_trips --inject all --groups …`.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench._common import parser, print_table, save
from bench.peak import peak_memory_mib
from config import Config
from critics.road_teacher import road_teacher
from critics.scoring.judges import Judge, StudentJudge, TeacherJudge
from critics.scoring.opening import open_judge
from critics.scoring.running import RunningScores, StudentReader
from critics.scoring.scores import JudgeScorer, Normality
from critics.scoring.trips import as_trips
from critics.teacher_training import TeacherOptions, train_teacher
from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from metrics.trips import Trips

BARS = {"student_positions_per_s": 20_000.0}
ROADS, TRIPS = 7000, 8000
ALONE = 200  # trips that are scored one at a time
FEW = 400  # trips that a teacher of the published size reads


def main() -> None:
    """Scores, and prints the figures beside their bar."""
    arguments = parser(__doc__ or "")
    for name in ("data_dir", "student", "teacher"):
        arguments.add_argument(f"--{name}", type=Path)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data_dir or Path(scratch) / "city"
        if options.data_dir is None:
            make_demo_city(folder, *((1000, 1500) if options.quick else (ROADS, TRIPS)))
        ensure_zones(folder)
        results = _measure(folder, options.student, options.teacher, Path(scratch))
    rows = [
        [name, f"{value:,.1f}", f"{BARS[name]:,.0f}" if name in BARS else ""]
        for name, value in results.items()
    ]
    print_table("Scores", ["figure", "measured", "bar"], rows)
    if not options.no_save:
        save("score", results)


def _measure(
    folder: Path, student: Path | None, teacher: Path | None, scratch: Path
) -> dict[str, float]:
    network = RoadNetwork.load(folder)
    train, val = (TripDataset.load(folder, split, network) for split in ("train", "val"))
    trips = as_trips(train)
    normality = Normality.of(network, trips, as_trips(val))
    taught = open_judge(
        student or _student(folder, network, scratch),
        "student",
        Config(data_dir=str(folder)),
        network,
        "full",
        torch.device("cpu"),
    )
    usual = TeacherOptions(scratch / "teacher.pt", epochs=1, max_trips=200, progress=False)
    file = teacher or train_teacher(usual, network, train, val)
    judges: list[Judge] = [taught, TeacherJudge("teacher", road_teacher(file, network), network)]
    results = {"positions": float(len(trips.road_ids) - len(trips))}
    scorers = [JudgeScorer(judge, normality) for judge in judges]
    results["student_positions_per_s"] = _rate(scorers[0], trips)
    before = peak_memory_mib()  # nothing but the same work has run: other work would leave gaps
    scorers[0].scores(_repeated(trips, 4))
    results["memory_growth_of_four_times_mib"] = peak_memory_mib() - before
    results["teacher_positions_per_s"] = _rate(scorers[1], trips)
    published = replace(
        usual, output=scratch / "published.pt", max_trips=32, n_layer=8, n_head=12, n_embd=768
    )
    large = road_teacher(train_teacher(published, network, train, val), network)
    few = trips.select(np.arange(min(FEW, len(trips))))
    scorer = JudgeScorer(TeacherJudge("published", large, network), normality)
    results["published_teacher_positions_per_s"] = _rate(scorer, few)
    results["student_against_published_teacher"] = (
        results["student_positions_per_s"] / results["published_teacher_positions_per_s"]
    )
    results["student_against_one_at_a_time"] = _against_alone(taught, trips)
    assert isinstance(taught, StudentJudge)
    results["running_turns_per_s"] = _running_rate(taught, normality, trips)
    return results


def _rate(scorer: JudgeScorer, trips: Trips) -> float:
    scores = scorer.scores(trips)
    return scores.positions / scores.seconds


def _against_alone(judge: Judge, trips: Trips) -> float:
    few = trips.select(np.arange(min(ALONE, len(trips))))
    start = time.perf_counter()
    judge.surprises(few)
    middle = time.perf_counter()
    for number in range(len(few)):
        judge.surprises(few.select(np.array([number])))
    return (time.perf_counter() - middle) / (middle - start)


def _repeated(trips: Trips, times: int) -> Trips:
    return Trips.from_lengths(
        np.tile(trips.road_ids, times), np.tile(trips.times, times), np.tile(trips.lengths, times)
    )


def _running_rate(judge: StudentJudge, normality: Normality, trips: Trips) -> float:
    """Turns a second of trips that all run at the same time."""
    reader = StudentReader(judge.model, judge.network)
    running = RunningScores.of(reader, judge, normality)
    few = trips.select(np.arange(min(512, len(trips))))
    keys = np.arange(len(few))
    origin, destination = few.origin.astype(np.int64), few.destination.astype(np.int64)
    start = time.perf_counter()
    running.begin(keys, origin, destination, few.start_time)
    turns = 0
    for place in range(1, int(few.lengths.max())):
        going = np.flatnonzero(few.lengths > place)
        at = few.offsets[going] + place
        running.turn(keys[going], few.road_ids[at].astype(np.int64), few.times[at])
        turns += len(going)
    return turns / (time.perf_counter() - start)


def _student(folder: Path, network: RoadNetwork, scratch: Path) -> Path:
    torch.manual_seed(0)
    config = Config(data_dir=str(folder))
    path = scratch / "student.pth"
    model = HOSER(config, network)
    torch.save({"model": model.state_dict(), "config": config.model_dump()}, path)
    return path


if __name__ == "__main__":
    main()
