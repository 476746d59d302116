"""Draws routes instead of looking for the best: stochastic beam search.

Every partial trip has its log-probability (at the temperature) perturbed so that the greatest over
all routes is a fair draw from the student's distribution (Kool et al. 2019): a partial trip's
perturbed value is the greatest of all routes that begin with it. The search follows the `width`
partial trips that are ahead and returns the arrival that is ahead of all: a draw among the routes
that reach the destination, up to what a narrow beam loses. A road is entered again only by a path
that is ahead, so no route has loops. Width 1 is a walk that draws road by road.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.beam import BeamSearch, continued
from search.graph import SearchGraph
from search.interface import NewTrips, NextRoads, Outcomes, PartialTrips
from search.kernels.layout import Draws, Partial

_BYTES_PER_ROAD = 8


class Parents(NamedTuple):
    """What the partial trips being continued had in the beam."""

    perturbed: NDArray[np.float64]  # [N]
    tempered: NDArray[np.float64]  # [N]
    log_prob: NDArray[np.float32]  # [N]
    key: NDArray[np.uint64]  # [N]


class StochasticBeamSearch(BeamSearch):
    """The beams of `num_slots` draws; see `search.interface.Search`."""

    def __init__(
        self,
        graph: SearchGraph,
        num_slots: int,
        width: int,
        max_steps: int,
        *,
        temperature: float,
        seed: int,
    ) -> None:
        num_slots = graph.limit_slots(num_slots, _BYTES_PER_ROAD)
        super().__init__(graph, num_slots, width, max_steps, scouts=width)
        self.temperature, self.seed = temperature, np.uint64(seed % 2**64)
        slots = self.num_slots
        # Not in float32: a partial trip that stays ahead keeps its value to the last digit.
        self.state = self.state._replace(best=np.empty((slots, graph.num_roads)))
        self.draws = Draws(
            value=np.zeros((slots, width)),
            perturbed=np.zeros((slots, width)),
            tempered=np.zeros((slots, width)),
            key=np.zeros((slots, width), dtype=np.uint64),
            arrival_value=np.zeros(slots),
        )
        self._place = np.zeros(slots * width, dtype=np.int64)

    def start(self, trips: NewTrips) -> None:
        """Begins new trips in free slots."""
        from search.kernels.sample import begin_draws

        self.state.begin(trips.slots, trips.destination)
        begin_draws(
            trips.slots, trips.origin, trips.start, trips.number, self.seed,
            self.state, self.beams, self.draws,
        )  # fmt: skip

    def select(self) -> tuple[PartialTrips, Outcomes]:
        """The beams to continue, and the searches that have ended."""
        from search.kernels.sample import select_draws

        selected, ended = self._selected, self._ended
        num_selected, num_ended = select_draws(
            self.state,
            self.beams,
            self.draws,
            self.graph.roads,
            self.max_steps,
            Partial(selected.at, selected.log_prob),
            self._place,
            Partial(ended.at, ended.log_prob),
            self._reached,
        )
        outcomes = Outcomes(ended[:num_ended], self._reached[:num_ended])
        return selected[:num_selected], outcomes

    def update(self, selected: PartialTrips, scores: NextRoads) -> None:
        """Those continuations that are ahead become the new beams."""
        from search.kernels.sample import update_draws

        at, draws = (selected.slot, self._place[: len(selected)]), self.draws
        parents = Parents(draws.perturbed[at], draws.tempered[at], selected.log_prob, draws.key[at])
        update_draws(
            continued(selected, scores),
            parents,
            self.temperature,
            self.graph.roads,
            self.state,
            self.beams,
            draws,
        )
