"""Compiled CPU kernels of incremental attention along paths of a tree.

Importing this module loads numba, so callers import it inside the function that needs it.
"""

from __future__ import annotations

import numpy as np

from runtime.jit import REORDERED, kernel


@kernel(fastmath=REORDERED)
def path_relations(  # type: ignore[no-untyped-def]
    begin, end, nodes, path, depth, centers, minutes, units_per_radian, max_minutes,
    distance, interval,
):  # fmt: skip
    """Clipped distances and intervals from rows begin:end of `nodes` to all of their ancestors."""
    for n in range(begin, end):
        node = nodes[n]
        for t in range(depth[node]):
            other = path[node, t]
            dx = centers[node, 0] - centers[other, 0]
            dy = centers[node, 1] - centers[other, 1]
            dz = centers[node, 2] - centers[other, 2]
            chord = np.sqrt(dx * dx + dy * dy + dz * dz) * units_per_radian
            distance[n, t] = min(chord, 1.0)
            interval[n, t] = min(abs(minutes[node] - minutes[other]), max_minutes) / max_minutes


@kernel(fastmath=REORDERED)
def attend_paths(  # type: ignore[no-untyped-def]
    begin, end, nodes, path, depth, q, relation, keys, values, distance, interval, context, sums
):  # fmt: skip
    """Attention of rows begin:end of `nodes` over their ancestors and themselves.

    q: [N, H, d] scaled; relation: [N, H, 2]; keys, values: [nodes, H, d];
    context: [N, H, d] and sums: [N, H, 2] are the results.
    """
    num_heads, width = q.shape[1], q.shape[2]
    weights = np.empty(path.shape[1], np.float32)
    mixed = np.empty(width, np.float32)
    for n in range(begin, end):
        node = nodes[n]
        length = depth[node]
        for h in range(num_heads):
            of_distance, of_interval = relation[n, h, 0], relation[n, h, 1]
            best = np.float32(-3.0e38)
            for t in range(length):
                other = path[node, t]
                score = np.float32(0.0)
                for k in range(width):
                    score += q[n, h, k] * keys[other, h, k]
                score += distance[n, t] * of_distance + interval[n, t] * of_interval
                weights[t] = score
                best = max(best, score)
            total = np.float32(0.0)
            for t in range(length):
                weights[t] = np.exp(weights[t] - best)
                total += weights[t]
            mixed[:] = np.float32(0.0)
            sum_distance, sum_interval = np.float32(0.0), np.float32(0.0)
            for t in range(length):
                other = path[node, t]
                weight = weights[t] / total
                sum_distance += weight * distance[n, t]
                sum_interval += weight * interval[n, t]
                for k in range(width):
                    mixed[k] += weight * values[other, h, k]
            sums[n, h, 0], sums[n, h, 1] = sum_distance, sum_interval
            for k in range(width):
                context[n, h, k] = mixed[k]
