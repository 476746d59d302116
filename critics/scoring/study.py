"""How well each model finds each kind of anomaly: tables of a scoring with known answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from critics.scoring.anomalies import Injected
from critics.scoring.detection import (
    Detection,
    Draws,
    PairedAuc,
    PublishedRule,
    compare_auc,
    detect,
    published_rule,
)
from critics.scoring.scores import (
    ASPECTS,
    Aspect,
    AspectScores,
    ModelScores,
    Normality,
    Scorer,
    threshold,
)
from metrics.trips import Trips
from runtime.logs import get_logger

logger = get_logger("scores")

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_MIN_TRIPS = 5  # of each side; fewer say nothing


@dataclass(frozen=True)
class LabelledTrips:
    """Anomalous trips of one kind, and the scored trips that are normal beside them."""

    kind: str
    severity: float | None
    trips: Trips | None  # None: they are among the scored trips, at `places`
    places: IntArray  # scored trips that are not normal here
    others: IntArray  # scored trips that are anomalous in another way

    @property
    def name(self) -> str:
        """Kind and severity as the log and tables call them."""
        return self.kind if self.severity is None else f"{self.kind} {self.severity:g}"

    @classmethod
    def injected(cls, injected: Injected) -> LabelledTrips:
        """Changed copies; their originals do not stand beside them."""
        none = np.zeros(0, dtype=np.int64)
        return cls(injected.kind, injected.severity, injected.trips, injected.source, none)

    @classmethod
    def of_label(cls, kind: str, labels: NDArray[np.str_]) -> LabelledTrips:
        """The scored trips with one of the user's labels."""
        chosen = np.flatnonzero(labels == kind)
        return cls(kind, None, None, chosen, np.flatnonzero((labels != kind) & (labels != "")))


@dataclass(frozen=True)
class Study:
    """All models on one kind, severity and part of the OD pairs, in one aspect."""

    kind: str
    severity: float | None
    ods: str  # "all", "seen", "unseen"
    aspect: Aspect
    models: dict[str, Detection]
    against_first: dict[str, PairedAuc]  # of each further model less the first's AUC
    published: dict[str, PublishedRule]  # of the perplexities among the models


def run_study(
    scorers: Sequence[Scorer],
    found: dict[str, ModelScores],
    trips: Trips,
    labelled: Sequence[LabelledTrips],
    normality: Normality,
    alarm_rate: float,
    seed: int = 0,
) -> list[Study]:
    """Scores the anomalies and holds them against the normal trips, for all and for parts."""
    studies: list[Study] = []
    for number, one in enumerate(labelled):
        anomalous = trips.select(one.places) if one.trips is None else one.trips
        scores = _anomalous_scores(scorers, found, anomalous, one)
        normal = np.ones(len(trips), dtype=bool)
        normal[one.places] = normal[one.others] = False
        seen_normal = normality.support.of(trips) > 0
        seen_anomalous = normality.support.of(anomalous) > 0
        for ods, beside, chosen in (
            ("all", normal, np.ones(len(anomalous), dtype=bool)),
            ("seen", normal & seen_normal, seen_anomalous),
            ("unseen", normal & ~seen_normal, ~seen_anomalous),
        ):
            if min(beside.sum(), chosen.sum()) < _MIN_TRIPS:
                if ods == "all":  # parts of the OD pairs may well be empty
                    _say_too_few(one, int(beside.sum()), int(chosen.sum()))
                continue
            draws = Draws.of(int(beside.sum()), int(chosen.sum()), seed + number)
            for aspect in ASPECTS:
                study = _one(one, ods, aspect, found, scores, beside, chosen, draws, alarm_rate)
                if study is not None:
                    studies.append(study)
    return studies


def _say_too_few(one: LabelledTrips, normal: int, anomalous: int) -> None:
    logger.warning(
        "How well %s is found is not measured: there are %d such trips and %d normal ones; each "
        "side needs %d. Score more trips.",
        one.name,
        anomalous,
        normal,
        _MIN_TRIPS,
    )


def _anomalous_scores(
    scorers: Sequence[Scorer], found: dict[str, ModelScores], trips: Trips, one: LabelledTrips
) -> dict[str, dict[Aspect, AspectScores]]:
    if one.trips is None:
        return {
            name: {aspect: values.of(one.places) for aspect, values in each.aspects.items()}
            for name, each in found.items()
        }
    return {scorer.name: scorer.scores(trips).aspects for scorer in scorers}


def _one(
    one: LabelledTrips,
    ods: str,
    aspect: Aspect,
    found: dict[str, ModelScores],
    scores: dict[str, dict[Aspect, AspectScores]],
    beside: BoolArray,
    chosen: BoolArray,
    draws: Draws,
    alarm_rate: float,
) -> Study | None:
    sides = {
        name: (found[name].aspects[aspect].of(beside), aspects[aspect].of(chosen))
        for name, aspects in scores.items()
        if aspect in aspects
    }
    if not sides:
        return None
    pairs = {name: (normal.level, anomalous.level) for name, (normal, anomalous) in sides.items()}
    limit = threshold(alarm_rate)
    first, *others = pairs
    return Study(
        kind=one.kind,
        severity=one.severity,
        ods=ods,
        aspect=aspect,
        models={name: detect(*pair, limit, draws) for name, pair in pairs.items()},
        against_first={name: compare_auc(pairs[first], pairs[name], draws) for name in others},
        published={
            name: published_rule(normal.raw, anomalous.raw)
            for name, (normal, anomalous) in sides.items()
            if found[name].is_perplexity
        },
    )
