"""The compiled part of the oracle: probabilities of the next roads, by Bayes over the drivers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.demo_city.routing import (
    DECISION_NOISE_S,
    RouteTables,
    Workspace,
    cost_of_turn,
    farthest,
    forget_tree,
    grow_tree,
    make_workspace,
    tree_cost,
)
from data.demo_city.search import Number
from runtime.jit import kernel

# Mixed into every choice: a trip that none of the drivers would make keeps a probability.
_SURPRISE = 1e-4

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]


class ObservedTrips(NamedTuple):
    """Trips one after the other, the places of their choices, their search tree by driver."""

    roads: NDArray[np.int32]  # [S]
    offsets: IntArray  # [n + 1] into roads
    choices: IntArray  # [n + 1] into the roads that can come next, of all positions
    tree: IntArray  # [n, K]


@kernel()
def _choices_of_kind(
    roads: IntArray, tables: RouteTables, work: Workspace, stamp: int, out: FloatArray
) -> None:
    """Probabilities of one kind of driver, whose tree `work` holds; 0 where it would not be."""
    limit = farthest(work.to_go[roads[0]])
    first = 0
    for position in range(len(roads) - 1):
        road = roads[position]
        work.seen[road] = stamp
        begin, end = tables.reach_offsets[road], tables.reach_offsets[road + 1]
        lowest = np.inf
        for slot in range(begin, end):
            lowest = min(lowest, cost_of_turn(slot, limit, stamp, tables, work))
        total = 0.0
        for slot in range(begin, end):
            score = cost_of_turn(slot, limit, stamp, tables, work)
            weight = math.exp((lowest - score) / DECISION_NOISE_S) if score < np.inf else 0.0
            out[first + slot - begin] = weight
            total += weight
        for place in range(first, first + end - begin):
            out[place] = out[place] / total if total > 0.0 else 0.0
        first += end - begin


@kernel()
def _mix_kinds(
    roads: IntArray, by_kind: FloatArray, belief: FloatArray, tables: RouteTables, out: Float32Array
) -> None:
    """Averages the kinds of drivers by what their choices so far say of each."""
    first = 0
    for position in range(len(roads) - 1):
        begin = tables.reach_offsets[roads[position]]
        count = tables.reach_offsets[roads[position] + 1] - begin
        certain = 0.0  # below 1 where some kind would be stuck
        for kind in range(len(belief)):
            certain += belief[kind] * by_kind[kind, first : first + count].sum()
        taken = -1
        for place in range(count):
            chance = 0.0
            for kind in range(len(belief)):
                chance += belief[kind] * by_kind[kind, first + place]
            chance = chance / certain if certain > 0.0 else 1.0 / count
            out[first + place] = math.log((1.0 - _SURPRISE) * chance + _SURPRISE / count)
            if tables.reach_targets[begin + place] == roads[position + 1]:
                taken = first + place
        total = 0.0
        for kind in range(len(belief)):
            seen = by_kind[kind, taken] if taken >= 0 else 0.0
            belief[kind] *= (1.0 - _SURPRISE) * seen + _SURPRISE / count
            total += belief[kind]
        belief /= total
        first += count


@kernel()
def true_choices(
    key: Number, trips: ObservedTrips, prior: FloatArray, tables: RouteTables
) -> Float32Array:
    """Log-probabilities of the roads that can come next, for all positions of all trips."""
    out = np.empty(trips.choices[-1], dtype=np.float32)
    work = make_workspace(len(tables.chain), len(tables.reach_targets))
    stamp = 0
    for trip in range(len(trips.offsets) - 1):
        roads = trips.roads[trips.offsets[trip] : trips.offsets[trip + 1]].astype(np.int64)
        first, last = trips.choices[trip], trips.choices[trip + 1]
        by_kind = np.zeros((len(prior), last - first))
        for kind in range(len(prior)):
            cost = tree_cost(key, trips.tree[trip, kind], tables)
            num_touched = grow_tree(roads[-1], roads[:1], cost, tables, work)
            _choices_of_kind(roads, tables, work, stamp, by_kind[kind])
            forget_tree(num_touched, work)
            stamp += 1
        _mix_kinds(roads, by_kind, prior.copy(), tables, out[first:last])
    return out
