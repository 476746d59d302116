"""Entries of many slots in one pool: nobody's entries are anybody else's."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from search.kernels.blocks import give_back, take
from search.kernels.layout import Blocks

SLOTS, SIZE = 3, 4


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(0, SIZE)), max_size=60))
def test_slots_share_a_pool(steps: list[tuple[int, int]]) -> None:
    blocks = Blocks.none(SLOTS, SIZE)
    owned: list[set[int]] = [set() for _ in range(SLOTS)]
    for slot, count in steps:
        if not count:  # the trip ends
            give_back(slot, blocks)
            owned[slot].clear()
            continue
        if not blocks.num_free[0]:
            blocks = blocks.with_more(2)
        first = take(slot, count, blocks)
        new = set(range(first, first + count))
        assert first >= 0 and max(new) < len(blocks.below) * SIZE
        assert not any(new & others for others in owned)
        owned[slot] |= new
    for slot in range(SLOTS):
        give_back(slot, blocks)
    free = blocks.free[: int(blocks.num_free[0])]
    assert sorted(free.tolist()) == list(range(len(blocks.below)))
    assert np.all(blocks.current == -1)
