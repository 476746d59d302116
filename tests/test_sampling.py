"""The order of trips: complete, seeded, shared over processes without overlap."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.loading import Prefetcher
from data.sampling import (
    bucketed_batches,
    crop_starts,
    evaluation_batches,
    micro_batches,
    pairs_saved_by_a_cut,
    rank_share,
    training_steps,
)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 500),
    per_step=st.integers(1, 64),
    parts=st.integers(1, 9),
    seed=st.integers(0, 5),
    by_length=st.booleans(),
)
def test_every_trip_once_an_epoch(
    count: int, per_step: int, parts: int, seed: int, by_length: bool
) -> None:
    lengths = np.random.default_rng(seed).integers(1, 100, count)
    steps = training_steps(count, per_step, seed, 0)
    assert len(steps) == -(-count // per_step)
    sizes = [len(step) for step in steps]
    assert max(sizes) <= per_step and max(sizes) - min(sizes) <= 1  # no step is a remainder
    cut = [micro_batches(step, lengths, parts, by_length) for step in steps]
    assert sorted(np.concatenate([trips for step in cut for trips in step])) == list(range(count))
    for step, batches in zip(steps, cut, strict=True):
        assert sorted(np.concatenate(batches)) == sorted(step)
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
    again = training_steps(count, per_step, seed, 0)
    assert all(np.array_equal(a, b) for a, b in zip(steps, again, strict=True))
    assert sorted(np.concatenate(bucketed_batches(lengths, per_step, seed, 0))) == list(
        range(count)
    )


def test_epochs_and_seeds_differ() -> None:
    first = np.concatenate(training_steps(200, 16, 0, 0))
    assert not np.array_equal(first, np.concatenate(training_steps(200, 16, 0, 1)))
    assert not np.array_equal(first, np.concatenate(training_steps(200, 16, 1, 0)))


def test_steps_are_random_in_length_and_their_parts_are_not() -> None:
    lengths = np.random.default_rng(0).integers(5, 100, 20_000)
    steps = training_steps(len(lengths), 512, 0, 0)
    spread = np.std([lengths[step].mean() for step in steps])
    assert spread < 2 * lengths.std() / np.sqrt(512)  # as of independent draws
    batches = [part for step in steps for part in micro_batches(step, lengths, 8)]
    assert _padding(lengths, batches) < 0.15 < 0.5 < _padding(lengths, steps)
    assert _padding(lengths, bucketed_batches(lengths, 64, 0, 0)) < 0.05


@given(lengths=st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_what_a_cut_in_two_saves(lengths: list[int]) -> None:
    of = np.array(lengths)

    def pairs(count: int) -> int:
        cut = micro_batches(np.arange(len(of)), of, count)
        return sum(len(part) * int(of[part].max()) ** 2 for part in cut)

    assert pairs_saved_by_a_cut(of) == pairs(1) - pairs(2)


def _padding(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    return padded / lengths.sum() - 1


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
