"""Whether generated trips give away the training trips.

Copies; how far the closest training trip is, for generated trips and for real ones that were not
trained on; and how well an attacker tells who was trained on, by the likelihood of a model or by
the closest generated trip. What a model may know of a city is no leak: the held-out real trips
are the yardstick everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.trips import Trips
from runtime.chunks import run_in_threads

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NEAR = 0.9  # of all roads of the two trips, shared


@dataclass(frozen=True)
class RoadSets:
    """The different roads of each trip."""

    roads: NDArray[np.int32]  # [S]
    offsets: IntArray  # [n + 1]

    @classmethod
    def of(cls, trips: Trips) -> RoadSets:
        """The sets of trips."""
        trip = np.repeat(np.arange(len(trips)), trips.lengths)
        key = np.unique(trip * (1 << 32) + trips.road_ids)
        sizes = np.bincount(key >> 32, minlength=len(trips))
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls((key & 0xFFFFFFFF).astype(np.int32), offsets)

    @property
    def sizes(self) -> IntArray:
        """How many roads each set has. [n]"""
        return np.diff(self.offsets)


class TripIndex:
    """Trips to be searched for the closest one."""

    def __init__(self, trips: Trips, num_roads: int) -> None:
        self.trips = trips
        sets = RoadSets.of(trips)
        owner = np.repeat(np.arange(len(trips)), sets.sizes).astype(np.int32)
        order = np.argsort(sets.roads, kind="stable")
        uses = np.bincount(sets.roads, minlength=num_roads)
        self._visitors = owner[order]
        self._visitor_offsets = np.concatenate([[0], np.cumsum(uses)]).astype(np.int64)
        self._sizes = sets.sizes
        self._sequences = set(_sequences(trips))

    def distance(self, trips: Trips, leave_out: IntArray | None = None) -> FloatArray:
        """One minus the largest Jaccard similarity with any trip of the index. [n]"""
        from metrics.leakage_kernels import closest

        sets = RoadSets.of(trips)
        similarity = np.empty(len(trips))
        none = np.full(len(trips), -1, dtype=np.int64)
        arguments = (
            sets.roads,
            sets.offsets,
            sets.sizes,
            self._visitors,
            self._visitor_offsets,
            self._sizes,
            none if leave_out is None else leave_out,
            similarity,
        )
        run_in_threads(lambda begin, end: closest(begin, end, *arguments), len(trips))
        return 1.0 - similarity

    def copies(self, trips: Trips) -> NDArray[np.bool_]:
        """Which trips take exactly the roads of one of the index. [n]"""
        return np.array([each in self._sequences for each in _sequences(trips)], dtype=bool)


def _sequences(trips: Trips) -> list[bytes]:
    return [trips.trip(i)[0].tobytes() for i in range(len(trips))]


def auc(members: FloatArray, others: FloatArray) -> float | None:
    """The chance that a member scores higher than another one; ties count half."""
    from scipy import stats

    if not len(members) or not len(others):
        return None
    rank = stats.rankdata(np.concatenate([members, others]))
    above = rank[: len(members)].sum() - len(members) * (len(members) + 1) / 2
    return float(above / (len(members) * len(others)))


@dataclass(frozen=True)
class Closeness:
    """How close trips are to the training trips."""

    exact_copies: float  # share
    near_copies: float  # share with at least NEAR of all roads in common, exact ones included
    median_distance: float
    fifth_percentile: float

    @classmethod
    def of(cls, distance: FloatArray, copied: NDArray[np.bool_]) -> Closeness:
        """The summary of each trip's distance to the closest training trip."""
        return cls(
            float(copied.mean()),
            float((distance <= 1.0 - NEAR + 1e-12).mean()),
            float(np.median(distance)),
            float(np.percentile(distance, 5)),
        )


@dataclass(frozen=True)
class Leakage:
    """What generated trips give away, beside held-out real trips."""

    generated: Closeness
    held_out: Closeness
    closer_auc: float | None  # that a generated trip is closer to training than a held-out one
    membership_auc: float | None  # by the distance to the closest generated trip
    same_od: float  # share of generated trips with the very OD pair of a training trip
    same_od_and_start: float  # and its very start time
    num_training: int  # trips that were trained on
    likelihood_auc: float | None = None  # by the model's likelihood, where there is a model

    def to_json(self) -> dict[str, Any]:
        """The findings as plain data."""
        plain = dict(self.__dict__)
        return {**plain, "generated": self.generated.__dict__, "held_out": self.held_out.__dict__}


class LeakSearch:
    """Training and held-out trips, indexed once for any number of generated files.

    The attack by distance takes as many training trips as there are held-out ones. `seen`: of the
    training trips a model has seen the first ones only.
    """

    def __init__(
        self,
        training: Trips,
        held_out: Trips,
        num_roads: int,
        seed: int = 0,
        seen: int | None = None,
    ) -> None:
        if seen is not None:
            training = training.select(np.arange(len(training))[:seen])
        self.held_out, self.num_roads = held_out, num_roads
        self._training = TripIndex(training, num_roads)
        self._held_out_distance = self._training.distance(held_out)
        self._held_out = Closeness.of(self._held_out_distance, self._training.copies(held_out))
        rng = np.random.default_rng([seed, 5])
        count = min(len(training), len(held_out))
        chosen = np.sort(rng.choice(len(training), count, replace=False))
        self._members = training.select(chosen)
        requests = _requests(training)
        self._pairs, self._requests = {each[:2] for each in requests}, set(requests)

    def leaks(self, generated: Trips) -> Leakage:
        """Holds generated trips, and the held-out ones, against the training trips."""
        distance = self._training.distance(generated)
        of_generated = TripIndex(generated, self.num_roads)
        asked = _requests(generated)
        return Leakage(
            generated=Closeness.of(distance, self._training.copies(generated)),
            held_out=self._held_out,
            closer_auc=auc(-distance, -self._held_out_distance),
            membership_auc=auc(
                -of_generated.distance(self._members), -of_generated.distance(self.held_out)
            ),
            same_od=sum(each[:2] in self._pairs for each in asked) / len(asked),
            same_od_and_start=sum(each in self._requests for each in asked) / len(asked),
            num_training=len(self._training.trips),
        )


def _requests(trips: Trips) -> list[tuple[int, int, int]]:
    """Origin, destination and start of each trip."""
    columns = (trips.origin.tolist(), trips.destination.tolist(), trips.start_time.tolist())
    return list(zip(*columns, strict=True))
