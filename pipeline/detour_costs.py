"""What detours should cost a search: how near its trips then come to real ones.

Trips are searched between the ends of real validation trips, at each of some costs, and held
against the very trips that were driven there. A cost is worth what it changes on trips that arrive
at every cost: leaving out those that are hard to find would flatter a search that does not find
them. Which cost a student is then used with is the user's decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from config import Config
from config.generation import COSTS, PairSettings, PairSource, SearchSettings
from critics.scoring.trips import as_trips
from data.road_network import RoadNetwork
from metrics.local import measure_local
from metrics.od import Pairs
from metrics.trips import Trips
from runtime.errors import UserError
from search.od import draw
from search.request import GenerationRequest
from search.session import Session
from search.student import open_city
from search.trips import GeneratedTrip

SPLIT: PairSource = "val"
USUAL_COSTS = (0.0, 0.5, 1.0, 2.0, 4.0)
Costs = tuple[float, float, float]  # of a km of detour, a minute of delay, a nat of turns
DISTANCES = ("hausdorff_km", "dtw_km", "edr")
ABOUT_AS_NEAR = 1.01  # less is chance with some hundred trips, and dear detours make short trips
_NOTHING = 1e-9  # beside it every distance that is one counts


@dataclass(frozen=True)
class Trial:
    """Trips at one cost; all but `reached` of those trips that arrive at every cost."""

    detour_cost: float  # nats a km
    delay_cost: float  # nats a minute
    turn_cost: float  # nats a nat
    reached: float
    hausdorff_km: float
    dtw_km: float
    edr: float
    km: float

    def beside(self, other: Trial) -> float:
        """How far from real trips these are, as a multiple of `other`'s: a mean of the measures."""
        ratios = [
            (getattr(self, name) + _NOTHING) / (getattr(other, name) + _NOTHING)
            for name in DISTANCES
        ]
        return float(np.exp(np.mean(np.log(ratios))))


@dataclass(frozen=True)
class Trials:
    """A trial of each cost, and how long the real trips are."""

    of_costs: list[Trial]
    driven_km: float

    @property
    def best(self) -> Trial:
        """The least costs whose trips are about as near to real ones as any."""
        nearest = min(self.of_costs, key=lambda trial: trial.beside(self.of_costs[0]))
        near = [trial for trial in self.of_costs if trial.beside(nearest) <= ABOUT_AS_NEAR]
        return min(near, key=lambda trial: sum(getattr(trial, name) for name in COSTS))


def try_costs(
    config: Config,
    model: Path,
    num_trips: int,
    search: SearchSettings,
    costs: Sequence[Costs],
    device: torch.device,
) -> Trials:
    """Searches validation trips at each of some costs."""
    num_trips = min(num_trips, len(open_city(config, model).trips(SPLIT)))
    if not num_trips:
        raise UserError("There are no validation trips; the best cost cannot be found out.")
    if not costs:
        raise UserError(
            "There are no costs to try; give some with --costs, --delay_costs and --turn_costs."
        )
    free = replace(search, times="expected")
    session = Session(
        GenerationRequest(config, model, num_trips, PairSettings(SPLIT), search=free), device
    )
    searches = [replace(free, **dict(zip(COSTS, each, strict=True))) for each in costs]  # type: ignore[arg-type]
    found = [list(session.asked(search).generate(0, num_trips)) for search in searches]
    arrived = np.array([[trip.reached for trip in trips] for trips in found])  # [costs, trips]
    common = np.flatnonzero(arrived.all(axis=0))
    if not len(common):
        raise UserError(
            "No trip arrives at every cost; try more of them with --num_trips, or lower costs."
        )
    network = session.city.network
    driven_there = draw(session.request.seed, common, len(session.dataset))
    real = as_trips(session.dataset).select(driven_there)
    trials = [
        _trial(each, share.mean(), [trips[i] for i in common], real, network)
        for each, share, trips in zip(costs, arrived, found, strict=True)
    ]
    return Trials(trials, _mean_km(real, network))


def _trial(
    costs: Costs,
    reached: float,
    found: Sequence[GeneratedTrip],
    real: Trips,
    network: RoadNetwork,
) -> Trial:
    trips = end_to_end(found)
    every = np.arange(len(found))
    local = measure_local(real, trips, Pairs(every, every, len(every), len(every)), network)
    return Trial(
        *costs,
        reached=float(reached),
        hausdorff_km=float(local.hausdorff_km.mean()),
        dtw_km=float(local.dtw_km.mean()),
        edr=float((local.edits / local.points).mean()),
        km=_mean_km(trips, network),
    )


def end_to_end(found: Sequence[GeneratedTrip]) -> Trips:
    """Trips that a search has found, as flat arrays."""
    return Trips.from_lengths(
        np.concatenate([trip.road_ids for trip in found]),
        np.concatenate([trip.times for trip in found]),
        np.array([len(trip.road_ids) for trip in found]),
    )


def _mean_km(trips: Trips, network: RoadNetwork) -> float:
    return float(network.length_m[trips.road_ids].sum()) / len(trips) / 1000.0
