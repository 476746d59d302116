"""Trips under way, scored turn by turn as they grow.

Nothing that was read is read again: the student keeps keys and values of every trip in its tree,
LM-TAD in a decoder for each trip. Whole trips are `judges`' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from critics.lmtad_decoder import LMTADDecoder
from critics.road_teacher import LMTADRoadTeacher
from critics.scoring.calibration import Calibration, percentile
from critics.scoring.judges import IMPOSSIBLE_NATS, Judge
from critics.scoring.scores import Normality
from critics.scoring.statistics import sums
from critics.scoring.trips import Surroundings, position_offsets
from critics.way import WaysAhead
from data.choices import Choices, judge
from data.features import FeatureTables, temporal_info
from data.road_network import RoadNetwork
from hoser import HOSER
from metrics.trips import Trips
from runtime.errors import UserError
from ways.bending import KnownWay

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TIDY_EVERY = 256  # turns after which the tree forgets trips that have ended


class Reader(Protocol):
    """What a running score needs of a model."""

    def begin(self, keys: IntArray, origin: IntArray, destination: IntArray, at: IntArray) -> None:
        """New trips, on their first roads since `at`, seconds since 1970. All [N]."""
        ...

    def read(self, keys: IntArray, road: IntArray, at: IntArray) -> FloatArray:
        """Each trip turns onto a road; how surprising that was, nats. All [N]."""
        ...

    def forget(self, keys: IntArray) -> None:
        """These trips have ended."""
        ...


@dataclass
class _Reading:
    """A trip under way, as a model remembers it."""

    road: int
    destination: int
    began: int
    logits: NDArray[np.floating]  # of the roads that can come next
    node: int = -1  # in the student's tree
    left: NDArray[np.float32] | None = None  # [R], of the way, where the student is to know it
    decoder: LMTADDecoder | None = None
    ahead: WaysAhead | None = None


class _Readings:
    """Trips by key, and how surprising their turns are."""

    def __init__(self, network: RoadNetwork) -> None:
        self.network = network
        self.of: dict[int, _Reading] = {}

    def pick(self, keys: IntArray) -> list[_Reading]:
        """The trips of the keys; an unknown one is an error."""
        try:
            return [self.of[int(key)] for key in keys]
        except KeyError as error:
            raise UserError(f"The running trip {error} has not begun.") from error

    def surprise(self, readings: Sequence[_Reading], road: IntArray) -> FloatArray:
        """Of turning onto the roads, from what was expected before."""
        here = np.array([reading.road for reading in readings], dtype=np.int64)
        logits = np.concatenate([reading.logits for reading in readings])
        found = judge(logits, Choices.of(self.network, here, road)).surprise
        return np.minimum(found, IMPOSSIBLE_NATS)


class StudentReader:
    """A student that reads running trips, any number at a time."""

    def __init__(self, model: HOSER, network: RoadNetwork, way: KnownWay | None = None) -> None:
        self.model, self.network, self.way = model, network, way
        self.device = model.road2zone.device
        self.decoder = model.start()
        self.features = FeatureTables(network, self.device)
        self._readings = _Readings(network)
        self._turns = 0

    def begin(self, keys: IntArray, origin: IntArray, destination: IntArray, at: IntArray) -> None:
        new = [
            _Reading(int(road), int(end), int(began), np.zeros(0, dtype=np.float32))
            for road, end, began in zip(origin, destination, at, strict=True)
        ]
        if self.way is not None:
            for reading, left in zip(new, self.way.left(destination.astype(np.int64)), strict=True):
                reading.left = left
        self._advance(new, at)
        self._readings.of.update(zip(keys.tolist(), new, strict=True))

    def read(self, keys: IntArray, road: IntArray, at: IntArray) -> FloatArray:
        readings = self._readings.pick(keys)
        found = self._readings.surprise(readings, road)
        for reading, onto in zip(readings, road.tolist(), strict=True):
            reading.road = onto
        self._advance(readings, at)
        self._turns += 1
        if self._turns % _TIDY_EVERY == 0:
            self._tidy()
        return found

    def forget(self, keys: IntArray) -> None:
        for key in keys.tolist():
            self._readings.of.pop(key, None)

    @torch.no_grad()
    def _advance(self, readings: Sequence[_Reading], at: IntArray) -> None:
        def column(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=self.device)

        road = column([reading.road for reading in readings])
        destination = column([reading.destination for reading in readings])
        began = column([reading.began for reading in readings])
        parents = column([reading.node for reading in readings])
        seconds = torch.from_numpy(np.asarray(at, dtype=np.int64)).to(self.device)
        info = temporal_info(seconds.unsqueeze(1), began).squeeze(1)
        nodes, hidden = self.decoder.encode_step(parents, road, info)
        width = max(1, self.network.max_candidates)
        candidates = self.features.candidates(road, destination, width)
        logits, _ = self.model.next_road_scores(
            hidden,
            self.decoder.tables,
            destination,
            candidates.road_id,
            candidates.metric_dis,
            candidates.metric_angle,
        )
        table, count = logits.cpu().numpy(), candidates.count.tolist()
        for row, (reading, node) in enumerate(zip(readings, nodes.tolist(), strict=True)):
            reading.node, reading.logits = node, table[row, : count[row]]
            if self.way is not None and reading.left is not None:
                charges = self.way.charges_ahead(reading.road, reading.left)
                reading.logits = self.way.weigh(reading.logits, charges)

    def _tidy(self) -> None:
        held = list(self._readings.of.values())
        nodes = torch.tensor([reading.node for reading in held], dtype=torch.long)
        self.decoder.keep(nodes.to(self.device))


class TeacherReader:
    """LM-TAD that reads running trips; each has keys and values of its own.

    A trip longer than the teacher's block goes on from the last half of the block.
    """

    def __init__(self, teacher: LMTADRoadTeacher, network: RoadNetwork) -> None:
        if teacher.window != "full":
            raise UserError("Running trips are read whole; open the teacher with window full.")
        self.teacher, self.network = teacher, network
        self._readings = _Readings(network)
        self._tokens: dict[int, list[int]] = {}

    def begin(self, keys: IntArray, origin: IntArray, destination: IntArray, at: IntArray) -> None:
        token = self.teacher.road_to_token.tolist()
        lmtad = self.teacher.teacher
        for key, road, end, began in zip(
            keys.tolist(), origin.tolist(), destination.tolist(), at.tolist(), strict=True
        ):
            prefix = [lmtad.sot_id, token[end]] if lmtad.destination_prefix else [lmtad.sot_id]
            reading = _Reading(road, end, began, np.zeros(0, dtype=np.float32))
            reading.decoder = LMTADDecoder(lmtad.model)
            if self.teacher.way is not None:
                reading.ahead = self.teacher.way.ahead(torch.tensor([end]))
            self._readings.of[key] = reading
            self._tokens[key] = [*prefix, token[road]]
            self._expect(reading, torch.tensor([self._tokens[key]]))

    def read(self, keys: IntArray, road: IntArray, at: IntArray) -> FloatArray:
        readings = self._readings.pick(keys)
        found = self._readings.surprise(readings, road)
        token = self.teacher.road_to_token.tolist()
        prefix = 2 if self.teacher.teacher.destination_prefix else 1
        block = self.teacher.teacher.config.block_size
        for key, reading, onto in zip(keys.tolist(), readings, road.tolist(), strict=True):
            reading.road = onto
            read = self._tokens[key]
            read.append(token[onto])
            assert reading.decoder is not None
            if reading.decoder.length < block:
                self._expect(reading, torch.tensor([[token[onto]]]))
                continue
            self._tokens[key] = read = [*read[:prefix], *read[-((block - prefix) // 2) :]]
            reading.decoder = LMTADDecoder(self.teacher.teacher.model)
            self._expect(reading, torch.tensor([read]))
        return found

    def forget(self, keys: IntArray) -> None:
        for key in keys.tolist():
            self._readings.of.pop(key, None)
            self._tokens.pop(key, None)

    def _expect(self, reading: _Reading, tokens: Tensor) -> None:
        assert reading.decoder is not None
        hidden = reading.decoder.read(tokens.to(self.teacher.device))
        roads = torch.from_numpy(self.network.candidates(reading.road)).to(self.teacher.device)
        candidates = self.teacher.road_to_token[roads].unsqueeze(0)
        logits = self.teacher.teacher.model.candidate_logits(hidden, candidates)
        if reading.ahead is not None:
            road = torch.tensor([reading.road], device=self.teacher.device)
            logits = reading.ahead.bend(logits.float(), road, roads.unsqueeze(0))
        reading.logits = logits[0].float().cpu().numpy()


@dataclass(frozen=True)
class Standing:
    """How strange running trips are by now. All [N]."""

    surprise: FloatArray  # nats, of the last turn
    total: FloatArray  # nats, of all turns so far
    percentile: FloatArray  # among normal trips after as many decisions


@dataclass
class RunningScores:
    """Scores of trips that still grow.

    `begin` and `turn` take any number of trips at a time, each by a key of the caller's.
    """

    reader: Reader
    normality: Normality
    calibration: Calibration
    _total: dict[int, float] = field(default_factory=dict)
    _decisions: dict[int, int] = field(default_factory=dict)
    _support: dict[int, int] = field(default_factory=dict)
    _road: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, reader: Reader, judge_: Judge, normality: Normality, seed: int = 0
    ) -> RunningScores:
        """Calibrated on validation trips, each cut at a random place."""
        val = normality.val
        rng = np.random.default_rng(seed)
        length = np.maximum((val.lengths * rng.random(len(val))).astype(np.int64), 2)
        length = np.minimum(length, val.lengths)
        found = judge_.surprises(val).route
        offsets = position_offsets(val)
        within = np.arange(len(found)) - np.repeat(offsets[:-1], np.diff(offsets))
        so_far = np.where(within < np.repeat(length - 1, np.diff(offsets)), found, 0.0)
        decisions = normality.support.surroundings(_prefixes(val, length)).decisions
        around = Surroundings(decisions, normality.support.of(val))
        return cls(reader, normality, Calibration.fit(sums(so_far, offsets), around))

    def begin(self, keys: IntArray, origin: IntArray, destination: IntArray, at: IntArray) -> None:
        """New trips, on their first roads since `at`, seconds since 1970. All [N]."""
        self.reader.begin(keys, origin, destination, at)
        ends = Trips.from_lengths(
            np.stack([origin, destination], axis=1).reshape(-1).astype(np.int32),
            np.repeat(at, 2),
            np.full(len(keys), 2),
        )
        support = self.normality.support.of(ends)
        for key, road, count in zip(keys.tolist(), origin.tolist(), support.tolist(), strict=True):
            self._total[key], self._decisions[key] = 0.0, 0
            self._support[key], self._road[key] = count, road

    def turn(self, keys: IntArray, road: IntArray, at: IntArray) -> Standing:
        """Each trip turns onto a road; where it stands then."""
        surprise = self.reader.read(keys, road, at)
        degree = self.normality.network.out_degree
        for key, onto, nats in zip(keys.tolist(), road.tolist(), surprise.tolist(), strict=True):
            self._decisions[key] += int(degree[self._road[key]] > 1)
            self._total[key] += nats
            self._road[key] = onto
        total = np.array([self._total[key] for key in keys.tolist()])
        around = self._surroundings(keys)
        return Standing(surprise, total, percentile(self.calibration.level(total, around)))

    def end(self, keys: IntArray) -> None:
        """These trips have ended; what was kept of them is forgotten."""
        self.reader.forget(keys)
        for key in keys.tolist():
            for kept in (self._total, self._decisions, self._support, self._road):
                kept.pop(key, None)

    def _surroundings(self, keys: IntArray) -> Surroundings:
        decisions = [self._decisions[key] for key in keys.tolist()]
        support = [self._support[key] for key in keys.tolist()]
        return Surroundings(np.array(decisions), np.array(support))


def _prefixes(trips: Trips, length: IntArray) -> Trips:
    """The first roads of each trip."""
    within = np.arange(len(trips.road_ids)) - np.repeat(trips.offsets[:-1], trips.lengths)
    kept = within < np.repeat(length, trips.lengths)
    return Trips.from_lengths(trips.road_ids[kept], trips.times[kept], length)
