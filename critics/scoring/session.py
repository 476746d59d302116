"""`score`: from a request to scored trips, and to how well anomalies are found.

The parts are elsewhere: models in `opening` and `judges`, normality in `scores`, anomalies in
`anomalies`, their detection in `study`. Files are `output`'s business.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from config.choices import OnBadRows, Window
from config.generation import CostsName, check_choice
from config.schema import Config
from critics.road_teacher import LMTADRoadTeacher
from critics.scoring.anomalies import KINDS, AnomalyKind, Injector
from critics.scoring.judges import Judge, StudentJudge, TeacherJudge, TransitionJudge
from critics.scoring.opening import open_judge, unique_names
from critics.scoring.perplexity import PerplexityScorer
from critics.scoring.scores import JudgeScorer, ModelScores, Normality, Scorer, YardstickScorer
from critics.scoring.study import LabelledTrips, Study, run_study
from critics.scoring.trips import Surroundings, as_trips
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from metrics.generated import is_generated, read_generated
from metrics.trips import Trips, read_real_trips
from runtime.errors import UserError
from runtime.files import sha256_of_file, sha256_of_json
from runtime.inputs import UNKNOWN, Inputs
from runtime.logs import get_logger

logger = get_logger("scores")


@dataclass(frozen=True)
class ScoreRequest:
    """Which trips are to be scored, by which models, and what is asked of the scores."""

    models: Sequence[str | Path]
    data_dir: str | Path
    split: str = "test"
    trips_file: str | Path | None = None  # in the dataset's or in a generated file's format
    inject: Sequence[AnomalyKind] = ()
    labels: str | Path | None = None  # one row for each trip, with a column `label`
    alarm_rate: float = 0.05
    window: Window = "full"  # how much of a trip a teacher reads
    costs: CostsName = "given"  # fitted: what students know is weighed against the way
    yardsticks: bool = True
    max_trips: int | None = None
    seed: int = 0
    device: str = "cpu"
    on_bad_rows: OnBadRows = "error"

    def check(self) -> None:
        """Raises `UserError` for what cannot be."""
        if not 0 < self.alarm_rate < 1:
            raise UserError(f"The alarm rate is {self.alarm_rate}; it must be between 0 and 1.")
        check_choice("costs", self.costs, get_args(CostsName))
        unknown = sorted(set(self.inject) - set(KINDS))
        if unknown:
            raise UserError(f"No anomaly is called {unknown[0]!r}; known: {', '.join(KINDS)}.")
        if self.max_trips is not None and self.max_trips < 1:
            raise UserError(f"The number of trips is {self.max_trips}; it must be at least 1.")
        if not self.models and not self.yardsticks:
            raise UserError("There is nothing to score with: name at least one model.")


@dataclass(frozen=True)
class ScoreResult:
    """Scores of every model, and what they were asked for."""

    request: ScoreRequest
    network: RoadNetwork
    trips: Trips
    around: Surroundings
    models: dict[str, ModelScores]
    labels: NDArray[np.str_] | None  # [n], empty for normal trips
    studies: list[Study] = field(default_factory=list)
    inputs: Inputs = UNKNOWN
    student: StudentJudge | None = None  # the first among the models


def score(request: ScoreRequest) -> ScoreResult:
    """Scores the trips with every model; with anomalies, measures how well each is found."""
    request.check()
    scoring = Scoring(request)
    trips, labels = scoring.trips()
    scorers = scoring.scorers()
    found = {scorer.name: scorer.scores(trips) for scorer in scorers}
    for scores in found.values():
        rate = scores.positions / max(scores.seconds, 1e-9)
        logger.info("%s scored %d trips, %.0f positions a second.", scores.name, len(trips), rate)
    labelled = scoring.labelled(trips, labels)
    studies = run_study(scorers, found, trips, labelled, scoring.normality, request.alarm_rate)
    around = scoring.normality.support.surroundings(trips)
    judges = (scorer.judge for scorer in scorers if isinstance(scorer, JudgeScorer))
    student = next((judge for judge in judges if isinstance(judge, StudentJudge)), None)
    return ScoreResult(
        request, scoring.network, trips, around, found, labels, studies, scoring.inputs(), student
    )


class Scoring:
    """The pieces of a request, opened one after the other."""

    def __init__(self, request: ScoreRequest) -> None:
        self.request = request
        folder = Path(request.data_dir)
        self.network = RoadNetwork.load(folder)
        if self.network.zones is None:
            ensure_zones(folder, Config().data.num_zones, on_bad_rows=request.on_bad_rows)
            self.network = RoadNetwork.load(folder)
        self.train, self.val = (
            TripDataset.load(folder, split, self.network, on_bad_rows=request.on_bad_rows)
            for split in ("train", "val")
        )
        self.normality = Normality.of(self.network, as_trips(self.train), as_trips(self.val))

    def inputs(self) -> Inputs:
        """What the scores are made from."""
        request = self.request
        files = [sha256_of_file(path) for path in request.models]
        given = request.trips_file
        return Inputs(
            network=self.network.content_hash,
            zones=self.network.require_zones().content_hash,
            train=self.train.source_hash,
            val=self.val.source_hash,
            trips_file=None if given is None else sha256_of_file(given),
            model=sha256_of_json(files),
        )

    def scorers(self) -> list[Scorer]:
        """All models, calibrated on the validation trips, and the yardsticks."""
        request = self.request
        paths = [Path(path) for path in request.models]
        config = Config(data_dir=str(request.data_dir))
        config.data.on_bad_rows = request.on_bad_rows
        device = torch.device(request.device)
        scorers: list[Scorer] = []
        for path, name in zip(paths, unique_names(paths) if paths else [], strict=True):
            judge = open_judge(
                path, name, config, self.network, request.window, device, request.costs
            )
            scorers.append(JudgeScorer(judge, self.normality))
            if request.yardsticks and (teacher := _knows_vocabulary(judge)):
                scorers.append(PerplexityScorer(name, teacher, self.normality.val))
        if request.yardsticks:
            scorers.append(JudgeScorer(TransitionJudge(self.train), self.normality))
            scorers.append(YardstickScorer(self.normality))
        return scorers

    def trips(self) -> tuple[Trips, NDArray[np.str_] | None]:
        """The trips to be scored, and their labels where there are any."""
        request = self.request
        if request.trips_file is None:
            trips = read_real_trips(
                request.data_dir, request.split, self.network, request.on_bad_rows
            )
        else:
            trips = read_any_trips(Path(request.trips_file), self.network, request.on_bad_rows)
        labels = None
        if request.labels is not None:
            labels = read_labels(Path(request.labels), len(trips))
        if request.max_trips is not None and request.max_trips < len(trips):
            trips = trips.select(np.arange(request.max_trips))
            labels = labels[: request.max_trips] if labels is not None else None
        return trips, labels

    def labelled(self, trips: Trips, labels: NDArray[np.str_] | None) -> list[LabelledTrips]:
        """The anomalies of the request: injected ones, and trips labelled by the user."""
        request, found = self.request, []
        if request.inject:
            injector = Injector(self.network, self.normality.usual, request.seed)
            normal = trips if labels is None else trips.select(labels == "")
            if labels is not None:
                raise UserError("Give either --inject or --labels, not both.")
            for injected in injector.inject(normal, request.inject):
                wanted = len(injected.trips)
                logger.info("%d trips with %s %g.", wanted, injected.kind, injected.severity)
                if wanted:
                    found.append(LabelledTrips.injected(injected))
        if labels is not None:
            for kind in sorted(set(labels.tolist()) - {""}):
                found.append(LabelledTrips.of_label(kind, labels))
        return found


def _knows_vocabulary(judge: Judge) -> LMTADRoadTeacher | None:
    """An LM-TAD that was trained on the whole vocabulary, as its perplexity supposes."""
    teacher = judge.teacher if isinstance(judge, TeacherJudge) else None
    if not isinstance(teacher, LMTADRoadTeacher):
        return None
    trained_on = teacher.teacher.dataset_config.get("loss", "vocabulary")
    return teacher if trained_on == "vocabulary" else None


def read_any_trips(path: Path, network: RoadNetwork, on_bad_rows: OnBadRows = "error") -> Trips:
    """Trips of a file in the dataset's format or in that of generated trips."""
    from data.trip_csv import BadRows, read_trips

    if not path.is_file():
        raise UserError(f"The file of trips {path} does not exist.")
    if is_generated(path):
        return read_generated(path, network, on_bad_rows).trips
    bad_rows = BadRows()
    chunks = list(read_trips(path, network, on_bad_rows, bad_rows))
    bad_rows.log(path)
    if not sum(len(chunk.lengths) for chunk in chunks):
        raise UserError(f"{path} has no usable trips.")
    return Trips.from_lengths(
        np.concatenate([chunk.road_ids for chunk in chunks]),
        np.concatenate([chunk.times for chunk in chunks]),
        np.concatenate([chunk.lengths for chunk in chunks]),
    )


def read_labels(path: Path, num_trips: int) -> NDArray[np.str_]:
    """One label for each trip, in their order: empty, 0 or `normal` is normal. [n]"""
    labels = _label_column(path)
    while len(labels) > num_trips and not labels[-1]:
        labels.pop()  # blank lines at the end
    if any("\0" in label for label in labels):
        raise UserError(f"The labels {path} hold NUL bytes; the file is damaged.")
    if len(labels) != num_trips:
        raise UserError(
            f"{path} has {len(labels)} labels for {num_trips} trips; one each is needed."
        )
    normal = ("0", "normal", "false", "False")
    named = {"1": "anomaly", "true": "anomaly", "True": "anomaly"}
    return np.array(["" if label in normal else named.get(label, label) for label in labels])


def _label_column(path: Path) -> list[str]:
    """The labels as they are written."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            # Where labels stand alone, a blank line is an empty one.
            found = [row or [""] for row in rows if row or len(header) == 1]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The labels {path} cannot be read: {error}.") from error
    if "label" not in header:
        raise UserError(f"{path} has no column `label`.")
    place = header.index("label")
    for number, row in enumerate(found, 1):
        if len(row) <= place:
            raise UserError(f"{path}: row {number} ends before its label; an empty one is normal.")
    return [row[place].strip() for row in found]
