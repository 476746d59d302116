"""What the simulated drivers would do: the yardstick for models of a demo city.

The oracle knows streets, costs and moods of the city, but not who drives: the kind of driver is
inferred from the roads driven so far. No model that sees the same can be right more often.
"""

from __future__ import annotations

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

    def drive(self, origin: IntArray, destination: IntArray, start: IntArray) -> TripTable:
        """New trips between given roads, by drivers drawn at random.

        A trip that comes out with fewer than five roads has none.
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
        self.maker.route(driver, origin, destination, table)
        return table
