"""A hash table of partial trips that were scored: open addressing, int64 keys, two columns.

A value is the tree node of a partial trip, or, below `search.interface.NO_NODE`, its place among
those that are about to be scored.
"""

from __future__ import annotations

import numpy as np

from runtime.jit import kernel

EMPTY = np.int64(-(2**63))
_MIX = np.uint64(0x9E3779B97F4A7C15)


@kernel()
def _place_of(table, key):  # type: ignore[no-untyped-def]
    """Where a key is, or the free place where it belongs; the table is never full."""
    last = np.uint64(len(table) - 1)  # its size is a power of two
    mixed = np.uint64(key) * _MIX
    place = (mixed ^ (mixed >> np.uint64(32))) & last
    while table[place, 0] != EMPTY and table[place, 0] != key:
        place = (place + np.uint64(1)) & last
    return place


@kernel()
def find_or_list(table, keys, found, new):  # type: ignore[no-untyped-def]
    """Values of keys; those that are not there are entered and their first rows listed in `new`.

    Returns how many are new. The n-th of them has the value -2 - n until `settle`.
    """
    count = 0
    for row in range(len(keys)):
        place = _place_of(table, keys[row])
        if table[place, 0] == EMPTY:
            table[place, 0], table[place, 1] = keys[row], -2 - count
            new[count] = row
            count += 1
        found[row] = table[place, 1]
    return count


@kernel()
def settle(table, keys, nodes, found):  # type: ignore[no-untyped-def]
    """Gives the new keys their nodes, in the table and where `found` refers to them."""
    for n in range(len(keys)):
        table[_place_of(table, keys[n]), 1] = nodes[n]
    for row in range(len(found)):
        if found[row] < -1:
            found[row] = nodes[-2 - found[row]]


@kernel()
def copy_kept(table, used, larger):  # type: ignore[no-untyped-def]
    """Enters into an empty table what belongs to used nodes; returns how many there are."""
    count = 0
    for row in range(len(table)):
        if table[row, 0] != EMPTY and used[table[row, 1]]:
            place = _place_of(larger, table[row, 0])
            larger[place, 0], larger[place, 1] = table[row, 0], table[row, 1]
            count += 1
    return count
