"""In which order trips are seen: shuffled, little padded, the same for every rank.

An epoch's order follows from seed and epoch alone, so that a run can be resumed at any step and
split over any number of processes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BATCHES_PER_POOL = 50

IntArray = NDArray[np.int64]


def training_steps(num_trips: int, trips_per_step: int, seed: int, epoch: int) -> list[IntArray]:
    """The trips of each optimizer step of an epoch; every trip occurs exactly once.

    Each step is a random sample, whatever the trips' lengths: steps of like-length trips would be
    correlated, and a step's mean would weigh the positions of short trips more. For the same
    reason no step is a remainder: all have the same number of trips, give or take one.
    """
    order = np.random.default_rng([seed, epoch]).permutation(num_trips)
    return np.array_split(order, -(-num_trips // trips_per_step))


def micro_batches(
    trips: IntArray, lengths: NDArray[np.integer], count: int, by_length: bool = True
) -> list[IntArray]:
    """A step's trips in at most `count` parts of equal size.

    `by_length` puts trips of like length together, which keeps padding low. The step's gradient
    is that of all its trips, so it does not depend on how they are cut.
    """
    if by_length:
        trips = trips[np.argsort(lengths[trips], kind="stable")]
    return np.array_split(trips, min(count, len(trips)))


def pairs_saved_by_a_cut(lengths: NDArray[np.integer]) -> int:
    """How many pairs of steps attention is spared if the shorter half is padded by itself."""
    shorter, _ = np.array_split(np.sort(lengths), 2)
    if len(shorter) == 0:
        return 0
    return len(shorter) * int(lengths.max() ** 2 - shorter[-1] ** 2)


def bucketed_batches(
    lengths: NDArray[np.integer], batch_size: int, seed: int, epoch: int
) -> list[IntArray]:
    """The epoch's batches of row numbers, each of trips of like length; every row occurs once.

    Rows are sorted within random pools of fifty batches. For models that cannot cut a step: see
    `training_steps` for what it costs.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    pool_size = batch_size * BATCHES_PER_POOL
    batches: list[IntArray] = []
    for start in range(0, len(order), pool_size):
        pool = order[start : start + pool_size]
        batches.extend(_cut(pool[np.argsort(lengths[pool], kind="stable")], batch_size))
    shuffled = generator.permutation(len(batches))
    # The one batch that may be short closes the epoch.
    full = [batches[i] for i in shuffled if len(batches[i]) == batch_size]
    return full + [batch for batch in batches if len(batch) < batch_size]


def evaluation_batches(lengths: NDArray[np.integer], batch_size: int) -> list[IntArray]:
    """Batches of row numbers in order of length; nothing random."""
    return _cut(np.argsort(lengths, kind="stable"), batch_size)


def rank_share(rows: IntArray, rank: int, world_size: int) -> IntArray:
    """The part of a global batch that one of `world_size` processes computes; may be empty."""
    return rows[rank::world_size]


def crop_starts(
    trace_len: NDArray[np.integer], max_len: int, seed: int, epoch: int, rows: IntArray
) -> IntArray:
    """Where trips longer than `max_len` are cropped in this epoch: random, 0 for all others.

    Depends on seed, epoch and the row's number only, not on the batch it is in.
    """
    spare = np.maximum(trace_len.astype(np.int64) - max_len, 0)
    if not spare.any():
        return np.zeros(len(rows), dtype=np.int64)
    draws = [np.random.default_rng([seed, epoch, int(row)]).random() for row in rows[spare > 0]]
    starts = np.zeros(len(rows), dtype=np.int64)
    starts[spare > 0] = (np.array(draws) * (spare[spare > 0] + 1)).astype(np.int64)
    return starts


def _cut(order: IntArray, size: int) -> list[IntArray]:
    return [order[start : start + size] for start in range(0, len(order), size)]
