"""What detours cost a search, in nats of a partial trip's log-probability.

Each kilometre of road, and each minute that roads usually take, costs something where it lies
beyond the cheapest way there is left. A partial trip is charged as soon as it strays, since from
every road it is known what the way to the destination costs at least. Over a whole trip the charge
is the trip's own cost less that of the cheapest one, whatever the order in which it came about.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from config.generation import SearchSettings
from data.road_times import cost_in_vain
from search.graph import SearchGraph
from search.interface import IntArray, NewTrips
from search.kernels.layout import Continued, Queues
from search.pools import with_room

FloatArray = NDArray[np.float64]
COSTS = ("detour_cost", "delay_cost")  # of `SearchSettings`

_TRIPS_A_CHUNK = 8


def cost_of_roads(graph: SearchGraph, settings: SearchSettings) -> FloatArray | None:
    """What each road costs where it is a detour, in nats. [R]; None: detours cost nothing."""
    if not (settings.detour_cost or settings.delay_cost):
        return None
    per_km, per_minute = settings.detour_cost, settings.delay_cost
    return cost_in_vain(graph.length_m, per_km, graph.road_seconds, per_minute)


class Detours:
    """What every partial trip has driven in vain."""

    def __init__(self, graph: SearchGraph, num_slots: int, road_cost: FloatArray) -> None:
        self.graph, self.road_cost = graph, road_cost
        self.left = np.empty((num_slots, graph.num_roads))  # [S, R], the cheapest way there is left
        self.in_vain = np.empty(0)  # [P], of an entry

    def begin(self, trips: NewTrips, entry: IntArray) -> None:
        """Finds what the way costs at least for trips that set out."""
        from models.cpu_parallel import even_chunks, run_chunks
        from search.kernels.ways import measure_ways

        offsets, sources = self.graph.reversed
        slots, origin, destination = trips.slots, trips.origin, trips.destination
        arguments = slots, origin, destination, offsets, sources, self.road_cost, self.left
        chunks = even_chunks(len(slots), max(1, len(slots) // _TRIPS_A_CHUNK))
        run_chunks(measure_ways, chunks, lambda _: arguments)
        self.in_vain[entry] = 0.0

    def charge(self, trips: Continued, entry: IntArray, queues: Queues) -> None:
        """Takes it off the priorities of the listed entries' candidates."""
        from search.kernels.best_first import charge_detours

        roads = self.graph.roads
        charge_detours(trips, entry, roads, self.road_cost, self.left, queues, self.in_vain)

    def lengthen(self, size: int) -> None:
        """Makes room for `size` entries."""
        self.in_vain = with_room(self.in_vain, size)
