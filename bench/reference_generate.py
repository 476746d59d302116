"""Generation the plain way: what `search/` is measured against and must equal.

One trip at a time. The road network is encoded once; each step gathers the beams (one partial trip
in best-first search), computes their features, and encodes their whole traces again by the plain
formulas of `bench.reference_student`.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace

import networkx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.reference_student import PlainHOSER
from data.batch import Batch
from data.geometry import haversine
from data.road_network import RoadNetwork

EARTH_RADIUS_M = 6_371_008.8
SECONDS_PER_DAY = 86_400

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PlainTrip:
    """A partial or finished trip."""

    road_ids: list[int]
    times: list[int]  # seconds since 1970
    log_prob: float
    reached: bool = False
    in_vain: float = 0.0  # nats


class PlainGenerator:
    """`generator.beam(origin, destination, start, width)`, `.best_first(...)`."""

    def __init__(
        self, model: PlainHOSER, network: RoadNetwork, time_mean: float, time_std: float
    ) -> None:
        self.model, self.network = model.eval(), network
        self.time_mean, self.time_std = time_mean, time_std
        self.forward_passes = 0
        with torch.no_grad():
            self.roads, self.zones = model.road_network_encoder()

    def beam(
        self, origin: int, destination: int, start: int, width: int, max_steps: int = 5000
    ) -> PlainTrip:
        """Beam search as the documents describe it."""
        beam = [PlainTrip([origin], [start], 0.0)]
        best_log_prob, visited = {origin: 0.0}, set()
        nearest, nearest_m = beam[0], math.inf
        steps = 0
        while beam and steps < max_steps:
            for trip in beam:
                if trip.road_ids[-1] == destination:
                    return _reached(trip)
                metres = self._distance_m(trip.road_ids[-1], destination)
                if metres < nearest_m:
                    nearest, nearest_m = trip, metres
            expanded = []
            for trip in beam:
                road = trip.road_ids[-1]
                if road not in visited:
                    visited.add(road)
                    if len(self.network.candidates(road)):
                        expanded.append(trip)
            if not expanded:
                break
            found = []
            for continued in self._continue(expanded, destination):
                for trip in continued:
                    road = trip.road_ids[-1]
                    if road not in best_log_prob or trip.log_prob > best_log_prob[road]:
                        best_log_prob[road] = trip.log_prob
                        found.append(trip)
            found.sort(key=lambda trip: trip.log_prob, reverse=True)
            beam = found[:width]
            steps += len(expanded)
        return nearest

    def best_first(
        self,
        origin: int,
        destination: int,
        start: int,
        max_steps: int = 5000,
        step_cost: FloatArray | None = None,
    ) -> PlainTrip:
        """The original's search: always continue the most probable partial trip.

        With `step_cost` [E] it loses what steps cost beyond what the cheapest way left does less.
        """
        steps_of = self._costs_of(step_cost) if step_cost is not None else {}
        left = self._cost_left(destination, steps_of)
        charged = origin in left
        first = PlainTrip([origin], [start], 0.0)
        queue = [_Queued(0.0, first)]
        best, visited = {origin: 0.0}, set()
        nearest, nearest_m = first, math.inf
        steps = 0
        while queue and steps < max_steps:
            trip = heapq.heappop(queue).trip
            road = trip.road_ids[-1]
            if road in visited:
                continue
            visited.add(road)
            if road == destination:
                return _reached(trip)
            metres = self._distance_m(road, destination)
            if metres < nearest_m:
                nearest, nearest_m = trip, metres
            if not len(self.network.candidates(road)):
                continue
            for found in self._continue([trip], destination)[0]:
                road = found.road_ids[-1]
                last = trip.road_ids[-1]
                in_vain = trip.in_vain
                if charged:
                    if road not in left:
                        continue
                    in_vain += steps_of[last, road] - (left[last] - left[road])
                value = found.log_prob - in_vain
                if road not in best or value > best[road]:
                    best[road] = value
                    heapq.heappush(queue, _Queued(value, replace(found, in_vain=in_vain)))
            steps += 1
        return nearest

    def _costs_of(self, step_cost: FloatArray) -> dict[tuple[int, int], float]:
        """From a road onto one that follows it."""
        offsets, targets = self.network.reach_offsets, self.network.reach_targets
        return {
            (road, int(targets[edge])): float(step_cost[edge])
            for road in range(self.network.num_roads)
            for edge in range(offsets[road], offsets[road + 1])
        }

    @staticmethod
    def _cost_left(destination: int, steps_of: dict[tuple[int, int], float]) -> dict[int, float]:
        """The cheapest way to the destination from every road that has one."""
        graph = networkx.DiGraph()
        for (road, following), cost in steps_of.items():
            graph.add_edge(following, road, cost=cost)
        if destination not in graph:
            return {}
        return dict(networkx.single_source_dijkstra_path_length(graph, destination, weight="cost"))

    @torch.no_grad()
    def _continue(self, trips: list[PlainTrip], destination: int) -> list[list[PlainTrip]]:
        """Every trip with each of its candidates, in the order of the road network."""
        candidates = [self.network.candidates(trip.road_ids[-1]) for trip in trips]
        logits, time_pred = self._forward(self._batch(trips, candidates, destination))
        self.forward_passes += 1
        result = []
        for row, trip in enumerate(trips):
            count = len(candidates[row])
            log_prob = torch.log_softmax(logits[row, :count], dim=-1) + trip.log_prob
            wait = torch.expm1(time_pred[row, :count] * self.time_std + self.time_mean)
            wait = wait.clamp(min=0.0)
            result.append(
                [
                    PlainTrip(
                        [*trip.road_ids, int(candidates[row][c])],
                        [*trip.times, trip.times[-1] + round(wait[c].item())],
                        log_prob[c].item(),
                    )
                    for c in range(count)
                ]
            )
        return result

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and travel times [N, C] at the last position of each trip."""
        model, zones = self.model, self.zones
        trace = batch.trace_road_id
        hidden = model.trajectory_encoder(self.roads[trace], zones[model.road2zone[trace]], batch)
        last = hidden[torch.arange(len(trace)), batch.trace_len - 1].unsqueeze(1)
        goal = zones[model.road2zone[batch.destination_road_id]]
        logits, time_pred = model.navigator(last, goal, self.roads[batch.candidate_road_id], batch)
        return logits.squeeze(1), time_pred.squeeze(1)

    def _batch(
        self, trips: list[PlainTrip], candidates: list[NDArray[np.int64]], destination: int
    ) -> Batch:
        num, steps = len(trips), max(len(trip.road_ids) for trip in trips)
        width = max(map(len, candidates))
        trace = np.zeros((num, steps), dtype=np.int64)
        info = np.zeros((num, steps), dtype=np.float32)
        distance = np.zeros((num, steps, steps), dtype=np.float32)
        interval = np.zeros((num, steps, steps), dtype=np.float32)
        candidate_road = np.zeros((num, 1, width), dtype=np.int64)
        metric_dis = np.zeros((num, 1, width), dtype=np.float32)
        metric_angle = np.zeros((num, 1, width), dtype=np.float32)
        for row, trip in enumerate(trips):
            roads = np.array(trip.road_ids)
            here = slice(0, len(roads))
            trace[row, here] = roads
            info[row, here] = _temporal_info(trip.times)
            metres = self._distances_m(roads[:, None], roads[None, :]).astype(np.float32)
            distance[row, here, here] = np.clip(metres, 0.0, 1000.0) / 1000.0
            minutes = info[row, here] * np.float32(1440.0)
            gap = np.abs(minutes[:, None] - minutes[None, :])
            interval[row, here, here] = np.clip(gap, 0.0, 5.0) / 5.0
            places = slice(0, len(candidates[row]))
            candidate_road[row, 0, places] = candidates[row]
            metric_dis[row, 0, places] = self._metric_dis(candidates[row], destination)
            metric_angle[row, 0, places] = self._metric_angle(
                int(roads[-1]), candidates[row], destination
            )
        lengths = torch.tensor([len(trip.road_ids) for trip in trips])
        unused = torch.zeros(num, dtype=torch.int64)
        return Batch(
            trace_road_id=torch.from_numpy(trace),
            temporal_info=torch.from_numpy(info),
            trace_distance_mat=torch.from_numpy(distance),
            trace_time_interval_mat=torch.from_numpy(interval),
            trace_len=lengths,
            destination_road_id=torch.full((num,), destination),
            candidate_road_id=torch.from_numpy(candidate_road),
            metric_dis=torch.from_numpy(metric_dis),
            metric_angle=torch.from_numpy(metric_angle),
            candidate_len=torch.tensor([[len(row)] for row in candidates]),
            road_label=unused[:, None],
            timestamp_label=unused[:, None].float(),
            trip_id=unused,
            crop_start=unused,
            timestamp_log1p_mean=self.time_mean,
            timestamp_log1p_std=self.time_std,
        )

    def _metric_dis(self, candidates: NDArray[np.int64], destination: int) -> NDArray[np.float32]:
        metres = self._distances_m(candidates, np.array(destination)).astype(np.float32)
        return np.log1p((metres - metres.min()) / 100)

    def _metric_angle(
        self, road: int, candidates: NDArray[np.int64], destination: int
    ) -> FloatArray:
        net = self.network
        lon, lat = np.radians(net.end_lon), np.radians(net.end_lat)
        x, y = (lat, lon) if net.angle_convention == "hoser" else (lon, lat)

        def angle(to: NDArray[np.int64]) -> FloatArray:
            return np.arctan2(y[to] - y[road], np.cos(y[road]) * (x[to] - x[road])) % (2 * np.pi)

        turn = np.abs(angle(candidates) - angle(np.array(destination)))
        return np.where(turn > np.pi, 2 * np.pi - turn, turn) / np.pi

    def _distances_m(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> FloatArray:
        lon, lat = self.network.center_lon, self.network.center_lat
        return haversine(lon[first], lat[first], lon[second], lat[second], EARTH_RADIUS_M)

    def _distance_m(self, first: int, second: int) -> float:
        return float(self._distances_m(np.array(first), np.array(second)))


class _Queued:
    """Orders trips by falling value, as pairs of it and the trip do in the original."""

    def __init__(self, value: float, trip: PlainTrip) -> None:
        self.value, self.trip = value, trip

    def __lt__(self, other: _Queued) -> bool:
        return self.value > other.value


def _reached(trip: PlainTrip) -> PlainTrip:
    return PlainTrip(trip.road_ids, trip.times, trip.log_prob, reached=True)


def _temporal_info(times: list[int]) -> NDArray[np.float32]:
    seconds = np.array(times) % SECONDS_PER_DAY
    minutes = seconds // 3600 * 60.0 + seconds // 60 % 60 + seconds % 60 / 60.0
    weekday = (times[0] // SECONDS_PER_DAY + 3) % 7
    return (minutes / 1440.0).astype(np.float32) * np.float32(-1.0 if weekday >= 5 else 1.0)
