"""What detours, delays and unusual turns cost drivers, beside what a student believes.

A way costs what its kilometres, its minutes and its turns do: turns, what they are unlikely as
training trips took them. How these three are mixed decides which way is the cheapest, so mixtures
are tried, in turn for minutes and for turns; of each, likelihood says how much all of it counts
beside the student's own opinion (`likelihood`). Turns get as little weight as is about as likely:
their counts are noisy, and a search finds what noise favours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.generation import COSTLIEST
from data.road_network import RoadNetwork
from data.road_times import cost_in_vain, step_costs
from dataset import TripDataset
from ways.bending import KnownWay
from ways.charges import charges_along
from ways.likelihood import ChoiceLikelihood, Opinion

FloatArray = NDArray[np.float64]

MOST_TRIPS = 500  # of validation: three numbers need no more
LEAST_CHOICES = 50
SHARES_OF_MINUTES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)  # the rest are kilometres
NATS_OF_TURNS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # beside one nat of either
USUAL_TURNS = 0.2  # to begin with
ABOUT_AS_LIKELY = 1.01
LEAST_SHARPNESS = 0.05  # of a student that says next to nothing beside the way


@dataclass(frozen=True)
class CountedWays:
    """What training trips say of steps, as far as it is asked for."""

    network: RoadNetwork
    road_seconds: FloatArray | None  # [R], how long a car usually is on each road
    turn_surprise: FloatArray | None  # [E], how unlikely each turn is, nats

    def step_costs(self, per_km: float, per_minute: float, per_nat: float) -> FloatArray:  # [E]
        """What each step costs at some prices, in nats."""
        network = self.network
        cost = cost_in_vain(network.length_m, per_km, self.road_seconds, per_minute)
        steps = step_costs(cost, network.reach_offsets, network.reach_targets)
        if not per_nat:
            return steps
        assert self.turn_surprise is not None  # whoever asks for turns brings the counts along
        return steps + per_nat * self.turn_surprise


@dataclass(frozen=True)
class StudentCosts:
    """In nats of a student's log-probability, and what they are worth on unseen trips."""

    detour_cost: float  # a km
    delay_cost: float  # a minute
    turn_cost: float  # a nat by which turns are unlikelier
    sharpness: float  # how much of the student's own opinion is then left
    without: float  # mean surprise at a choice
    with_them: float

    def known_way(self, ways: CountedWays) -> KnownWay:
        """What the student's opinion is bent by, to be as likely as `with_them` says."""
        steps = ways.step_costs(self.detour_cost, self.delay_cost, self.turn_cost)
        return KnownWay(ways.network, self.least_sharpness * steps, self.sharpness)

    @property
    def least_sharpness(self) -> float:
        """What the costs are to be multiplied by, to be in nats of the weighed opinion."""
        return max(self.sharpness, LEAST_SHARPNESS)


def fit_costs(student: Opinion, val: TripDataset, ways: CountedWays) -> StudentCosts | None:
    """The costs that make the choices of validation trips likeliest; None for too few choices."""
    likelihood = ChoiceLikelihood(student, val, MOST_TRIPS)
    if likelihood.num_choices < LEAST_CHOICES:
        return None
    without = likelihood.of_opinion()
    known: dict[tuple[float, float], tuple[float, StudentCosts]] = {}

    def surprise(share: float, turns: float) -> float:
        if (share, turns) not in known:
            steps = ways.step_costs(1.0 - share, share, turns)
            charges = charges_along(ways.network, steps, likelihood.road_ids, likelihood.offsets)
            best = likelihood.best(charges)
            unit = min(best.height / max(best.sharpness, LEAST_SHARPNESS), COSTLIEST)
            km, minute, nat = unit * (1.0 - share), unit * share, unit * turns
            costs = StudentCosts(km, minute, nat, best.sharpness, without, best.surprise)
            known[share, turns] = best.surprise, costs
        return known[share, turns][0]

    share, turns, before = SHARES_OF_MINUTES[0], USUAL_TURNS, None
    while before != (share, turns):
        before = share, turns
        share = min(SHARES_OF_MINUTES, key=lambda tried: surprise(tried, turns))
        turns = min(NATS_OF_TURNS, key=lambda tried: surprise(share, tried))
    enough = ABOUT_AS_LIKELY * surprise(share, turns)
    fewest = min(tried for tried in NATS_OF_TURNS if surprise(share, tried) <= enough)
    return known[share, fewest][1]
