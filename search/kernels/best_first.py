"""The loops of best-first search over all slots.

Every slot has a binary heap of entries, which stand in one pool (`blocks`, `layout`). The heap
moves its items exactly as Python's `heapq` does, because the original's order among equal
log-probabilities follows from that. An entry may be scored before its turn: its candidates then
stand in the pool, and are queued when the entry is taken from the heap.
"""

from __future__ import annotations

import numpy as np

from runtime.jit import kernel
from search.kernels.blocks import give_back, take
from search.kernels.common import distance_m


@kernel()
def _sift_up_to_root(heap, priority, place):  # type: ignore[no-untyped-def]
    """Moves the item at `place` towards the root past worse ones."""
    item = heap[place]
    while place > 0:
        parent = (place - 1) >> 1
        if not priority[item] > priority[heap[parent]]:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = item


@kernel()
def push(heap, size, priority, item):  # type: ignore[no-untyped-def]
    """Adds an entry; the best one (greatest priority) stays at the root."""
    heap[size] = item
    _sift_up_to_root(heap, priority, size)
    return size + 1


@kernel()
def pop(heap, size, priority):  # type: ignore[no-untyped-def]
    """Takes the best entry; returns it and the new size."""
    size -= 1
    last = heap[size]
    if size == 0:
        return last, size
    top = heap[0]
    place, child = 0, 1
    while child < size:
        right = child + 1
        if right < size and not priority[heap[child]] > priority[heap[right]]:
            child = right
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    heap[place] = last
    _sift_up_to_root(heap, priority, place)
    return top, size


@kernel()
def begin_heaps(slots, origin, start, state, queues):  # type: ignore[no-untyped-def]
    """Clears the slots and puts each trip's first road into its heap."""
    for i in range(len(slots)):
        s = slots[i]
        state.best[s, :] = -np.inf
        state.visited[s, :] = False
        state.best[s, origin[i]] = 0.0
        entry = take(s, 1, queues.blocks)
        queues.at[entry, 0] = -1
        queues.at[entry, 1] = origin[i]
        queues.at[entry, 2] = start[i]
        queues.log_prob[entry] = 0.0
        queues.priority[entry] = 0.0
        queues.candidates[entry] = -1
        queues.heap[s, 0] = entry
        queues.heap_size[s] = 1
        queues.unqueued[s] = 0
        queues.waiting[s] = -1
        queues.nearest[s] = entry
        queues.nearest_m[s] = np.inf


@kernel()
def select_heads(state, queues, roads, max_steps, ahead, out, out_entry, ended, reached):  # type: ignore[no-untyped-def]
    """Takes from every heap what is scored already, then lists the next entry, or ends the search.

    Up to `ahead` further entries of each slot, next in its heap, are listed to be scored before
    their turn. Returns the numbers of rows in `out` and in `ended`.
    """
    num_out, num_ended = 0, 0
    frontier = np.empty(3 * ahead + 2, np.int64)
    for s in range(len(state.active)):
        if not state.active[s]:
            continue
        if queues.waiting[s] >= 0:
            _queue_candidates(s, queues.waiting[s], state, queues, roads)
            queues.waiting[s] = -1
        entry, arrived = _take(s, state, queues, roads, max_steps)
        if entry >= 0 and not arrived:
            queues.waiting[s] = entry
            _list(s, entry, queues, out, out_entry, num_out)
            num_out = _list_ahead(
                s, ahead, frontier, state, queues, roads, out, out_entry, num_out + 1
            )
            continue
        state.active[s] = False
        entry = entry if arrived else queues.nearest[s]
        ended.at[0, num_ended] = s
        ended.at[1:, num_ended] = queues.at[entry]
        ended.log_prob[num_ended] = queues.log_prob[entry]
        reached[num_ended] = arrived
        num_ended += 1
        give_back(s, queues.blocks)
    return num_out, num_ended


@kernel()
def _take(s, state, queues, roads, max_steps):  # type: ignore[no-untyped-def]
    """The next entry that has to be scored, or the arrival (and True); -1: there is neither."""
    while queues.heap_size[s] > 0 and state.steps[s] < max_steps:
        head, queues.heap_size[s] = pop(queues.heap[s], queues.heap_size[s], queues.priority)
        road = queues.at[head, 1]
        if state.visited[s, road]:
            continue
        state.visited[s, road] = True
        if road == state.destination[s]:
            return head, True
        metres = distance_m(roads.lon, roads.lat, road, state.destination[s])
        if metres < queues.nearest_m[s]:
            queues.nearest_m[s] = metres
            queues.nearest[s] = head
        if roads.offsets[road + 1] == roads.offsets[road]:
            continue
        state.steps[s] += 1
        if queues.candidates[head] < 0:
            return head, False
        _queue_candidates(s, head, state, queues, roads)
    return -1, False


@kernel()
def _queue_candidates(s, entry, state, queues, roads):  # type: ignore[no-untyped-def]
    """Pushes the candidates whose road was not reached before or by a worse path."""
    road, first = queues.at[entry, 1], queues.candidates[entry]
    count = roads.offsets[road + 1] - roads.offsets[road]
    queues.unqueued[s] -= count
    for candidate in range(first, first + count):
        target, priority = queues.at[candidate, 1], queues.priority[candidate]
        if priority > state.best[s, target]:
            state.best[s, target] = priority
            queues.heap_size[s] = push(
                queues.heap[s], queues.heap_size[s], queues.priority, candidate
            )


@kernel()
def _list_ahead(s, limit, frontier, state, queues, roads, out, out_entry, num_out):  # type: ignore[no-untyped-def]
    """Lists the next entries of a heap as far as they will have to be scored by what is known.

    Walks down the heap from its root, best first; nothing beyond the destination is ever taken.
    """
    heap, size = queues.heap[s], queues.heap_size[s]
    open_places, looked_at, end = 0, 0, num_out + limit
    if limit > 0 and size > 0:
        frontier[0] = 0
        open_places = 1
    while num_out < end and open_places > 0 and looked_at < 3 * limit:
        best = 0
        for i in range(1, open_places):
            if queues.priority[heap[frontier[i]]] > queues.priority[heap[frontier[best]]]:
                best = i
        place = frontier[best]
        open_places -= 1
        frontier[best] = frontier[open_places]
        for child in range(2 * place + 1, min(2 * place + 3, size)):
            frontier[open_places] = child
            open_places += 1
        looked_at += 1
        entry = heap[place]
        road = queues.at[entry, 1]
        if state.visited[s, road] or queues.priority[entry] < state.best[s, road]:
            continue
        if road == state.destination[s]:
            break
        if queues.candidates[entry] < 0 and roads.offsets[road + 1] > roads.offsets[road]:
            _list(s, entry, queues, out, out_entry, num_out)
            num_out += 1
    return num_out


@kernel()
def _list(s, entry, queues, out, out_entry, num_out):  # type: ignore[no-untyped-def]
    out.at[0, num_out] = s
    out.at[1:, num_out] = queues.at[entry]
    out.log_prob[num_out] = queues.log_prob[entry]
    out_entry[num_out] = entry


@kernel()
def keep_candidates(continued, entry, roads, queues):  # type: ignore[no-untyped-def]
    """Puts the scored candidates of the listed entries into the pool."""
    for n in range(len(entry)):
        s = continued.slot[n]
        first = roads.offsets[continued.road[n]]
        count = roads.offsets[continued.road[n] + 1] - first
        begin = take(s, count, queues.blocks)
        queues.candidates[entry[n]] = begin
        queues.unqueued[s] += count
        for c in range(count):
            place = begin + c
            queues.at[place, 0] = continued.node[n]
            queues.at[place, 1] = roads.targets[first + c]
            queues.at[place, 2] = continued.seconds[n, c]
            queues.log_prob[place] = continued.log_prob[n, c]
            queues.priority[place] = continued.log_prob[n, c]
            queues.candidates[place] = -1


@kernel()
def charge_detours(continued, entry, roads, step_cost, left, queues, in_vain):  # type: ignore[no-untyped-def]
    """Takes off the priorities of the listed entries' candidates what their detours cost.

    A step costs at least as much as the way that is left becomes cheaper: none is ever paid back,
    so that the first arrival is the best one.
    """
    for n in range(len(entry)):
        s, road = continued.slot[n], continued.road[n]
        first, edge = queues.candidates[entry[n]], roads.offsets[road]
        for c in range(roads.offsets[road + 1] - edge):
            target = roads.targets[edge + c]
            nearer = left[s, road] - left[s, target]
            in_vain[first + c] = in_vain[entry[n]] + max(step_cost[edge + c] - nearer, 0.0)
            queues.priority[first + c] -= in_vain[first + c]


@kernel()
def open_histories(state, queues, out):  # type: ignore[no-untyped-def]
    """Lists the nodes of all entries that are still open or nearest; returns their number.

    An entry's are its parent and, where it is scored, itself.
    """
    count = 0
    for s in range(len(state.active)):
        if not state.active[s]:
            continue
        for i in range(queues.heap_size[s]):
            entry = queues.heap[s, i]
            if not state.visited[s, queues.at[entry, 1]]:
                out[count] = queues.at[entry, 0]
                count += 1
                if queues.candidates[entry] >= 0:
                    out[count] = queues.at[queues.candidates[entry], 0]
                    count += 1
        out[count] = queues.at[queues.nearest[s], 0]
        count += 1
        if queues.waiting[s] >= 0 and queues.candidates[queues.waiting[s]] >= 0:
            out[count] = queues.at[queues.candidates[queues.waiting[s]], 0]
            count += 1
    return count
