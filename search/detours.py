"""What detours cost a search, in nats of a partial trip's log-probability.

Each kilometre of road, each minute that roads usually take, and each nat by which a turn is
unlikely as training trips took it, costs something where it lies beyond the cheapest way there is
left (`ways`). A partial trip is charged as soon as it strays, since from every road it is known
what the way to the destination costs at least. Over a whole trip the charge is the trip's own cost
less that of the cheapest one, whatever the order in which it came about.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.graph import SearchGraph
from search.interface import IntArray, NewTrips
from search.kernels.layout import Continued, Queues
from search.pools import with_room

FloatArray = NDArray[np.float64]


class Detours:
    """What every partial trip has driven in vain."""

    def __init__(self, graph: SearchGraph, num_slots: int) -> None:
        assert graph.step_cost is not None
        self.graph, self.step_cost = graph, graph.step_cost
        self.steps_back = self.step_cost[graph.reversed.edge]
        self.left = np.empty((num_slots, graph.num_roads))  # [S, R], the cheapest way there is left
        self.in_vain = np.empty(0)  # [P], of an entry

    def begin(self, trips: NewTrips, entry: IntArray) -> None:
        """Finds what the way costs at least for trips that set out."""
        from models.cpu_parallel import run_chunks
        from search.kernels.ways import measure_ways
        from ways.charges import trip_chunks

        offsets, sources, _ = self.graph.reversed
        slots, origin, destination = trips.slots, trips.origin, trips.destination
        arguments = slots, origin, destination, offsets, sources, self.steps_back, self.left
        run_chunks(measure_ways, trip_chunks(len(slots)), lambda _: arguments)
        self.in_vain[entry] = 0.0

    def charge(self, trips: Continued, entry: IntArray, queues: Queues) -> None:
        """Takes it off the priorities of the listed entries' candidates."""
        from search.kernels.best_first import charge_detours

        roads = self.graph.roads
        charge_detours(trips, entry, roads, self.step_cost, self.left, queues, self.in_vain)

    def lengthen(self, size: int) -> None:
        """Makes room for `size` entries."""
        self.in_vain = with_room(self.in_vain, size)
