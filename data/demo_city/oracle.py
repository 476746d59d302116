"""What the simulated drivers would do: the yardstick for models of a demo city.

The oracle knows streets, costs and moods of the city, but not who drives: the kind of driver is
inferred from the roads driven so far. No model that sees the same can be right more often.
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from data.demo_city.demand import NUM_HABIT_GROUPS, PROFILE_SHARES
from data.demo_city.oracle_kernels import ObservedTrips, true_choices
from data.demo_city.routing import TripTable
from data.demo_city.settings import DemoCitySettings
from data.demo_city.streets import make_streets
from data.demo_city.trips import FIRST_DAY_S, NUM_KINDS, TripMaker, bucket_of, tree_number

IntArray = NDArray[np.int64]
_NEW_TRIPS = 1 << 40  # numbers that no trip of a city's files has


class DemoCityOracle:
    """The drivers of one demo city, asked for probabilities or sent out again."""

    def __init__(self, settings: DemoCitySettings) -> None:
        self.settings = settings
        self.maker = TripMaker(make_streets(settings.num_roads, settings.seed), settings)
        self.prior = np.repeat(PROFILE_SHARES, NUM_HABIT_GROUPS) / NUM_HABIT_GROUPS  # [K]

    def log_probabilities(
        self,
        road_ids: NDArray[np.int32],  # [S], of n trips, one after the other
        offsets: IntArray,  # [n + 1]
        start: IntArray,  # [n], seconds since the epoch
    ) -> NDArray[np.float32]:
        """Of all roads that can come next, at all positions of the trips, one after the other."""
        tables = self.maker.route_tables
        degree = np.diff(tables.reach_offsets)[road_ids]
        degree[offsets[1:] - 1] = 0  # nothing follows the last road
        before = np.concatenate([[0], np.cumsum(degree)])
        bucket = bucket_of(start - FIRST_DAY_S)
        destination = road_ids[offsets[1:] - 1].astype(np.int64)
        kinds = np.arange(NUM_KINDS)
        trips = ObservedTrips(
            road_ids,
            offsets,
            before[offsets],
            tree_number(destination[:, None], kinds, bucket[:, None]),
        )
        return true_choices(self.maker.key, trips, self.prior, tables)

    def drive(
        self,
        origin: IntArray,
        destination: IntArray,
        start: IntArray,
        out_of_character: bool = False,
    ) -> TripTable:
        """New trips between given roads, by drivers drawn at random.

        Out of character they like what their kind avoids and avoid what it likes, as somebody does
        who is paid by the kilometre or does not know the city. A trip that comes out with fewer
        than five roads has none.
        """
        count, width = len(origin), self.settings.max_trip_roads
        drivers = self.maker.drivers
        driver = np.random.default_rng([0, 10]).integers(0, len(drivers.home), count)
        table = TripTable(
            first=_NEW_TRIPS,
            clock_s=start - FIRST_DAY_S,
            roads=np.empty((count, width), dtype=np.int32),
            elapsed_s=np.empty((count, width), dtype=np.int32),
            length=np.zeros(count, dtype=np.int64),
        )
        maker = _with_taste_inverted(self.maker) if out_of_character else self.maker
        maker.route(driver, origin, destination, table)
        return table


def _with_taste_inverted(maker: TripMaker) -> TripMaker:
    """Drivers to whom a road costs as much more than its usual time as it cost less before."""
    tables = maker.route_tables
    inverted = copy.copy(maker)
    usual_s = tables.travel_s.mean(axis=(0, 1))  # [R]
    inverted.route_tables = tables._replace(
        route_cost=np.maximum(usual_s**2 / tables.route_cost, 0.5).astype(np.float32),
        habit=(1.0 / tables.habit).astype(np.float32),
    )
    return inverted
