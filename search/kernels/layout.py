"""The arrays that the loops of the searches work on, by name. S slots, R roads, W beam width."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
NO_BLOCK = -1


class Roads(NamedTuple):
    """The road network."""

    offsets: IntArray  # [R + 1]
    targets: IntArray  # [E]
    lon: NDArray[np.float64]  # [R], radians
    lat: NDArray[np.float64]  # [R], radians
    length_m: NDArray[np.float64]  # [R]


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
    former: FloatArray  # [S, W], the best score with which their roads were reached before
    nearest_at: IntArray  # [3, S]
    nearest_log_prob: FloatArray  # [S]
    nearest_m: NDArray[np.float64]  # [S]
    arrival_at: IntArray  # [3, S], the best one that stood on the destination
    arrival_log_prob: FloatArray  # [S], -inf for none


class Scouts(NamedTuple):
    """Narrow beams that go ahead of wide ones, which then need to follow only what may win."""

    width: IntArray  # [S], of the beam that is on its way
    origin: IntArray  # [S]
    start: IntArray  # [S]

    @classmethod
    def none_yet(cls, num_slots: int) -> Scouts:
        """Slots without trips."""
        return cls(*np.zeros((3, num_slots), dtype=np.int64))

    def begin(self, new: IntArray, origin: IntArray, start: IntArray, width: int) -> None:
        """Beams of a width set out in some slots."""
        self.width[new] = width
        self.origin[new], self.start[new] = origin, start


class Blocks(NamedTuple):
    """Which entries of a pool are whose; see `search.kernels.blocks`."""

    size: int  # entries a block
    free: IntArray  # [B], numbers of blocks; the last of the first `num_free` is taken next
    num_free: IntArray  # [1]
    below: IntArray  # [B], the block that its slot took before it
    current: IntArray  # [S], the block that a slot took last
    filled: IntArray  # [S], entries of it that are in use

    @classmethod
    def none(cls, num_slots: int, size: int) -> Blocks:
        """No room yet."""
        nothing = np.zeros(0, dtype=np.int64)
        count = np.zeros(1, dtype=np.int64)
        current = np.full(num_slots, NO_BLOCK, dtype=np.int64)
        return cls(size, nothing, count, nothing, current, np.full_like(current, size))

    def with_more(self, count: int) -> Blocks:
        """The same and `count` free blocks more."""
        known, free = len(self.below), int(self.num_free[0])
        new = np.arange(known, known + count)
        return self._replace(
            free=np.concatenate([self.free[:free], new, np.zeros(known - free, dtype=np.int64)]),
            num_free=self.num_free + count,
            below=np.concatenate([self.below, np.full(count, NO_BLOCK, dtype=np.int64)]),
        )


class Queues(NamedTuple):
    """The partial trips of every slot by priority: entries of one pool, and a heap of them each."""

    heap: IntArray  # [S, H], entries, the best one at the root
    heap_size: IntArray  # [S]
    unqueued: IntArray  # [S], scored candidates that are not in the heap yet
    at: IntArray  # [P, 3]: parent, road, seconds
    log_prob: FloatArray  # [P]
    priority: NDArray[np.floating]  # [P]; of best-first search the log-probability itself
    candidates: IntArray  # [P], where an entry's scored candidates begin; -1: nowhere
    waiting: IntArray  # [S], the entry taken from the heap whose candidates are not queued yet
    nearest: IntArray  # [S], the entry that came nearest
    nearest_m: NDArray[np.float64]  # [S]
    blocks: Blocks


class Draws(NamedTuple):
    """What drawing adds to a beam, which is ordered by `value`."""

    value: NDArray[np.float64]  # [S, W], between log-probability and `perturbed`
    perturbed: NDArray[np.float64]  # [S, W], the greatest of all routes that begin so
    tempered: NDArray[np.float64]  # [S, W], log-probability at the temperature
    key: NDArray[np.uint64]  # [S, W], of the random numbers below
    arrival_value: NDArray[np.float64]  # [S]


class Noise(NamedTuple):
    """What drawing adds to the entries of queues; see `Draws`."""

    perturbed: NDArray[np.float64]  # [P]
    tempered: NDArray[np.float64]  # [P]
    key: NDArray[np.uint64]  # [P]
