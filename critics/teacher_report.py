"""How good a teacher is, before anyone distils from it.

Its choice among the candidates of validation trips, for several windows, beside yardsticks:
the most frequent transition in train, with and without knowing the way, and the ceiling that
roads sharing a token impose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from config.choices import Window
from critics.most_frequent import MostFrequent
from critics.road_teacher import LMTADRoadTeacher, RoadTeacher
from critics.teachers import JointRoadTeacher
from critics.way import Way
from critics.way_fitting import fit_way
from data.choices import Choices
from data.laid_out import here_and_taken
from dataset import TripDataset
from runtime.errors import UserError
from ways.likelihood import Opinion, whole_opinion

WINDOWS: tuple[Window, ...] = (2, 4, 8, "full")
CALIBRATION_BINS = 15
TRIPS_AT_ONCE = 500
TRIPS_TO_FIT = 300  # what a yardstick pays for a detour
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class ReportRow:
    """One way to choose the next road, measured."""

    name: str
    accuracy: float  # over all positions; a draw between k candidates counts 1/k
    accuracy_at_choices: float  # over the positions with at least two candidates
    nll: float  # mean negative log-likelihood, nats
    ece: float  # expected calibration error of the choice


@dataclass(frozen=True)
class TeacherReport:
    """The rows of the table and what they were measured on."""

    rows: list[ReportRow]
    num_trips: int
    num_positions: int
    split: str

    def table(self) -> str:
        """The report as text, a line a row."""
        width = max(len(row.name) for row in self.rows)
        lines = [
            f"Choice of the next road on {self.num_trips} {self.split} trips "
            f"({self.num_positions} positions):",
            f"  {'':{width}}  accuracy  at choices     NLL     ECE",
        ]
        lines += [
            f"  {row.name:{width}}    {row.accuracy:6.4f}      {row.accuracy_at_choices:6.4f}  "
            f"{row.nll:6.4f}  {row.ece:6.4f}"
            for row in self.rows
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def teacher_report(
    teacher: RoadTeacher,
    val: TripDataset,
    train: TripDataset,
    windows: Sequence[Window] = WINDOWS,
    max_trips: int = 2000,
) -> TeacherReport:
    """Measures `teacher` on at most `max_trips` trips of `val`, evenly spread."""
    trips = np.unique(np.linspace(0, len(val) - 1, min(max_trips, len(val))).astype(np.int64))
    if len(trips) == 0:
        raise UserError(f"The split {val.split} is empty; a teacher cannot be measured on it.")
    choices = Choices.of(val.network, *here_and_taken(*val.laid_out(trips)))
    variants = _variants(teacher, val, windows)
    rows = [measure_opinion(name, variant, val, trips, choices) for name, variant in variants]
    frequent = MostFrequent(train)
    frequency = frequent.logit[choices.edge]
    rows.append(_measure(frequent.name, frequency, choices))
    found = fit_way(frequent, val, train, max_trips=TRIPS_TO_FIT)
    if found is not None:
        way = Way(found.sense, val.network)
        knows = way.bend_along(torch.from_numpy(frequency), *val.laid_out(trips)).numpy()
        rows.append(_measure(f"{frequent.name}, knowing the way", knows, choices))
    rows.append(_measure("ceiling of shared tokens", _oracle(teacher, val, choices), choices))
    return TeacherReport(rows, len(trips), len(choices.count), val.split)


def measure_opinion(
    name: str, opinion: Opinion, dataset: TripDataset, trips: IntArray, choices: Choices
) -> ReportRow:
    """Measures somebody's opinion of the `choices` that some trips of a split make."""
    logits = whole_opinion(opinion, dataset, trips, TRIPS_AT_ONCE)
    return _measure(name, logits.astype(np.float64), choices)


def _variants(
    teacher: RoadTeacher, dataset: TripDataset, windows: Sequence[Window]
) -> list[tuple[str, RoadTeacher]]:
    if isinstance(teacher, JointRoadTeacher):
        alone = [(f"{each.name} {i}", each) for i, each in enumerate(teacher.members, start=1)]
        return [*alone, (teacher.name, teacher)]
    if not isinstance(teacher, LMTADRoadTeacher):
        return [(teacher.name, teacher)]
    tokens = teacher.road_to_token.cpu().numpy()
    of_windows: list[tuple[str, RoadTeacher]] = [
        (
            f"{teacher.name}, window {window}",
            LMTADRoadTeacher(teacher.teacher, tokens, dataset.network, window),
        )
        for window in windows
    ]
    knows_way = [(f"{teacher.name}, knowing the way", teacher)] if teacher.way else []
    return [*of_windows, *knows_way]


def _oracle(teacher: RoadTeacher, dataset: TripDataset, choices: Choices) -> FloatArray:
    """Logits of one who knows the next token for certain, but no more than the token."""
    target = dataset.network.reach_targets[choices.edge]
    token = target if teacher.tie_keys is None else teacher.tie_keys.cpu().numpy()[target]
    known = np.repeat(token[choices.label], choices.count)
    return np.where(token == known, 0.0, -1e9)


def _measure(name: str, logits: FloatArray, choices: Choices) -> ReportRow:
    begin, count = choices.begin, choices.count
    relative = logits - np.repeat(np.maximum.reduceat(logits, begin), count)
    weight = np.exp(relative)
    total = np.add.reduceat(weight, begin)
    is_top = relative == 0
    num_top = np.add.reduceat(is_top.astype(np.int64), begin)
    credit = is_top[choices.label] / num_top
    confidence = 1.0 / total  # the largest weight is 1
    nll = np.log(total) - relative[choices.label]
    at_choice = count > 1
    return ReportRow(
        name,
        accuracy=float(credit.mean()),
        accuracy_at_choices=float(credit[at_choice].mean()) if at_choice.any() else float("nan"),
        nll=float(nll.mean()),
        ece=expected_calibration_error(confidence, credit),
    )


def expected_calibration_error(confidence: FloatArray, correct: FloatArray) -> float:
    """The mean gap between confidence and accuracy over equally wide bins of confidence."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gap = np.bincount(bins, confidence - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(confidence))
