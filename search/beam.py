"""Beam search: the few most probable partial trips of each step, for many trips at a time.

The score of a partial trip is its summed log-probability. A road is entered again only by a path
that is better than any in the beam before. A search ends when no beam is more probable than the
best one that stood on the destination; when all beams have died or `max_steps` partial trips were
continued without one, it returns the beam that came nearest. Width 1 is the greedy walk.

A partial trip only becomes less probable, so one that is no more probable than a known arrival
cannot win, nor can it push out of the beam one that can. Therefore narrow beams go ahead, each four
times as wide as the one before, and the whole one then follows from the first road on, but for what
cannot win any more: the same trips, or likelier ones that scouts found, from a fraction of the
encoded positions, those of the scouts known already.

`first_arrival`, as in the documents: the search ends with the first beam that stands on the
destination, a road is continued from once, and one that was looked at counts as entered.
"""

from __future__ import annotations

import numpy as np

from search.graph import SearchGraph
from search.interface import (
    NO_NODE,
    Chosen,
    IntArray,
    NewTrips,
    NextRoads,
    Outcomes,
    PartialTrips,
    Search,
    SearchKind,
)
from search.kernels.layout import Beams, Continued, Partial, Scouts, Slots

_BYTES_PER_ROAD = 5


class BeamSearch:
    """The beams of `num_slots` trips; see `search.interface.Search`."""

    def __init__(
        self,
        graph: SearchGraph,
        num_slots: int,
        width: int,
        max_steps: int,
        *,
        first_arrival: bool = False,
        scouts: int = 1,
    ) -> None:
        """`scouts`: the width of the first beam that goes ahead; as wide as the last: none does."""
        self.graph, self.max_steps, self.first_arrival = graph, max_steps, first_arrival
        self.num_slots = slots = graph.limit_slots(num_slots, _BYTES_PER_ROAD)
        self.state = Slots.free(slots, graph.num_roads)
        self.first_width = width if first_arrival else min(scouts, width)
        self.comes_again = self.first_width < width
        self.scouts = Scouts.none_yet(slots)
        self.beams = Beams(
            filled=np.zeros(slots, dtype=np.int64),
            at=np.full((3, slots, width), NO_NODE, dtype=np.int64),
            log_prob=np.zeros((slots, width), dtype=np.float32),
            former=np.zeros((slots, width), dtype=np.float32),
            nearest_at=np.full((3, slots), NO_NODE, dtype=np.int64),
            nearest_log_prob=np.zeros(slots, dtype=np.float32),
            nearest_m=np.zeros(slots),
            arrival_at=np.full((3, slots), NO_NODE, dtype=np.int64),
            arrival_log_prob=np.full(slots, -np.inf, dtype=np.float32),
        )
        self._selected = PartialTrips.empty(slots * width)
        self._ended = PartialTrips.empty(slots)
        self._reached = np.zeros(slots, dtype=bool)

    def start(self, trips: NewTrips) -> None:
        """Begins new trips in free slots."""
        from search.kernels.beam import begin_beams

        self.state.begin(trips.slots, trips.destination)
        self.scouts.begin(trips.slots, trips.origin, trips.start, self.first_width)
        begin_beams(trips.slots, trips.origin, trips.start, self.state, self.beams)

    def select(self) -> tuple[PartialTrips, Outcomes]:
        """The beams to continue, and the searches that have ended."""
        from search.kernels.beam import select_beams

        selected, ended = self._selected, self._ended
        num_selected, num_ended = select_beams(
            self.state,
            self.beams,
            self.scouts,
            self.graph.roads,
            self.max_steps,
            self.first_arrival,
            Partial(selected.at, selected.log_prob),
            Partial(ended.at, ended.log_prob),
            self._reached,
        )
        outcomes = Outcomes(ended[:num_ended], self._reached[:num_ended])
        return selected[:num_selected], outcomes

    def update(self, selected: PartialTrips, scores: NextRoads) -> None:
        """The best continuations become the new beams."""
        from search.kernels.beam import update_beams

        update_beams(
            continued(selected, scores),
            self.graph.roads,
            self.state,
            self.beams,
            self.scouts,
            self.first_arrival,
        )

    def held_nodes(self) -> IntArray:
        """The histories of all beams, of the nearest ones and of arrivals."""
        beams, active = self.beams, self.state.active
        in_use = np.arange(beams.log_prob.shape[1]) < beams.filled[:, None]
        nodes = np.concatenate(
            [
                beams.at[0][in_use & active[:, None]],
                beams.nearest_at[0, active & np.isfinite(beams.nearest_m)],
                beams.arrival_at[0, active & np.isfinite(beams.arrival_log_prob)],
            ]
        )
        return np.unique(nodes[nodes != NO_NODE])


def continued(selected: PartialTrips, scores: NextRoads) -> Continued:
    """What was selected with its scores, as the loops take it."""
    return Continued(selected.slot, selected.road, scores.node, scores.log_prob, scores.seconds)


def _build(graph: SearchGraph, num_slots: int, chosen: Chosen) -> Search:
    settings = chosen.settings
    first = settings.arrival == "first"
    return BeamSearch(graph, num_slots, chosen.width, settings.max_steps, first_arrival=first)


KIND = SearchKind(_build, width=4, may_have_beam=True, reads=("arrival",))
