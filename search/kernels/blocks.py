"""One pool for the entries of all slots, handed out in blocks.

How many entries a trip comes to differs a hundredfold. A slot takes blocks as it needs them and
gives them back when its trip ends; entries that are taken together stand together.
"""

from __future__ import annotations

from runtime.jit import kernel
from search.kernels.layout import NO_BLOCK


@kernel()
def take(s, count, blocks):  # type: ignore[no-untyped-def]
    """The first of `count` new entries of a slot; the caller has seen to a free block."""
    if blocks.filled[s] + count > blocks.size:
        blocks.num_free[0] -= 1
        block = blocks.free[blocks.num_free[0]]
        blocks.below[block] = blocks.current[s]
        blocks.current[s] = block
        blocks.filled[s] = 0
    first = blocks.current[s] * blocks.size + blocks.filled[s]
    blocks.filled[s] += count
    return first


@kernel()
def give_back(s, blocks):  # type: ignore[no-untyped-def]
    """Frees all entries of a slot."""
    block = blocks.current[s]
    while block != NO_BLOCK:
        blocks.free[blocks.num_free[0]] = block
        blocks.num_free[0] += 1
        block = blocks.below[block]
    blocks.current[s] = NO_BLOCK
    blocks.filled[s] = blocks.size
