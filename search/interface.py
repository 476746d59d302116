"""The interface between the engine and the searches.

A search holds the state of a fixed number of slots, one trip each. Every round the engine asks it
which partial trips to continue (`select`), scores all their next roads in one batch, and hands the
scores back (`update`). A partial trip is a tree node that the model has encoded (its history) and
one more road, so continuing a trip copies nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from config.generation import SearchSettings
from search.graph import SearchGraph

IntArray = NDArray[np.int64]
NO_NODE = -1


@dataclass
class PartialTrips:
    """N partial trips: the encoded history `parent`, then `road` entered at `seconds`."""

    at: IntArray  # [4, N]: slot, parent (NO_NODE for a trip's first road), road, seconds
    log_prob: NDArray[np.float32]  # [N]

    def __len__(self) -> int:
        return self.at.shape[1]

    def __getitem__(self, rows: slice | IntArray) -> PartialTrips:
        return PartialTrips(self.at[:, rows], self.log_prob[rows])

    @classmethod
    def empty(cls, capacity: int) -> PartialTrips:
        """Room for `capacity` partial trips."""
        return cls(np.empty((4, capacity), np.int64), np.empty(capacity, np.float32))

    @property
    def slot(self) -> IntArray:
        """Whose trip it is. [N]"""
        return self.at[0]

    @property
    def parent(self) -> IntArray:
        """The tree node of its history. [N]"""
        return self.at[1]

    @property
    def road(self) -> IntArray:
        """Its last road. [N]"""
        return self.at[2]

    @property
    def seconds(self) -> IntArray:
        """When that road is entered, since 1970. [N]"""
        return self.at[3]


@dataclass
class Outcomes:
    """Searches that have ended: what they return, and whether that is the destination."""

    trips: PartialTrips
    reached: NDArray[np.bool_]  # [n]


@dataclass
class NextRoads:
    """Scores of the candidates of N partial trips, in the road network's order of candidates.

    Columns past a road's number of candidates hold values without meaning.
    """

    node: IntArray  # [N], the tree nodes of the partial trips themselves
    log_prob: NDArray[np.float32]  # [N, C], of the trip up to and including the candidate
    seconds: IntArray  # [N, C], since 1970, when the candidate is entered

    @classmethod
    def concatenate(cls, parts: list[NextRoads]) -> NextRoads:
        """The scores of several batches, one after the other."""
        return cls(
            np.concatenate([part.node for part in parts]),
            np.concatenate([part.log_prob for part in parts]),
            np.concatenate([part.seconds for part in parts]),
        )


@dataclass(frozen=True)
class NewTrips:
    """n trips that set out, each in a slot that is free."""

    slots: IntArray  # [n]
    number: IntArray  # [n], the request's, for what is drawn
    origin: IntArray  # [n]
    destination: IntArray  # [n]
    start: IntArray  # [n], seconds since 1970


class Search(Protocol):
    """A search over the road network for many trips at a time."""

    num_slots: int
    comes_again: bool  # to partial trips that it has continued before

    def start(self, trips: NewTrips) -> None:
        """Begins new trips."""

    def select(self) -> tuple[PartialTrips, Outcomes]:
        """Which partial trips to continue, slot by slot, and which searches have ended.

        A slot whose search has ended is free. The result is valid until the next call.
        """

    def update(self, selected: PartialTrips, scores: NextRoads) -> None:
        """Takes the scores of what `select` returned."""

    def held_nodes(self) -> IntArray:
        """Tree nodes that may be continued or returned; all others may be forgotten."""


@dataclass(frozen=True)
class Chosen:
    """What a search is built with."""

    settings: SearchSettings
    width: int
    seed: int
    rows: int  # partial trips that a pass has room for


@dataclass(frozen=True)
class SearchKind:
    """What the module of a search says of it, as `KIND`: how it is built, and what it reads."""

    build: Callable[[SearchGraph, int, Chosen], Search]  # for a number of slots
    width: int | None = None  # of its beam unless another is asked for; None: it has no beam then
    may_have_beam: bool = False
    reads: tuple[str, ...] = ()  # fields of `SearchSettings` that decide its trips and no others'
