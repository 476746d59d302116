"""Drives thousands of trips at once, each road drawn among those that can come next.

The draw of a trip's step depends on the seed and the trip's number alone, so it does not matter
which trips are driven together. A trip that visits a road twice, has nowhere to go, strays too far
or does not end is dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from critics.replay.policies import Policy
from critics.replay.requests import LEAST_DISTANCE_M, Requests, crow_flies_m
from critics.scramble import BITS, scramble
from data.road_network import RoadNetwork
from runtime.device import prefers_loops

TRIPS_AT_ONCE_CPU = 512  # their keys and values fit a processor's cache
TRIPS_AT_ONCE_GPU = 2048  # enough rows to be worth a step's launches; the memory stays bounded
GHOSTS = 0.25  # the share of rows whose trips have ended at which they are cleared away
ENDED = ("arrived", "dead end", "loop", "detour", "too long")
ARRIVED, DEAD_END, LOOP, DETOUR, TOO_LONG = range(5)
_DRIVING = -1


@dataclass(frozen=True)
class DriveRules:
    """How trips are drawn and which are kept."""

    temperature: float = 1.0
    max_detour: float = 2.0  # metres driven per metre as the crow flies
    max_roads: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Drives:
    """The trips that arrived, one after the other, and what became of the others."""

    road_ids: NDArray[np.int32]  # [S]
    lengths: NDArray[np.int32]  # [n], roads of each trip
    starts: NDArray[np.int64]  # [n]
    values: NDArray[np.float32]  # [V], logits of all candidates of all positions
    ended: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.lengths)


def join_drives(parts: list[Drives]) -> Drives:
    """The trips of several drives, one after the other."""
    road_ids, lengths, starts, values = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("road_ids", "lengths", "starts", "values")
    )
    ended: Counter[str] = sum((part.ended for part in parts), Counter())
    return Drives(road_ids, lengths, starts, values, ended)


class Driver:
    """A policy on a road network."""

    def __init__(self, policy: Policy, network: RoadNetwork, rules: DriveRules) -> None:
        self.policy = policy
        self.network = network
        self.rules = rules
        device = policy.device
        self.max_roads = min(rules.max_roads, policy.max_steps)
        self.reach_offsets = torch.from_numpy(network.reach_offsets).to(device)
        targets = network.reach_targets if len(network.reach_targets) else np.zeros(1, np.int64)
        self.reach_targets = torch.from_numpy(targets).to(device)
        self.length_m = torch.from_numpy(network.length_m).to(device)

    @torch.no_grad()
    def drive(self, requests: Requests, first_number: int = 0) -> Drives:
        """Drives all requests; request i has the number `first_number + i` in the draws."""
        distance = crow_flies_m(self.network, requests.origin, requests.destination)
        order = np.argsort(distance, kind="stable")  # trips of like length end together
        on_cpu = prefers_loops(self.policy.device)
        at_once = TRIPS_AT_ONCE_CPU if on_cpu else TRIPS_AT_ONCE_GPU
        parts = []
        for begin in range(0, len(order), at_once):
            rows = order[begin : begin + at_once]
            limit = self.rules.max_detour * distance[rows].clip(min=LEAST_DISTANCE_M)
            parts.append(_Convoy(self, requests[rows], first_number + rows, limit).drive())
        if not parts:
            nothing = np.zeros(0, np.int32)
            return Drives(nothing, nothing, np.zeros(0, np.int64), np.zeros(0, np.float32))
        return join_drives(parts)


class _Convoy:
    """Trips that set out together.

    Row i of every tensor is a trip; one that has ended drives on as a ghost, which nobody records,
    until enough of them are there to be worth clearing away.
    """

    def __init__(
        self,
        driver: Driver,
        requests: Requests,
        number: NDArray[np.int64],
        limit: NDArray[np.float64],
    ) -> None:
        self.driver, self.policy, self.requests = driver, driver.policy, requests
        device = self.policy.device
        count = len(requests)
        self.number = torch.from_numpy(number).to(device)  # of all trips
        self.trip = torch.arange(count, device=device)
        self.road = torch.from_numpy(requests.origin).to(device)
        self.destination = torch.from_numpy(requests.destination).to(device)
        self.limit = torch.from_numpy(limit).to(device)
        self.driven = torch.zeros(count, dtype=torch.float64, device=device)
        self.trace = self.road.unsqueeze(1)  # [N, steps so far]
        self.is_real = torch.ones(count, dtype=torch.bool, device=device)
        self.outcome = torch.full((count,), _DRIVING, device=device)  # of all trips
        self.length = torch.zeros(count, dtype=torch.long, device=device)
        self.roads = [self.road]  # a step: the road of every trip
        self.answers: list[tuple[Tensor, Tensor, Tensor]] = []  # trip [N], count [N], logits [M]

    def drive(self) -> Drives:
        """Until every trip has ended."""
        start = torch.from_numpy(self.requests.start).to(self.policy.device)
        self.policy.begin(self.road, self.destination, start)
        for step in range(1, self.driver.max_roads):
            ended = self._step(step)
            of_real = self.trip[self.is_real]
            self.outcome[of_real] = ended[self.is_real]
            self.is_real &= ended == _DRIVING
            left = int(self.is_real.sum())
            if not left:
                break
            if left < (1 - GHOSTS) * len(self.trip):
                self._keep(self.is_real.nonzero().squeeze(1))
            self.policy.advance(self.road, self.column)
        self.outcome[self.outcome == _DRIVING] = TOO_LONG
        return self._result()

    def _step(self, step: int) -> Tensor:
        """Every trip chooses its next road; how those that end here end. [N]"""
        begin = self.driver.reach_offsets[self.road]
        count = self.driver.reach_offsets[self.road + 1] - begin
        place = torch.arange(max(1, int(count.max())), device=begin.device)
        real = place < count.unsqueeze(1)
        edge = torch.where(real, begin.unsqueeze(1) + place, 0)
        candidate = self.driver.reach_targets[edge]
        logits = self.policy.logits(candidate, count)
        number = torch.where(self.is_real, self.trip, -1)
        self.answers.append((number, count, logits[real].float()))
        self.column = self._draw(logits, count, step)
        self.road = candidate.gather(1, self.column.unsqueeze(1)).squeeze(1)
        self.driven = self.driven + self.driver.length_m[self.road]
        seen = (self.trace == self.road.unsqueeze(1)).any(dim=1)
        self.trace = torch.cat([self.trace, self.road.unsqueeze(1)], dim=1)
        of_all = self.roads[0].new_full((len(self.outcome),), -1)
        of_all[self.trip] = self.road
        self.roads.append(of_all)
        self.length[self.trip[self.is_real]] = step + 1
        ended = torch.full_like(count, _DRIVING)
        ended = torch.where(self.driven > self.limit, DETOUR, ended)
        ended = torch.where(self.road == self.destination, ARRIVED, ended)
        ended = torch.where((self.driven > self.limit) & (ended == ARRIVED), DETOUR, ended)
        ended = torch.where(seen, LOOP, ended)
        return torch.where(count == 0, DEAD_END, ended)

    def _draw(self, logits: Tensor, count: Tensor, step: int) -> Tensor:
        """The place of the drawn candidate: where the cumulated probabilities pass the noise."""
        scaled = logits.float() / self.driver.rules.temperature
        scaled = torch.where(count.unsqueeze(1) > 0, scaled, 0.0)
        usable = torch.isfinite(scaled).any(dim=1, keepdim=True) & ~scaled.isnan().any(1, True)
        scaled = torch.where(usable, scaled, torch.zeros_like(scaled))
        cumulated = scaled.softmax(dim=1).double().cumsum(dim=1)
        drawn = scramble(self.driver.rules.seed, step, self.number[self.trip])
        threshold = drawn.unsqueeze(1).double() / (1 << BITS) * cumulated[:, -1:]
        column = (cumulated <= threshold).sum(dim=1)
        return torch.minimum(column, (count - 1).clamp(min=0))

    def _keep(self, rows: Tensor) -> None:
        self.policy.keep(rows)
        names = ("trip", "is_real", "road", "destination", "limit", "driven", "trace", "column")
        for name in names:
            setattr(self, name, getattr(self, name)[rows])

    def _result(self) -> Drives:
        """The trips that arrived, in the order in which they were asked for here."""
        outcome = self.outcome.cpu().numpy()
        ended = Counter({name: int((outcome == code).sum()) for code, name in enumerate(ENDED)})
        arrived = np.flatnonzero(outcome == ARRIVED)
        roads = torch.stack(self.roads, dim=1).cpu().numpy()  # [all, steps]
        length = self.length.cpu().numpy()[arrived]
        on_trip = np.arange(roads.shape[1]) < length[:, None]
        return Drives(
            roads[arrived][on_trip].astype(np.int32),
            length.astype(np.int32),
            self.requests.start[arrived],
            self._values(outcome == ARRIVED),
            ended,
        )

    def _values(self, arrived: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The logits of trips that arrived, trip by trip."""
        trip, count, logits = (torch.cat(column).cpu().numpy() for column in zip(*self.answers))
        order = np.argsort(trip, kind="stable")  # the steps of a trip stay in order
        order = order[(trip[order] >= 0) & arrived[trip[order]]]
        begin = np.cumsum(count) - count
        sizes = count[order]
        place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return logits[np.repeat(begin[order], sizes) + place]
