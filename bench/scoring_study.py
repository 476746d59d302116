"""Does distillation pass on what a teacher knows of strange trips?

python -m bench.scoring_study --folder study [--data_dir DIR --teacher FILE] [--seeds 5] [--quick]

On a demo city (or a folder with a teacher of its own) students are trained with and without the
teacher, of the same trips, steps and seeds. All score the test trips, and anomalies of every kind
and strength among them. The folder keeps city, teacher and students; `scoring_study.md` in it has
ROC-AUC by model, kind, strength and support of the OD pair, and the answer, paired over the seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench._common import machine, print_table
from bench.score_tables import ASPECT_OF, Case, Groups, of_group, tested
from bench.study_students import ARMS, Student, Training, files_of, make_students, make_teacher
from critics.scoring import ScoreRequest, ScoreResult, score
from critics.scoring.anomalies import KINDS
from critics.scoring.opening import unique_names
from data.demo_city import DemoCitySettings, make_demo_city
from data.preprocess import ensure_zones
from metrics.groups import GroupComparison
from report.score_groups import HEADER_END, score_groups
from report.tables import markdown_table
from runtime.files import atomic_write_text, write_json
from runtime.logs import setup_logging

# Few validation trips, because every epoch ends with them; many test trips, for the figures.
CITY = DemoCitySettings(num_roads=1500, num_trips=13_000, val=1000, test=4000)
QUICK_CITY = DemoCitySettings(num_roads=300, num_trips=900, val=150, test=450)
SUBTLE = (("detour", 0.1), ("detour", 0.25), ("switch", 0.3), ("switch", 0.6), ("switch", 1.0))
CLOSE = 0.01  # AUC within which a student is as good as its teacher


def main() -> None:
    """Trains what is missing, scores, and writes table and answer."""
    options = _options()
    setup_logging("WARNING")
    folder: Path = options.folder
    city = options.data_dir or folder / "city"
    if options.data_dir is None:
        settings = QUICK_CITY if options.quick else CITY
        make_demo_city(city, settings=settings, progress=False)
    ensure_zones(city, 60 if options.data_dir is None else 300)
    teacher = options.teacher or folder / "teacher.pt"
    make_teacher(city, teacher)
    training = Training(options.max_train_trips, options.epochs, options.replayed, options.seeds)
    if options.quick:
        training = Training(trips=100, epochs=1, replayed=100, seeds=2)
    students = make_students(city, [teacher], folder / "students", training, options.processes)
    result = score(
        ScoreRequest(
            models=[teacher, *files_of(students, folder / "students")],
            data_dir=city,
            inject=KINDS,
            max_trips=options.max_trips,
        )
    )
    _write(folder, result, _compared(result, students), training)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--folder", type=Path, default=Path("scoring_study"))
    add("--data_dir", type=Path, help="a folder in HOSER's format: no demo city")
    add("--teacher", type=Path, help="its teacher; default: trained on all training trips")
    add("--seeds", type=int, default=Training.seeds)
    add("--epochs", type=int, default=Training.epochs, help="of every student")
    add("--max_train_trips", type=int, default=Training.trips, help="that every student sees")
    add(
        "--replayed",
        type=int,
        default=Training.replayed,
        help="further ones in all, by the teacher",
    )
    add("--max_trips", type=int, help="score only the first N test trips")
    add("--processes", type=int, default=2, help="students trained side by side")
    add("--quick", action="store_true", help="small sizes, for a try")
    return parser.parse_args()


def _compared(result: ScoreResult, students: list[Student]) -> GroupComparison:
    """The two groups over their seeds; the other models stand beside them."""
    names = unique_names([Path(model) for model in result.request.models])[1:]
    members: dict[str, dict[str, str]] = {arm: {} for arm in ARMS}
    for student, name in zip(students, names, strict=True):
        members[student.arm][str(student.seed)] = name
    asked = [study for study in result.studies if study.aspect == ASPECT_OF[study.kind]]
    return score_groups(asked, members, list(result.models))


def _cases(result: ScoreResult) -> list[Case]:
    found = [
        Case(study.kind, study.severity, study.aspect)
        for study in result.studies
        if study.aspect == ASPECT_OF[study.kind]
    ]
    return list(dict.fromkeys(found))


def _write(
    folder: Path, result: ScoreResult, comparison: GroupComparison, training: Training
) -> None:
    cases = _cases(result)
    groups = comparison.to_json()
    header, rows = _table(groups, cases)
    answer = _answer(result, comparison, cases)
    print_table("ROC-AUC: all OD pairs (seen / unseen ones)", header, rows)
    print("\n" + "\n".join(f"- {line}" for line in answer))
    text = f"{markdown_table(rows, header)}\n\n" + "".join(f"- {line}\n" for line in answer)
    atomic_write_text(folder / "scoring_study.md", text)
    plain: dict[str, Any] = {
        "machine": machine(),
        "training": asdict(training),
        "trips": len(result.trips),
        "positions_per_second": {name: _rate(result, name) for name in result.models},
        "answer": answer,
        "groups": groups,
    }
    write_json(folder / "scoring_study.json", plain)


def _table(groups: Groups, cases: list[Case]) -> tuple[list[str], list[list[str]]]:
    header = ["anomaly", *groups["groups"], "distilled − vanilla", *HEADER_END[1:]]
    rows = [
        [
            case.title,
            *(of_group(groups, name, case) for name in groups["groups"]),
            *tested(groups, "vanilla", "distilled", case),
        ]
        for case in cases
    ]
    return header, rows


def _rate(result: ScoreResult, name: str) -> float:
    scores = result.models[name]
    return scores.positions / max(scores.seconds, 1e-9)


def _answer(result: ScoreResult, comparison: GroupComparison, cases: list[Case]) -> list[str]:
    """What the figures say, in sentences; every number in them is computed here."""
    tests = {case: comparison.test("vanilla", "distilled", case.measure("all")) for case in cases}
    known = {case: test for case, test in tests.items() if test is not None}
    subtle = {case: test for case, test in known.items() if (case.kind, case.severity) in SUBTLE}
    better = [test for test in subtle.values() if test.difference > 0 and (test.t_p or 1) < 0.05]
    lines = [
        f"Switches and detours up to 25 %: the distilled students are above the vanilla ones "
        f"(p < 0.05, paired over seeds) in {len(better)} of {len(subtle)} cases; the mean "
        f"difference is {np.mean([t.difference for t in subtle.values()]):+.3f}."
    ]
    teacher = next(iter(result.models))
    gaps = {}
    for case in known:
        own, taught = (
            comparison.summary(name, case.measure("all")) for name in ("distilled", teacher)
        )
        if own is not None and taught is not None:
            gaps[case] = own.mean - taught.mean
    close = sum(gap >= -CLOSE for gap in gaps.values())
    widest = min(gaps, key=lambda case: gaps[case])
    lines.append(
        f"Beside the teacher: no more than {CLOSE} AUC below it in {close} of {len(gaps)} cases; "
        f"the widest gap is {gaps[widest]:+.3f} ({widest.title}), the mean "
        f"{np.mean(list(gaps.values())):+.3f}."
    )
    students = [name for name in result.models if name.endswith("distilled")]
    rates = _rate(result, teacher), float(np.median([_rate(result, name) for name in students]))
    lines.append(
        f"Cost: the teacher reads {rates[0]:,.0f} positions a second, a student {rates[1]:,.0f} "
        f"({rates[1] / rates[0]:.1f} times as many)."
    )
    return lines


if __name__ == "__main__":
    main()
