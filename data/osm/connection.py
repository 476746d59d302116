"""The largest part of a network in which every road can be reached from every other."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from data.osm.streets import BoolArray
from data.osm.turns import Turns


def largest_part(turns: Turns) -> BoolArray:
    """Which roads belong to it. [R]"""
    size = turns.num_roads
    alive = np.ones(size, dtype=bool)
    while True:
        origin, target = turns.following(alive)
        ones = np.ones(len(origin), dtype=np.int8)
        graph = csr_array((ones, (origin, target)), shape=(size, size))
        _, part = connected_components(graph, directed=True, connection="strong")
        count = np.bincount(part[alive])
        kept = alive & (part == count.argmax())
        # Without the others some roads become dead ends, where one may turn: look again.
        if (kept == alive).all():
            return alive
        alive = kept
