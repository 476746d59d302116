"""Opinions of the next road, weighed against what steps cost beyond the cheapest way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.laid_out import places_left
from data.road_network import RoadNetwork
from dataset import TripDataset
from models.cpu_parallel import run_chunks
from ways.charges import charges_along, trip_chunks, worth_of_steps
from ways.likelihood import Opinion

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class KnownWay:
    """What steps cost, and how much an opinion counts beside it."""

    network: RoadNetwork
    step_cost: FloatArray  # [E], nats
    sharpness: float  # what logits are multiplied by

    def charges(
        self, road_ids: NDArray[np.int32], offsets: IntArray, position: IntArray
    ) -> FloatArray:  # [S], [n + 1], [P] -> [M]
        """Of the candidates of some positions of trips laid end to end, in their order."""
        charges = charges_along(self.network, self.step_cost, road_ids, offsets)
        count = self.network.out_degree[road_ids[places_left(offsets)]]
        begin = (np.cumsum(count) - count)[position]
        asked = count[position]
        within = np.arange(asked.sum()) - np.repeat(np.cumsum(asked) - asked, asked)
        return charges[np.repeat(begin, asked) + within]

    def weigh(self, logits: NDArray[np.floating], charges: FloatArray) -> FloatArray:
        """Somebody's opinion, weighed against what its candidates cost. [M], [M] -> [M]"""
        return self.sharpness * logits + charges

    def left(self, destination: IntArray) -> NDArray[np.float32]:  # [D] -> [D, R]
        """The cheapest way that is left to destinations from every road."""
        from data.way_kernels import fill_ways

        back_offsets, sources, edge = self.network.followed
        left = np.empty((len(destination), self.network.num_roads), dtype=np.float32)
        arguments = destination, back_offsets, sources, self.step_cost[edge], left
        run_chunks(fill_ways, trip_chunks(len(destination)), lambda _: arguments)
        return left

    def charges_ahead(self, road: int, left: NDArray[np.float32]) -> FloatArray:  # [R] -> [C]
        """Of a road's candidates, with so much of the way left from every road."""
        edges = slice(*self.network.reach_offsets[road : road + 2].tolist())
        after = left[self.network.reach_targets[edges]].astype(np.float64)
        return worth_of_steps(np.full(len(after), left[road]), after, self.step_cost[edges])


@dataclass(frozen=True)
class WeighedOpinion:
    """Somebody's opinion of all candidates of trips, weighed against the way."""

    opinion: Opinion
    way: KnownWay

    def trip_logits(self, dataset: TripDataset, trip_id: IntArray) -> NDArray[np.float32]:
        """Logits of all candidates of all positions of whole trips, one after the other."""
        own, way = self.opinion.trip_logits(dataset, trip_id), self.way
        charges = charges_along(way.network, way.step_cost, *dataset.laid_out(trip_id))
        return way.weigh(own, charges).astype(np.float32)
