"""Draws routes exactly: best-first search over perturbed log-probabilities.

The noise is that of `search.stochastic_beam`, which takes over where a beam is asked for, but no
partial trip is ever dropped: the one that is ahead of all is continued until one stands on the
destination. At temperature 1 that trip is a fair draw from the student's distribution over the
routes that arrive. Below, the noise shrinks against the log-probability, as if whole routes were
drawn with their probabilities to the power of 1 / temperature; with no noise left this is
best-first search. What detours cost counts like log-probability, at every temperature.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from config.generation import COSTS
from search.astar import DirectedSearch
from search.beam import continued
from search.graph import SearchGraph
from search.interface import Chosen, NewTrips, NextRoads, PartialTrips, Search, SearchKind
from search.kernels.layout import Noise
from search.pools import with_room
from search.stochastic_beam import Parents, StochasticBeamSearch


class DrawSearch(DirectedSearch):
    """The queues of `num_slots` draws; see `search.interface.Search`."""

    def __init__(
        self,
        graph: SearchGraph,
        num_slots: int,
        max_steps: int,
        rows: int = 1,
        *,
        temperature: float,
        seed: int,
    ) -> None:
        super().__init__(graph, num_slots, max_steps, rows)
        self.temperature, self.seed = temperature, np.uint64(seed % 2**64)
        self.noise = Noise(np.empty(0), np.empty(0), np.empty(0, dtype=np.uint64))

    def start(self, trips: NewTrips) -> None:
        """Begins new trips in free slots."""
        from search.kernels.sample import begin_noise

        super().start(trips)
        begin_noise(trips.slots, trips.number, self.seed, self.queues, self.noise)

    def _order(self, selected: PartialTrips, scores: NextRoads) -> None:
        """By log-probabilities with noise."""
        from search.kernels.sample import order_candidates

        entry = self._entry[: len(selected)]
        noise, log_prob = self.noise, selected.log_prob
        parents = Parents(noise.perturbed[entry], noise.tempered[entry], log_prob, noise.key[entry])
        order_candidates(
            continued(selected, scores),
            entry,
            parents,
            self.temperature,
            self.graph.roads,
            self.queues,
            noise,
        )

    def _lengthen(self, size: int) -> None:
        super()._lengthen(size)
        perturbed, tempered, key = self.noise
        self.noise = Noise(
            with_room(perturbed, size), with_room(tempered, size), with_room(key, size)
        )


def _build(graph: SearchGraph, num_slots: int, chosen: Chosen) -> Search:
    settings, seed = chosen.settings, chosen.seed
    steps, temperature = settings.max_steps, settings.temperature
    assert settings.charges == (graph.step_cost is not None)
    if settings.beam_width is None:
        return DrawSearch(
            _tempered(graph, temperature),
            num_slots,
            steps,
            chosen.rows,
            temperature=temperature,
            seed=seed,
        )
    width = settings.beam_width
    return StochasticBeamSearch(graph, num_slots, width, steps, temperature=temperature, seed=seed)


def _tempered(graph: SearchGraph, temperature: float) -> SearchGraph:
    """Above 1, log-probabilities are divided by the temperature, and so is what comes off them."""
    if graph.step_cost is None or temperature <= 1.0:
        return graph
    return replace(graph, step_cost=graph.step_cost / temperature)


KIND = SearchKind(_build, may_have_beam=True, reads=("temperature", "costs", *COSTS))
