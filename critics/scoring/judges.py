"""Models that judge trips position by position: teachers, students, and the transition counts.

A judge says how surprised it is by each road taken and, where it knows about times, by each
travel time. What follows for whole trips is `statistics`; which trips are normal, `calibration`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr

from critics.most_frequent import MostFrequent
from critics.road_teacher import RoadTeacher
from critics.scoring.trips import as_dataset, position_offsets, spans
from data.choices import Choices, Judgement, judge
from data.laid_out import here_and_taken
from data.road_network import RoadNetwork
from data.sampling import evaluation_batches
from dataset import TripDataset
from hoser import HOSER
from metrics.trips import Trips
from models.cpu_parallel import run_batches
from models.road_tables import RoadTables
from times.conditions import TimeConditions, places
from times.distribution import TimeDistribution
from ways.bending import KnownWay

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ROWS_AT_ONCE = 128
TRIPS_AT_ONCE = 512
POSITIONS_AT_ONCE = 1 << 20
# A road that cannot be driven onto: rarer than anything that a model could mean.
IMPOSSIBLE_NATS = 25.0


@dataclass(frozen=True)
class TimeSurprises:
    """How surprising travel times are, given what the judge predicted. All [P]."""

    density: FloatArray  # nats: minus the log of the density of the seconds
    score: FloatArray  # standard normal among normal trips, above 0 for slow
    expected_seconds: FloatArray

    @property
    def tail(self) -> FloatArray:
        """Nats: minus the log of the chance of a time at least as unusual, in either direction."""
        return -np.log(np.maximum(2.0 * ndtr(-np.abs(self.score)), 1e-12))


@dataclass(frozen=True)
class Surprises:
    """What a judge says of the P positions of trips: all roads of a trip but the last."""

    route: FloatArray  # [P], nats
    entropy: FloatArray  # [P], what the judge expected of `route`
    variance: FloatArray  # [P]
    likeliest: IntArray  # [P], the road that it would have taken, -1 where there is none
    times: TimeSurprises | None = None  # where the judge knows about times

    @classmethod
    def empty(cls, positions: int, with_times: bool) -> Surprises:
        """Arrays to be filled in."""
        return cls(
            route=np.zeros(positions),
            entropy=np.zeros(positions),
            variance=np.zeros(positions),
            likeliest=np.full(positions, -1, dtype=np.int64),
            times=TimeSurprises(*np.zeros((3, positions))) if with_times else None,
        )

    def put(self, where: IntArray | slice, judged: Judgement, network: RoadNetwork) -> None:
        """Fills in the route's part at some positions."""
        self.route[where] = np.minimum(judged.surprise, IMPOSSIBLE_NATS)
        self.entropy[where] = judged.entropy
        self.variance[where] = judged.variance
        known = judged.likeliest >= 0
        edge = np.where(known, judged.likeliest, 0)
        self.likeliest[where] = np.where(known, network.reach_targets[edge], -1)


class Judge(Protocol):
    """A model that judges whole trips."""

    name: str

    def surprises(self, trips: Trips) -> Surprises:
        """What it says of every position of the trips, one trip after the other."""
        ...


class TeacherJudge:
    """LM-TAD, or a larger HOSER, as distillation asks it; it knows nothing of times."""

    def __init__(self, name: str, teacher: RoadTeacher, network: RoadNetwork) -> None:
        self.name, self.teacher, self.network = name, teacher, network

    def surprises(self, trips: Trips) -> Surprises:
        dataset = as_dataset(trips, self.network, (0.0, 1.0))
        offsets = position_offsets(trips)
        found = Surprises.empty(int(offsets[-1]), with_times=False)
        for first, last in spans(offsets, TRIPS_AT_ONCE, POSITIONS_AT_ONCE):
            choices = Choices.of(self.network, *_turns(trips, first, last))
            chosen = np.arange(first, last)
            judged = judge(self.teacher.trip_logits(dataset, chosen), choices)
            found.put(slice(offsets[first], offsets[last]), judged, self.network)
        return found


class StudentJudge:
    """A trained HOSER, vanilla or distilled: routes always, times where their density is known.

    Its opinion may be weighed against what drivers pay for being off the way.
    """

    def __init__(
        self,
        name: str,
        model: HOSER,
        network: RoadNetwork,
        time_statistics: tuple[float, float],
        times: TimeDistribution | None = None,
        way: KnownWay | None = None,
    ) -> None:
        self.name, self.network, self.times, self.way = name, network, times, way
        self.model = model.eval()
        self.device = model.road2zone.device
        self.time_statistics = time_statistics

    def surprises(self, trips: Trips) -> Surprises:
        max_len = self.model.trajectory_encoder.max_len
        dataset = as_dataset(trips, self.network, self.time_statistics, max_len)
        dataset.tables(self.device)  # made before threads want it
        offsets = position_offsets(trips)
        found = Surprises.empty(int(offsets[-1]), with_times=self.times is not None)
        spec = dataset.evaluation_rows()
        spec = spec[np.flatnonzero(spec.trace_len > 0)]
        tables = self._road_tables

        @torch.no_grad()
        def work(rows: IntArray) -> None:
            part = spec[rows]
            gathered = dataset.rows(part)
            batch = dataset.features(gathered, self.device)
            logits, time_pred = self.model(batch, tables)
            real = batch.position_mask
            here = batch.trace_road_id[real].cpu().numpy()
            taken = gathered.road_ids[:, 1:].to(self.device)[real].cpu().numpy()
            row, step = (index.cpu().numpy() for index in real.nonzero(as_tuple=True))
            trip = part.trip_id[row]
            where = offsets[trip] + part.crop_start[row] + step
            choices = Choices.of(self.network, here, taken)
            flat = logits[batch.candidate_mask].cpu().numpy()
            if self.way is not None:
                charges = _charges(self.way, dataset, trip, where - offsets[trip])
                flat = self.way.weigh(flat, charges)
            found.put(where, judge(flat, choices), self.network)
            if found.times is not None:
                predicted = time_pred[batch.candidate_mask].double().cpu().numpy()
                mean, std = self.time_statistics
                log1p = predicted * std + mean
                self._judge_times(found.times, where, choices, log1p, here, trips, trip)

        run_batches(work, evaluation_batches(spec.trace_len, ROWS_AT_ONCE), self.device)
        return found

    @cached_property
    def _road_tables(self) -> RoadTables:
        with torch.no_grad():
            return self.model.encode_roads()

    def _judge_times(
        self,
        found: TimeSurprises,
        where: IntArray,
        choices: Choices,
        predicted_log1p: FloatArray,  # [M]
        here: IntArray,
        trips: Trips,
        trip: IntArray,
    ) -> None:
        assert self.times is not None
        made = choices.label >= 0
        place, road, log1p = where[made], here[made], predicted_log1p[choices.label[made]]
        step = place + trip[made]  # the road's place in the flat trips, which have one more each
        seconds = (trips.times[step + 1] - trips.times[step]).astype(np.float64)
        expected_s = np.maximum(np.expm1(log1p), 0.0)
        kind = self.network.road_attr_type[road]
        since_start = step - trips.offsets[trip[made]]
        conditions = TimeConditions.of(expected_s, kind, trips.times[step], places(since_start))
        found.density[place] = -self.times.log_density(seconds, conditions)
        found.score[place] = self.times.normal_scores(seconds, conditions)
        found.expected_seconds[place] = expected_s


class TransitionJudge:
    """The simplest method that could work: how often training trips took each turn."""

    name = MostFrequent.name

    def __init__(self, train: TripDataset) -> None:
        self._counted = MostFrequent(train)

    def surprises(self, trips: Trips) -> Surprises:
        offsets, network = position_offsets(trips), self._counted.network
        found = Surprises.empty(int(offsets[-1]), with_times=False)
        for first, last in spans(offsets, TRIPS_AT_ONCE, POSITIONS_AT_ONCE):
            choices = Choices.of(network, *_turns(trips, first, last))
            judged = judge(self._counted.logit[choices.edge], choices)
            found.put(slice(offsets[first], offsets[last]), judged, network)
        return found


def _charges(way: KnownWay, dataset: TripDataset, trip: IntArray, step: IntArray) -> FloatArray:
    """Of all candidates at some steps of some trips, [P] each. [M]"""
    ids, place = np.unique(trip, return_inverse=True)
    road_ids, offsets = dataset.laid_out(ids)
    before = offsets[:-1] - np.arange(len(ids))  # positions of the trips before
    return way.charges(road_ids, offsets, before[place] + step)


def _turns(trips: Trips, first: int, last: int) -> tuple[IntArray, IntArray]:
    """The road at each position of a range of trips, and the one taken after it."""
    offsets = trips.offsets[first : last + 1]
    return here_and_taken(trips.road_ids[offsets[0] : offsets[-1]], offsets - offsets[0])
