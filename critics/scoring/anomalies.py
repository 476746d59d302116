"""Anomalies that a car could drive, put into normal trips: the cases with a known answer.

Detours, other routes and loops lead through the network and keep the trip's own pace; slow
stretches and night times change the clock alone. The protocol of the literature, cells shifted
sideways, is there as well: what it makes are jumps that no car could drive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from critics.scoring.pace import UsualTimes
from data.clock import SECONDS_PER_DAY, SECONDS_PER_HOUR
from data.geometry import EARTH_RADIUS_M, haversine
from data.road_network import RoadNetwork
from metrics.trips import Trips

if TYPE_CHECKING:
    from critics.scoring.anomaly_kernels import Graph, Workspace

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

AnomalyKind = Literal["detour", "switch", "loop", "slow", "wrong_time", "cell_shift"]
KINDS: tuple[AnomalyKind, ...] = get_args(AnomalyKind)
# How strong: extra length or time over the trip's, share of the trip that changes, share of cells.
SEVERITIES: dict[AnomalyKind, tuple[float, ...]] = {
    "detour": (0.1, 0.25, 0.5, 1.0),
    "switch": (0.3, 0.6, 1.0),
    "loop": (0.1, 0.25, 0.5),
    "slow": (0.25, 0.5, 1.0),
    "wrong_time": (1.0,),
    "cell_shift": (0.1, 0.3),
}
SHARE = 0.05  # of the trips, as usual in the literature

_BAND = 0.3  # a detour of 25 % is one of 17.5 to 32.5 %
_MOST_EXTRA, _MOST_SHARED = 0.25, 0.5  # of another route
_MIN_ROADS = 8
_MAX_PATH = 2048
_TRIES = 6  # trips tried for each one wanted
_SHIFT_CELLS, _CELL_DEGREES = 3, 0.001
_DAY_HOURS, _NIGHT_HOURS = (7, 20), (1, 4)


@dataclass(frozen=True)
class Injected:
    """Changed trips of one kind and severity."""

    kind: AnomalyKind
    severity: float
    source: IntArray  # [m], the normal trip that each one was
    trips: Trips


class Injector:
    """Puts anomalies into trips; what comes out depends on trips, seed, kind and severity alone."""

    def __init__(self, network: RoadNetwork, usual: UsualTimes, seed: int = 0) -> None:
        self.network, self.usual, self.seed = network, usual, seed
        self._graph, self._workspace = _graph(network)

    def inject(
        self, trips: Trips, kinds: Sequence[AnomalyKind] = KINDS, share: float = SHARE
    ) -> list[Injected]:
        """For each kind and severity a share of the trips, changed; fewer where none fits."""
        wanted = max(1, round(share * len(trips)))
        return [
            self._inject_one(trips, kind, severity, wanted)
            for kind in kinds
            for severity in SEVERITIES[kind]
        ]

    def _inject_one(
        self, trips: Trips, kind: AnomalyKind, severity: float, wanted: int
    ) -> Injected:
        rng = np.random.default_rng([self.seed, KINDS.index(kind), round(1000 * severity)])
        pace = self.usual.pace(trips)
        order = rng.permutation(np.flatnonzero(trips.lengths >= _MIN_ROADS))
        source, changed = [], []
        for trip in order[: _TRIES * wanted].tolist():
            roads, times = trips.trip(trip)
            seed = int(rng.integers(2**40))
            found = self._change(kind, severity, roads, times, float(pace[trip]), seed)
            if found is not None:
                source.append(trip)
                changed.append(found)
            if len(source) == wanted:
                break
        lengths = np.array([len(roads) for roads, _ in changed], dtype=np.int64)
        empty = np.zeros(0, dtype=np.int64)
        return Injected(
            kind,
            severity,
            np.array(source, dtype=np.int64),
            Trips.from_lengths(
                np.concatenate([roads for roads, _ in changed] or [empty]).astype(np.int32),
                np.concatenate([times for _, times in changed] or [empty]),
                lengths,
            ),
        )

    def _change(
        self,
        kind: AnomalyKind,
        severity: float,
        roads: NDArray[np.int32],
        times: IntArray,
        pace: float,
        seed: int,
    ) -> tuple[IntArray, IntArray] | None:
        rng = np.random.default_rng(seed)
        whole = roads.astype(np.int64)
        if kind == "slow":
            return whole, _slowed(times, severity, rng)
        if kind == "wrong_time":
            return _at_night(whole, times, rng)
        if kind == "cell_shift":
            return self._shifted(whole, severity, rng), times
        first, last, path = self._other_way(kind, severity, whole, rng, seed)
        if not len(path):
            return None
        return self._spliced(whole, times, first, last, path, pace)

    def _other_way(
        self,
        kind: AnomalyKind,
        severity: float,
        roads: IntArray,
        rng: np.random.Generator,
        seed: int,
    ) -> tuple[int, int, IntArray]:
        """The places between which the trip changes, and the roads between them."""
        from critics.scoring.anomaly_kernels import detour, other_route

        path = np.empty(_MAX_PATH, dtype=np.int64)
        count, end = len(roads), len(roads) - 1
        if kind == "switch":
            first = min(round((1.0 - severity) * end), end - 2)
            found = other_route(
                roads, first, seed, _MOST_EXTRA, _MOST_SHARED, self._graph, self._workspace, path
            )
            return first, end, path[: max(found - 1, 0)]
        first = int(rng.integers(1, max(2, count // 2)))
        last = first if kind == "loop" else int(rng.integers(first + 2, max(first + 3, end)))
        length_m = float(self.network.length_m[roads].sum())
        low, high = (severity * (1 + side * _BAND) * length_m for side in (-1, 1))
        found = detour(roads, first, last, low, high, seed, self._graph, self._workspace, path)
        return first, last, path[:found]

    def _spliced(
        self, roads: IntArray, times: IntArray, first: int, last: int, path: IntArray, pace: float
    ) -> tuple[IntArray, IntArray]:
        """The trip with `path` between two places, driven at the trip's own pace."""
        new = np.concatenate([roads[: first + 1], path, roads[last:]])
        seconds = np.diff(times).astype(np.float64)
        on_path = self.usual.seconds[path] * pace
        before = seconds[: first + 1]
        if last == first:  # a loop drives its road once more
            before = np.concatenate(
                [seconds[:first], self.usual.seconds[roads[first : first + 1]] * pace]
            )
        driven = np.concatenate([before, on_path, seconds[last:]])
        elapsed = np.round(np.concatenate([[0.0], np.cumsum(driven)])).astype(np.int64)
        return new, times[0] + elapsed

    def _shifted(self, roads: IntArray, probability: float, rng: np.random.Generator) -> IntArray:
        """Roads replaced by the ones that lie some cells beside them, the ends excepted."""
        network = self.network
        chosen = np.flatnonzero(rng.random(len(roads)) < probability)
        chosen = chosen[(chosen > 0) & (chosen < len(roads) - 1)]
        if not len(chosen):
            chosen = np.array([len(roads) // 2])
        angle = rng.integers(0, 8, len(chosen)) * (np.pi / 4)
        reach = _SHIFT_CELLS * _CELL_DEGREES
        lon = network.center_lon[roads[chosen]] + reach * np.sign(np.round(np.cos(angle), 6))
        lat = network.center_lat[roads[chosen]] + reach * np.sign(np.round(np.sin(angle), 6))
        shifted = roads.copy()
        for place, x, y in zip(chosen, lon, lat, strict=True):
            away = haversine(
                network.center_lon, network.center_lat, np.array(x), np.array(y), EARTH_RADIUS_M
            )
            shifted[place] = int(away.argmin())
        return shifted


def _slowed(times: IntArray, extra: float, rng: np.random.Generator) -> IntArray:
    """A stretch of a fifth of the roads takes so much longer that the trip lasts `extra` more."""
    seconds = np.diff(times).astype(np.float64)
    width = max(1, len(seconds) // 5)
    first = int(rng.integers(0, len(seconds) - width + 1))
    stretch = slice(first, first + width)
    share = np.maximum(seconds[stretch], 1.0)
    seconds[stretch] += extra * max(float(seconds.sum()), 1.0) * share / share.sum()
    return times[0] + np.round(np.concatenate([[0.0], np.cumsum(seconds)])).astype(np.int64)


def _at_night(
    roads: IntArray, times: IntArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray] | None:
    """A trip of the day, begun in the night before with the times it took by day."""
    hour = times[0] % SECONDS_PER_DAY // SECONDS_PER_HOUR
    if not _DAY_HOURS[0] <= hour < _DAY_HOURS[1]:
        return None
    night = times[0] // SECONDS_PER_DAY * SECONDS_PER_DAY + _NIGHT_HOURS[0] * SECONDS_PER_HOUR
    night += int(rng.integers((_NIGHT_HOURS[1] - _NIGHT_HOURS[0]) * SECONDS_PER_HOUR))
    return roads, times - times[0] + night


def _graph(network: RoadNetwork) -> tuple[Graph, Workspace]:
    from critics.scoring.anomaly_kernels import Graph, make_workspace

    size = network.num_roads
    back_offsets, back_sources, _ = network.followed
    graph = Graph(
        offsets=network.reach_offsets,
        targets=network.reach_targets,
        back_offsets=back_offsets,
        back_sources=back_sources,
        length_m=np.ascontiguousarray(network.length_m, dtype=np.float64),
        twin=_twins(network),
    )
    return graph, make_workspace(size, max(size, len(network.reach_targets)))


def _twins(network: RoadNetwork) -> IntArray:
    """The road that leads back along the same ends, -1 where there is none. [R]"""
    ends = [network.start_lon, network.start_lat, network.end_lon, network.end_lat]
    keys = np.stack(ends, axis=1)
    back = np.concatenate([keys[:, 2:], keys[:, :2]], axis=1)
    _, number = np.unique(np.concatenate([keys, back]), axis=0, return_inverse=True)
    number = number.reshape(-1)
    ahead, behind = number[: len(keys)], number[len(keys) :]
    road_of = np.full(int(number.max()) + 1, -1, dtype=np.int64)
    road_of[ahead[::-1]] = np.arange(len(keys))[::-1]
    twin = road_of[behind]
    return np.where(twin == np.arange(len(keys)), -1, twin)
