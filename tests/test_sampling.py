"""The order of trips: complete, seeded, shared over processes without overlap."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.loading import Prefetcher
from data.sampling import crop_starts, evaluation_batches, rank_share, training_batches


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 500),
    batch_size=st.integers(1, 64),
    seed=st.integers(0, 5),
    bucket=st.booleans(),
)
def test_every_trip_once_an_epoch(count: int, batch_size: int, seed: int, bucket: bool) -> None:
    lengths = np.random.default_rng(seed).integers(1, 100, count)
    batches = training_batches(lengths, batch_size, seed, 0, bucket)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    again = training_batches(lengths, batch_size, seed, 0, bucket)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_differ() -> None:
    lengths = np.full(200, 10)
    first = np.concatenate(training_batches(lengths, 16, 0, 0))
    assert not np.array_equal(first, np.concatenate(training_batches(lengths, 16, 0, 1)))
    assert not np.array_equal(first, np.concatenate(training_batches(lengths, 16, 1, 0)))


def test_buckets_hold_trips_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(5, 100, 20_000)

    def padding(bucket: bool) -> float:
        batches = training_batches(lengths, 64, 0, 0, bucket)
        padded = sum(lengths[batch].max() * len(batch) for batch in batches)
        return padded / lengths.sum() - 1

    assert padding(bucket=True) < 0.05 < 0.5 < padding(bucket=False)


@given(count=st.integers(0, 50), world_size=st.integers(1, 8))
def test_shares_of_processes_make_up_the_batch(count: int, world_size: int) -> None:
    rows = np.arange(count)
    shares = [rank_share(rows, rank, world_size) for rank in range(world_size)]
    assert sorted(np.concatenate(shares).tolist()) == rows.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_crops_depend_on_the_trip_alone() -> None:
    trace_len = np.array([5, 50, 80, 8])
    rows = np.array([3, 7, 9, 11])
    starts = crop_starts(trace_len, 10, 0, 0, rows)
    assert starts[0] == starts[3] == 0
    assert (starts >= 0).all() and (starts + np.minimum(trace_len, 10) <= trace_len).all()
    alone = crop_starts(trace_len[1:2], 10, 0, 0, rows[1:2])
    assert alone[0] == starts[1]
    drawn = {int(crop_starts(trace_len[2:3], 10, 0, epoch, rows[2:3])[0]) for epoch in range(99)}
    assert min(drawn) < 10 and max(drawn) > 60


def test_evaluation_batches_are_sorted_by_length() -> None:
    lengths = np.array([5, 1, 9, 3])
    order = np.concatenate(evaluation_batches(lengths, 3))
    assert lengths[order].tolist() == [1, 3, 5, 9]


def test_prefetching_keeps_the_order_and_passes_errors_on() -> None:
    for workers in (0, 1, 4):
        squares: Prefetcher[int, int] = Prefetcher(lambda x: x * x, workers, 2)
        with squares as prefetch:
            assert list(prefetch(range(50))) == [x * x for x in range(50)]

    def fail(x: int) -> int:
        raise ValueError("no")

    with Prefetcher(fail, 2, 2) as failing:
        try:
            list(failing([1]))
        except ValueError as error:
            assert str(error) == "no"
        else:
            raise AssertionError("the error was swallowed")
