"""From models and trips to calibrated scores: the middle of the scoring, without files.

Three aspects of a trip: its route, its times, and both together. A model's level of an aspect is
−log of the share of comparable normal trips that are more surprising, so levels of different
models, lengths and aspects mean the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from critics.scoring.calibration import Calibration, percentile
from critics.scoring.judges import Judge
from critics.scoring.pace import UsualTimes
from critics.scoring.statistics import RouteSurprise, route_surprise, time_surprise, ways_on
from critics.scoring.trips import (
    OD_CELL_DEGREES,
    OdSupport,
    Surroundings,
    position_offsets,
    spans,
)
from critics.scoring.yardsticks import UsualDuration, detour_ratio
from data.road_network import RoadNetwork
from metrics.trips import Trips

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Aspect = Literal["route", "time", "both"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)
TRIPS_AT_ONCE, POSITIONS_AT_ONCE = 8192, 1 << 18
Raw = dict[Aspect, list[FloatArray]]  # numbers [n] of each trip, by the aspect they speak of


@dataclass(frozen=True)
class AspectScores:
    """One aspect of each trip, as a model sees it. All [n]."""

    raw: FloatArray  # before the last calibration
    level: FloatArray

    @property
    def percentile(self) -> FloatArray:
        """The share of comparable normal trips that are less surprising."""
        return percentile(self.level)

    def of(self, trips: NDArray[np.bool_] | IntArray) -> AspectScores:
        """Those of some of the trips."""
        return AspectScores(self.raw[trips], self.level[trips])

    def alarms(self, rate: float) -> NDArray[np.bool_]:
        """The trips more surprising than all but a share `rate` of normal ones."""
        return self.level > threshold(rate)


def threshold(alarm_rate: float) -> float:
    """The level that a share `alarm_rate` of normal trips exceeds."""
    return float(-np.log(alarm_rate))


@dataclass(frozen=True)
class ModelScores:
    """What one model says of the trips."""

    name: str
    aspects: dict[Aspect, AspectScores]
    route: RouteSurprise | None  # None for yardsticks, which know no positions
    judge: Judge | None  # None for yardsticks: asked again about the positions that are shown
    seconds: float  # that scoring took, fitting not counted
    positions: int
    is_perplexity: bool = False  # `raw` is LM-TAD's measure, which the published rule reads

    @property
    def overall(self) -> AspectScores:
        """Route and times together where the model knows both, else the route."""
        return self.aspects.get("both", self.aspects["route"])


@dataclass(frozen=True)
class Normality:
    """What scoring knows of normal trips, beside the models: computed once for all of them."""

    network: RoadNetwork
    support: OdSupport
    usual: UsualTimes
    duration: UsualDuration
    val: Trips

    @classmethod
    def of(cls, network: RoadNetwork, train: Trips, val: Trips) -> Normality:
        """From the training and the validation trips."""
        support = OdSupport(train, network, OD_CELL_DEGREES)
        usual = UsualTimes.of(train, network)
        return cls(network, support, usual, UsualDuration(train, usual, support), val)


class Scorer(Protocol):
    """Anything that gives trips scores."""

    name: str

    def scores(self, trips: Trips) -> ModelScores:
        """Levels of the aspects that it knows about."""
        ...


class _Calibrated:
    """The levels of the aspects, each from one or more raw numbers, fitted on normal trips.

    Numbers of an aspect are made comparable first and then added, since small shares multiply
    (Fisher's method); the sum is calibrated again, for they are not independent. `both` adds the
    levels of route and times in the same way.
    """

    def __init__(self, raw: Raw, around: Surroundings) -> None:
        self._of_part = {
            aspect: [Calibration.fit(values, around) for values in parts]
            for aspect, parts in raw.items()
        }
        self._of_sum: dict[Aspect, Calibration] = {}
        for aspect in raw:
            self._of_sum[aspect] = Calibration.fit(self._sum(aspect, raw, around), around)
        if len(raw) > 1:
            both = _added(self._of_aspects(raw, around))
            self._of_sum["both"] = Calibration.fit(both, around)

    def __call__(self, raw: Raw, around: Surroundings) -> dict[Aspect, AspectScores]:
        """The scores of all aspects."""
        scores = self._of_aspects(raw, around)
        if len(raw) > 1:
            both = _added(scores)
            scores["both"] = AspectScores(both, self._of_sum["both"].level(both, around))
        return scores

    def _sum(self, aspect: Aspect, raw: Raw, around: Surroundings) -> FloatArray:
        fitted = zip(self._of_part[aspect], raw[aspect], strict=True)
        return np.sum([part.level(values, around) for part, values in fitted], axis=0)

    def _of_aspects(self, raw: Raw, around: Surroundings) -> dict[Aspect, AspectScores]:
        """The scores of each aspect by itself."""
        sums = {aspect: self._sum(aspect, raw, around) for aspect in raw}
        levels = {aspect: self._of_sum[aspect].level(sums[aspect], around) for aspect in raw}
        # Without a single decision or impossible turn there is nothing to be surprised about.
        undecided = (around.decisions == 0) & (raw["route"][0] == 0.0)
        levels["route"] = np.where(undecided, 0.0, levels["route"])
        return {aspect: AspectScores(sums[aspect], levels[aspect]) for aspect in raw}


def _added(scores: dict[Aspect, AspectScores]) -> FloatArray:
    return np.sum([each.level for each in scores.values()], axis=0)


class JudgeScorer:
    """A judge of positions, calibrated on the validation trips."""

    def __init__(self, judge: Judge, normality: Normality) -> None:
        self.name, self.judge, self.normality = judge.name, judge, normality
        around = normality.support.surroundings(normality.val)
        self._calibrated = _Calibrated(self._raw(normality.val)[0], around)

    def scores(self, trips: Trips) -> ModelScores:
        started = time.perf_counter()
        raw, route = self._raw(trips)
        aspects = self._calibrated(raw, self.normality.support.surroundings(trips))
        elapsed = time.perf_counter() - started
        positions = int(position_offsets(trips)[-1])
        return ModelScores(self.name, aspects, route, self.judge, elapsed, positions)

    def _raw(self, trips: Trips) -> tuple[Raw, RouteSurprise]:
        """Numbers of each trip; what the judge says of positions is not kept."""
        pieces = spans(position_offsets(trips), TRIPS_AT_ONCE, POSITIONS_AT_ONCE)
        raws, routes = zip(
            *(self._raw_of_some(trips.select(np.arange(*piece))) for piece in pieces)
        )
        raw: Raw = {
            aspect: [np.concatenate(values) for values in zip(*(each[aspect] for each in raws))]
            for aspect in raws[0]
        }
        return raw, RouteSurprise.joined(routes)

    def _raw_of_some(self, trips: Trips) -> tuple[Raw, RouteSurprise]:
        found = self.judge.surprises(trips)
        offsets = position_offsets(trips)
        route = route_surprise(found, offsets, ways_on(trips, self.normality.network.out_degree))
        raw: Raw = {"route": [route.total, route.stretch]}
        if found.times is not None:
            times = time_surprise(found.times, offsets)
            raw["time"] = [times.per_road, times.stretch, times.drift]
        return raw, route


class YardstickScorer:
    """Detour ratio and usual duration, calibrated like the models."""

    name = "detour and usual duration"

    def __init__(self, normality: Normality) -> None:
        self.normality = normality
        around = normality.support.surroundings(normality.val)
        self._calibrated = _Calibrated(self._raw(normality.val), around)

    def scores(self, trips: Trips) -> ModelScores:
        started = time.perf_counter()
        aspects = self._calibrated(self._raw(trips), self.normality.support.surroundings(trips))
        elapsed = time.perf_counter() - started
        positions = int(position_offsets(trips)[-1])
        return ModelScores(self.name, aspects, None, None, elapsed, positions)

    def _raw(self, trips: Trips) -> Raw:
        return {
            "route": [detour_ratio(trips, self.normality.network)],
            "time": [self.normality.duration.unusualness(trips)],
        }
