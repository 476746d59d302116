"""Compiled CPU kernels of graph attention and of cutting subgraphs.

Importing this module loads numba, so callers import it inside the function that needs it. Kernels
take a range of rows and release the GIL; `models.cpu_parallel` spreads them over threads. Sums are
taken in an order that does not depend on the number of threads.

For target i with incoming edges j -> i (e_ij their two attributes), the forward pass is

    z_ij = x_l[j] + x_r[i] + e_ij W       s_ij = att . leaky(z_ij)
    a_ij = exp(s_ij) / sum_j exp(s_ij)    out_i = sum_j a_ij x_l[j]

and the backward pass, with G_i = dL/dout_i and leaky'(z) = 1 or the slope,

    dL/da_ij = G_i . x_l[j]
    g_ij = dL/ds_ij = a_ij (dL/da_ij - sum_j a_ij dL/da_ij)      softmax
    dL/datt = sum_ij g_ij leaky(z_ij)                            leaky(z) = leaky'(z) z
    dL/dz_ij = g_ij leaky'(z_ij) att                             elementwise
    dL/dx_r[i] = sum_j dL/dz_ij      dL/dW = sum_ij e_ij (dL/dz_ij)
    dL/dx_l[j] = sum_i (dL/dz_ij + a_ij G_i)                     as score's part, and as message

The first kernel of the backward pass walks the edges by target (for g, att, x_r, W), the second by
source (for x_l): each row of a result is written by one thread. z is computed anew instead of kept,
since it is edges x width. `att` is a common factor of dL/dz, taken in once at the end of each sum.
"""

from __future__ import annotations

import numpy as np

from runtime.jit import REORDERED, kernel

_NEGATIVE_SLOPE = np.float32(0.2)


@kernel(fastmath=REORDERED)
def attend_forward(begin, end, offsets, source, attr, x_l, x_r, w_edge, att, alpha, out):  # type: ignore[no-untyped-def]
    """For targets begin:end: attention weights of their edges and the weighted sums of x_l."""
    width = x_l.shape[1]
    base = np.empty(width, np.float32)
    for i in range(begin, end):
        first, last = offsets[i], offsets[i + 1]
        best = np.float32(-3.0e38)
        for e in range(first, last):
            j = source[e]
            a0, a1 = attr[e, 0], attr[e, 1]
            score = np.float32(0.0)
            for k in range(width):
                z = x_l[j, k] + x_r[i, k] + a0 * w_edge[0, k] + a1 * w_edge[1, k]
                score += att[k] * max(z, _NEGATIVE_SLOPE * z)
            alpha[e] = score
            best = max(best, score)
        total = np.float32(0.0)
        for e in range(first, last):
            alpha[e] = np.exp(alpha[e] - best)
            total += alpha[e]
        base[:] = np.float32(0.0)
        for e in range(first, last):
            weight = alpha[e] / total
            alpha[e] = weight
            j = source[e]
            for k in range(width):
                base[k] += weight * x_l[j, k]
        for k in range(width):
            out[i, k] = base[k]


@kernel(fastmath=REORDERED)
def attend_backward_targets(  # type: ignore[no-untyped-def]
    begin, end, offsets, source, attr, x_l, x_r, w_edge, att, alpha, grad_out,
    grad_score, grad_x_r, grad_w_edge, grad_att,
):  # fmt: skip
    """For targets begin:end: gradients of scores, x_r, att, and of w_edge before its factor att."""
    width = x_l.shape[1]
    slope_sum = np.empty(width, np.float32)
    for i in range(begin, end):
        first, last = offsets[i], offsets[i + 1]
        mean = np.float32(0.0)
        for e in range(first, last):
            j = source[e]
            dot = np.float32(0.0)
            for k in range(width):
                dot += grad_out[i, k] * x_l[j, k]
            grad_score[e] = dot
            mean += alpha[e] * dot
        slope_sum[:] = np.float32(0.0)
        for e in range(first, last):
            g = alpha[e] * (grad_score[e] - mean)
            grad_score[e] = g
            j = source[e]
            a0, a1 = attr[e, 0], attr[e, 1]
            for k in range(width):
                z = x_l[j, k] + x_r[i, k] + a0 * w_edge[0, k] + a1 * w_edge[1, k]
                slope = np.float32(1.0) if z > np.float32(0.0) else _NEGATIVE_SLOPE
                step = g * slope
                grad_att[k] += step * z
                slope_sum[k] += step
                grad_w_edge[0, k] += a0 * step
                grad_w_edge[1, k] += a1 * step
        for k in range(width):
            grad_x_r[i, k] = slope_sum[k] * att[k]


@kernel(fastmath=REORDERED)
def attend_backward_sources(  # type: ignore[no-untyped-def]
    begin, end, out_offsets, out_edge, target, attr, x_l, x_r, w_edge, att, alpha, grad_score,
    grad_out, grad_x_l,
):  # fmt: skip
    """For sources begin:end: the gradient of x_l."""
    width = x_l.shape[1]
    direct = np.empty(width, np.float32)
    scored = np.empty(width, np.float32)
    for j in range(begin, end):
        direct[:] = np.float32(0.0)
        scored[:] = np.float32(0.0)
        for n in range(out_offsets[j], out_offsets[j + 1]):
            e = out_edge[n]
            i = target[e]
            a0, a1 = attr[e, 0], attr[e, 1]
            weight, g = alpha[e], grad_score[e]
            for k in range(width):
                z = x_l[j, k] + x_r[i, k] + a0 * w_edge[0, k] + a1 * w_edge[1, k]
                slope = np.float32(1.0) if z > np.float32(0.0) else _NEGATIVE_SLOPE
                scored[k] += g * slope
                direct[k] += weight * grad_out[i, k]
        for k in range(width):
            grad_x_l[j, k] = direct[k] + scored[k] * att[k]


@kernel()
def incoming_subgraph(offsets, source, targets):  # type: ignore[no-untyped-def]
    """All incoming edges of `targets`, renumbered; sources come out sorted.

    Returns the sources, then in_offsets, in_source, in_target, the edges' numbers in the whole
    graph, out_offsets, out_edge, and where each target stands among the sources.
    """
    num_roads = offsets.shape[0] - 1
    local = np.zeros(num_roads, np.int64)
    num_edges = 0
    for i in range(targets.shape[0]):
        for e in range(offsets[targets[i]], offsets[targets[i] + 1]):
            local[source[e]] = 1
            num_edges += 1
    num_sources = 0
    for road in range(num_roads):
        if local[road]:
            num_sources += 1
    needed = np.empty(num_sources, np.int64)
    n = 0
    for road in range(num_roads):
        if local[road]:
            needed[n] = road
            local[road] = n
            n += 1
    in_offsets = np.zeros(targets.shape[0] + 1, np.int64)
    in_source = np.empty(num_edges, np.int64)
    in_target = np.empty(num_edges, np.int64)
    edge_ids = np.empty(num_edges, np.int64)
    own = np.empty(targets.shape[0], np.int64)
    out_offsets = np.zeros(num_sources + 1, np.int64)
    n = 0
    for i in range(targets.shape[0]):
        own[i] = local[targets[i]]
        for e in range(offsets[targets[i]], offsets[targets[i] + 1]):
            j = local[source[e]]
            in_source[n], in_target[n], edge_ids[n] = j, i, e
            out_offsets[j + 1] += 1
            n += 1
        in_offsets[i + 1] = n
    for j in range(num_sources):
        out_offsets[j + 1] += out_offsets[j]
    cursor = out_offsets[:-1].copy()
    out_edge = np.empty(num_edges, np.int64)
    for e in range(num_edges):
        j = in_source[e]
        out_edge[cursor[j]] = e
        cursor[j] += 1
    return needed, in_offsets, in_source, in_target, edge_ids, out_offsets, out_edge, own
