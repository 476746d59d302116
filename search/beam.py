"""Beam search: the few most probable partial trips of each step, for many trips at a time.

The score of a partial trip is its summed log-probability. A road is entered again only by a better
path, and continued from once. A search ends when a beam stands on the destination; when all beams
have died or `max_steps` partial trips were continued, it returns the one that came nearest.
Width 1 is the greedy walk.
"""

from __future__ import annotations

import numpy as np

from search.graph import SearchGraph
from search.interface import NO_NODE, IntArray, NextRoads, Outcomes, PartialTrips

_BYTES_PER_ROAD = 5


class BeamSearch:
    """The beams of `num_slots` trips; see `search.interface.Search`."""

    def __init__(self, graph: SearchGraph, num_slots: int, width: int, max_steps: int) -> None:
        self.graph, self.max_steps = graph, max_steps
        self.num_slots = slots = graph.limit_slots(num_slots, _BYTES_PER_ROAD)
        self.active = np.zeros(slots, dtype=bool)
        self.destination = np.zeros(slots, dtype=np.int64)
        self.steps = np.zeros(slots, dtype=np.int64)
        self.best = np.empty((slots, graph.num_roads), dtype=np.float32)
        self.visited = np.zeros((slots, graph.num_roads), dtype=bool)
        self.count = np.zeros(slots, dtype=np.int64)
        self.beam_at = np.full((3, slots, width), NO_NODE, dtype=np.int64)
        self.beam_log_prob = np.zeros((slots, width), dtype=np.float32)
        self.nearest_at = np.full((3, slots), NO_NODE, dtype=np.int64)
        self.nearest_log_prob = np.zeros(slots, dtype=np.float32)
        self.nearest_m = np.zeros(slots)
        self._selected = PartialTrips.empty(slots * width)
        self._ended = PartialTrips.empty(slots)
        self._reached = np.zeros(slots, dtype=bool)

    def start(
        self, slots: IntArray, origin: IntArray, destination: IntArray, start: IntArray
    ) -> None:
        """Begins new trips in free slots."""
        from search.kernels.beam import begin_beams

        self.active[slots] = True
        self.destination[slots] = destination
        self.steps[slots] = 0
        self.nearest_m[slots] = np.inf
        begin_beams(
            slots, origin, start, self.best, self.visited,
            self.beam_at, self.beam_log_prob, self.count,
        )  # fmt: skip

    def select(self) -> tuple[PartialTrips, Outcomes]:
        """The beams to continue, and the searches that have ended."""
        from search.kernels.beam import select_beams

        graph, selected, ended = self.graph, self._selected, self._ended
        num_selected, num_ended = select_beams(
            self.active, self.destination, self.steps, self.max_steps, self.count,
            self.beam_at, self.beam_log_prob, self.nearest_at, self.nearest_log_prob,
            self.nearest_m, self.visited, graph.offsets, graph.lon, graph.lat,
            selected.at, selected.log_prob, ended.at, ended.log_prob, self._reached,
        )  # fmt: skip
        outcomes = Outcomes(ended[:num_ended], self._reached[:num_ended])
        return selected[:num_selected], outcomes

    def update(self, selected: PartialTrips, scores: NextRoads) -> None:
        """The best continuations become the new beams."""
        from search.kernels.beam import update_beams

        update_beams(
            selected.slot, selected.road, scores.node, scores.log_prob, scores.seconds,
            self.graph.offsets, self.graph.targets, self.best, self.count,
            self.beam_at, self.beam_log_prob,
        )  # fmt: skip

    def held_nodes(self) -> IntArray:
        """The histories of all beams and of the nearest ones."""
        in_use = np.arange(self.beam_log_prob.shape[1]) < self.count[:, None]
        beams = self.beam_at[0][in_use & self.active[:, None]]
        has_nearest = self.active & np.isfinite(self.nearest_m)
        nodes = np.concatenate([beams, self.nearest_at[0, has_nearest]])
        return np.unique(nodes[nodes != NO_NODE])
