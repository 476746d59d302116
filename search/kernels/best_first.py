"""The loops of best-first search over all slots.

Every slot has a pool of entries (parent node, road, seconds; log-probability) that only grows, and
a binary heap of entry numbers. The heap moves its items exactly as Python's `heapq` does, because
the original's order among equal log-probabilities follows from that.
"""

from __future__ import annotations

import numpy as np

from runtime.jit import kernel
from search.kernels.common import distance_m


@kernel()
def _sift_up_to_root(heap, log_prob, place):  # type: ignore[no-untyped-def]
    """Moves the item at `place` towards the root past worse ones."""
    item = heap[place]
    while place > 0:
        parent = (place - 1) >> 1
        if not log_prob[item] > log_prob[heap[parent]]:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = item


@kernel()
def push(heap, size, log_prob, item):  # type: ignore[no-untyped-def]
    """Adds an entry; the best one (greatest log-probability) stays at the root."""
    heap[size] = item
    _sift_up_to_root(heap, log_prob, size)
    return size + 1


@kernel()
def pop(heap, size, log_prob):  # type: ignore[no-untyped-def]
    """Takes the best entry; returns it and the new size."""
    size -= 1
    last = heap[size]
    if size == 0:
        return last, size
    top = heap[0]
    place, child = 0, 1
    while child < size:
        right = child + 1
        if right < size and not log_prob[heap[child]] > log_prob[heap[right]]:
            child = right
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    heap[place] = last
    _sift_up_to_root(heap, log_prob, place)
    return top, size


@kernel()
def begin_heaps(  # type: ignore[no-untyped-def]
    slots, origin, start, best, visited, heap, heap_size, pool_at, pool_log_prob, pool_size
):  # fmt: skip
    """Clears the slots and puts each trip's first road into its heap."""
    for i in range(len(slots)):
        s = slots[i]
        best[s, :] = -np.inf
        visited[s, :] = False
        best[s, origin[i]] = 0.0
        pool_at[s, 0, 0] = -1
        pool_at[s, 0, 1] = origin[i]
        pool_at[s, 0, 2] = start[i]
        pool_log_prob[s, 0] = 0.0
        pool_size[s] = 1
        heap[s, 0] = 0
        heap_size[s] = 1


@kernel()
def select_heads(  # type: ignore[no-untyped-def]
    active, destination, steps, max_steps, heap, heap_size, pool_at, pool_log_prob,
    nearest, nearest_m, visited, offsets, lon, lat,
    out, out_log_prob, ended, ended_log_prob, ended_reached,
):  # fmt: skip
    """Takes from every heap the next entry to continue, or ends the search.

    out and ended: rows (slot, parent, road, seconds). Returns the numbers of both.
    """
    num_out, num_ended = 0, 0
    for s in range(len(active)):
        if not active[s]:
            continue
        entry, reached = -1, False
        while heap_size[s] > 0 and steps[s] < max_steps:
            head, heap_size[s] = pop(heap[s], heap_size[s], pool_log_prob[s])
            road = pool_at[s, head, 1]
            if visited[s, road]:
                continue
            visited[s, road] = True
            if road == destination[s]:
                entry, reached = head, True
                break
            metres = distance_m(lon, lat, road, destination[s])
            if metres < nearest_m[s]:
                nearest_m[s] = metres
                nearest[s] = head
            if offsets[road + 1] > offsets[road]:
                entry = head
                break
        if entry >= 0 and not reached:
            steps[s] += 1
            out[0, num_out] = s
            out[1:, num_out] = pool_at[s, entry]
            out_log_prob[num_out] = pool_log_prob[s, entry]
            num_out += 1
            continue
        active[s] = False
        entry = entry if reached else nearest[s]
        ended[0, num_ended] = s
        ended[1:, num_ended] = pool_at[s, entry]
        ended_log_prob[num_ended] = pool_log_prob[s, entry]
        ended_reached[num_ended] = reached
        num_ended += 1
    return num_out, num_ended


@kernel()
def update_heaps(  # type: ignore[no-untyped-def]
    slot, road, node, next_log_prob, next_seconds, offsets, targets,
    best, heap, heap_size, pool_at, pool_log_prob, pool_size,
):  # fmt: skip
    """Pushes the candidates whose road was not reached before or by a worse path."""
    for n in range(len(slot)):
        s = slot[n]
        first = offsets[road[n]]
        for c in range(offsets[road[n] + 1] - first):
            target, log_prob = targets[first + c], next_log_prob[n, c]
            if not log_prob > best[s, target]:
                continue
            best[s, target] = log_prob
            entry = pool_size[s]
            pool_size[s] = entry + 1
            pool_at[s, entry, 0] = node[n]
            pool_at[s, entry, 1] = target
            pool_at[s, entry, 2] = next_seconds[n, c]
            pool_log_prob[s, entry] = log_prob
            heap_size[s] = push(heap[s], heap_size[s], pool_log_prob[s], entry)


@kernel()
def open_parents(  # type: ignore[no-untyped-def]
    active, heap, heap_size, pool_at, visited, nearest, out
):  # fmt: skip
    """Lists the parents of all entries that are still open or nearest; returns their number."""
    count = 0
    for s in range(len(active)):
        if not active[s]:
            continue
        for i in range(heap_size[s]):
            if not visited[s, pool_at[s, heap[s, i], 1]]:
                out[count] = pool_at[s, heap[s, i], 0]
                count += 1
        if nearest[s] >= 0:
            out[count] = pool_at[s, nearest[s], 0]
            count += 1
    return count
