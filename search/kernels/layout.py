"""The arrays that the loops of the searches work on, by name. S slots, R roads, W beam width."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Roads(NamedTuple):
    """The road network."""

    offsets: IntArray  # [R + 1]
    targets: IntArray  # [E]
    lon: NDArray[np.float64]  # [R], radians
    lat: NDArray[np.float64]  # [R], radians


class Partial(NamedTuple):
    """Partial trips that a loop lists for its caller."""

    at: IntArray  # [4, N]: slot, parent, road, seconds
    log_prob: FloatArray  # [N]


class Continued(NamedTuple):
    """Partial trips that were scored, and the scores of their candidates."""

    slot: IntArray  # [N], grouped
    road: IntArray  # [N]
    node: IntArray  # [N]
    log_prob: FloatArray  # [N, C], of the trip up to and including the candidate
    seconds: IntArray  # [N, C]


class Slots(NamedTuple):
    """One trip a slot."""

    active: BoolArray  # [S]
    destination: IntArray  # [S]
    steps: IntArray  # [S], partial trips continued so far
    best: NDArray[np.floating]  # [S, R], the best score with which a road was reached
    visited: BoolArray  # [S, R]

    @classmethod
    def free(cls, num_slots: int, num_roads: int) -> Slots:
        """Slots without trips."""
        return cls(
            active=np.zeros(num_slots, dtype=bool),
            destination=np.zeros(num_slots, dtype=np.int64),
            steps=np.zeros(num_slots, dtype=np.int64),
            best=np.empty((num_slots, num_roads), dtype=np.float32),
            visited=np.zeros((num_slots, num_roads), dtype=bool),
        )

    def begin(self, slots: IntArray, destination: IntArray) -> None:
        """Trips set out in some of them; the loops clear what they know of roads."""
        self.active[slots] = True
        self.destination[slots] = destination
        self.steps[slots] = 0


class Beams(NamedTuple):
    """The partial trips of every slot, best first, and what it would return."""

    filled: IntArray  # [S]
    at: IntArray  # [3, S, W]: parent, road, seconds
    log_prob: FloatArray  # [S, W]
    nearest_at: IntArray  # [3, S]
    nearest_log_prob: FloatArray  # [S]
    nearest_m: NDArray[np.float64]  # [S]
    arrival_at: IntArray  # [3, S], the best one that stood on the destination
    arrival_log_prob: FloatArray  # [S], -inf for none


class Queues(NamedTuple):
    """The partial trips of every slot by priority: a pool that grows, and a heap of it."""

    heap: IntArray  # [S, P], entries of the pool, the best one at the root
    heap_size: IntArray  # [S]
    at: IntArray  # [S, P, 3]: parent, road, seconds
    log_prob: FloatArray  # [S, P]
    priority: NDArray[np.floating]  # [S, P]; of best-first search the log-probability itself
    size: IntArray  # [S], of the pool
    candidates: (
        IntArray  # [S, P], where an entry's scored candidates begin in the pool; -1: nowhere
    )
    waiting: IntArray  # [S], the entry taken from the heap whose candidates are not queued yet
    nearest: IntArray  # [S], the entry that came nearest
    nearest_m: NDArray[np.float64]  # [S]


class Draws(NamedTuple):
    """What drawing adds to a beam, which is ordered by `value`."""

    value: NDArray[np.float64]  # [S, W], between log-probability and `perturbed`
    perturbed: NDArray[np.float64]  # [S, W], the greatest of all routes that begin so
    tempered: NDArray[np.float64]  # [S, W], log-probability at the temperature
    key: NDArray[np.uint64]  # [S, W], of the random numbers below
    arrival_value: NDArray[np.float64]  # [S]


class Noise(NamedTuple):
    """What drawing adds to the entries of queues; see `Draws`."""

    perturbed: NDArray[np.float64]  # [S, P]
    tempered: NDArray[np.float64]  # [S, P]
    key: NDArray[np.uint64]  # [S, P]
