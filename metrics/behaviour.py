"""Whether generated trips behave like drivers of this city: detours, times, traffic, coverage.

Everything is held against what is usual in the training trips (`metrics.usual`), never against
the trips that a model is measured on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.trips import Trips
from metrics.usual import TripFacts, Usual

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Ratios:
    """Each trip against the usual; NaN where there is nothing to compare with. [n] each"""

    detour: FloatArray
    duration: FloatArray
    speed: FloatArray

    def beyond(self, usual: Usual) -> dict[str, FloatArray]:
        """1 for trips beyond 95 of 100 training trips, 0 for others, by ratio."""
        limits = usual.limits
        return {
            "detour": _beyond(self.detour, limits.detour),
            "duration": _beyond(self.duration, limits.duration_ratio),
            "speed": _beyond(self.speed, limits.speed_ratio),
        }


@dataclass(frozen=True)
class RoadClass:
    """Traffic of one kind of road, in roads entered by 1,000 trips."""

    name: str
    roads: int
    real: float
    generated: float
    correlation: float | None  # of its roads' traffic

    @property
    def relative_error(self) -> float | None:
        """How much more (above 0) or less traffic than in the training trips."""
        return (self.generated - self.real) / self.real if self.real else None


@dataclass(frozen=True)
class Behaviour:
    """How a set of trips behaves."""

    ratios: Ratios
    beyond: dict[str, FloatArray]
    answered: dict[str, float]  # level of the usual -> share of the trips it answers for
    traffic_correlation: float | None
    traffic_error: float | None
    traffic_covered: float
    od_covered: float
    classes: list[RoadClass]

    def to_json(self) -> dict[str, Any]:
        """The details that are not measures of their own."""
        return {
            "usual_from": self.answered,
            "road_classes": [
                {**each.__dict__, "relative_error": each.relative_error} for each in self.classes
            ],
        }


def behave(trips: Trips, usual: Usual) -> Behaviour:
    """Holds trips against what is usual."""
    network = usual.network
    facts, expected = TripFacts.of(trips, network), usual.expected(trips)
    ratios = Ratios(
        usual.detour(trips), facts.seconds / expected.seconds, facts.speed / expected.speed
    )
    traffic = np.bincount(trips.road_ids, minlength=network.num_roads)
    real, generated = usual.traffic / len(usual.trips), traffic / max(len(trips), 1)
    total = real.sum()
    return Behaviour(
        ratios=ratios,
        beyond=ratios.beyond(usual),
        answered={
            level.name: float((expected.level == number).mean())
            for number, level in enumerate(usual.levels)
        },
        traffic_correlation=_correlation(real, generated),
        traffic_error=float(np.abs(generated - real).sum() / total) if total else None,
        traffic_covered=float(real[traffic > 0].sum() / total) if total else 0.0,
        od_covered=_od_covered(trips, usual),
        classes=_classes(real, generated, usual),
    )


def _beyond(ratio: FloatArray, limit: float) -> FloatArray:
    return np.where(np.isnan(ratio), np.nan, (ratio > limit).astype(np.float64))


def _correlation(first: FloatArray, second: FloatArray) -> float | None:
    if len(first) < 2 or not first.std() or not second.std():
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _od_covered(trips: Trips, usual: Usual) -> float:
    """The share of training trips whose coarse origin and destination occur among `trips`."""
    real = usual.grid.od_key(usual.trips)
    return float(np.isin(real, usual.grid.od_key(trips)).mean())


def _classes(real: FloatArray, generated: FloatArray, usual: Usual) -> list[RoadClass]:
    kind, names = usual.network.road_attr_type, usual.network.type_names
    found = []
    for number, name in enumerate(names):
        of_kind = kind == number
        found.append(
            RoadClass(
                name=str(name),
                roads=int(of_kind.sum()),
                real=float(1000 * real[of_kind].sum()),
                generated=float(1000 * generated[of_kind].sum()),
                correlation=_correlation(real[of_kind], generated[of_kind]),
            )
        )
    return sorted(found, key=lambda each: -each.real)
