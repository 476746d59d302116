"""A layer of PyG's GATv2 (one head) on a CPU, forward and backward by compiled kernels.

Memory traffic, not arithmetic, is what attention costs there: the kernel touches each neighbour's
row without writing any tensor of edges x width. What it computes is PyG's formula, no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.cpu_parallel import balanced_chunks, run_chunks
from models.road_graph import MessageGraph

if TYPE_CHECKING:
    from torch_geometric.nn import GATv2Conv


@torch.library.custom_op("hoser::graph_attention", mutates_args=())
def _graph_attention(
    x_l: Tensor,
    x_r: Tensor,
    w_edge: Tensor,
    att: Tensor,
    attr: Tensor,
    in_offsets: Tensor,
    in_source: Tensor,
    in_target: Tensor,
    out_offsets: Tensor,
    out_edge: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sums over incoming edges [targets, d] and the edges' attention weights [E]; float32, CPU."""
    from models.graph_kernels import attend_forward

    offsets = in_offsets.numpy()
    out = torch.empty_like(x_r, memory_format=torch.contiguous_format)
    alpha = x_l.new_empty(in_source.shape[0])
    arrays = [t.contiguous().numpy() for t in (in_source, attr, x_l, x_r, w_edge, att)]
    arguments = (offsets, *arrays, alpha.numpy(), out.numpy())
    run_chunks(attend_forward, balanced_chunks(offsets), lambda _: arguments)
    return out, alpha


@_graph_attention.register_fake
def _(x_l, x_r, w_edge, att, attr, in_offsets, in_source, in_target, out_offsets, out_edge):  # type: ignore[no-untyped-def]
    return torch.empty_like(x_r), x_l.new_empty(in_source.shape[0])


@torch.library.custom_op("hoser::graph_attention_backward", mutates_args=())
def _graph_attention_backward(
    grad_out: Tensor,
    alpha: Tensor,
    x_l: Tensor,
    x_r: Tensor,
    w_edge: Tensor,
    att: Tensor,
    attr: Tensor,
    in_offsets: Tensor,
    in_source: Tensor,
    in_target: Tensor,
    out_offsets: Tensor,
    out_edge: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x_l, x_r, w_edge and att; the derivation stands in `models.graph_kernels`.

    Gradients of the parameters are summed a chunk of targets at a time, so that threads share
    nothing, and then over the chunks, whose number does not depend on the threads.
    """
    from models.graph_kernels import attend_backward_sources, attend_backward_targets

    offsets, by_source = in_offsets.numpy(), out_offsets.numpy()
    attr_, x_l_, x_r_, w_, att_, alpha_, grad_ = (
        t.contiguous().numpy() for t in (attr, x_l, x_r, w_edge, att, alpha, grad_out)
    )
    grad_x_l, grad_x_r = torch.empty_like(x_l), torch.empty_like(x_r)
    grad_score = np.empty(in_source.shape[0], np.float32)
    chunks = balanced_chunks(offsets)
    grad_w = np.zeros((len(chunks), *w_.shape), np.float32)
    grad_att = np.zeros((len(chunks), *att_.shape), np.float32)
    shared = (offsets, in_source.numpy(), attr_, x_l_, x_r_, w_, att_, alpha_, grad_, grad_score)
    run_chunks(
        attend_backward_targets,
        chunks,
        lambda n: (*shared, grad_x_r.numpy(), grad_w[n], grad_att[n]),
    )
    arguments = (
        by_source, out_edge.numpy(), in_target.numpy(), attr_, x_l_, x_r_, w_, att_, alpha_,
        grad_score, grad_, grad_x_l.numpy(),
    )  # fmt: skip
    run_chunks(attend_backward_sources, balanced_chunks(by_source), lambda _: arguments)
    grad_w_edge = grad_w.sum(0) * att_
    return grad_x_l, grad_x_r, torch.from_numpy(grad_w_edge), torch.from_numpy(grad_att.sum(0))


@_graph_attention_backward.register_fake
def _(grad_out, alpha, x_l, x_r, w_edge, att, *graph):  # type: ignore[no-untyped-def]
    return tuple(torch.empty_like(t) for t in (x_l, x_r, w_edge, att))


def _save_for_backward(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(output[1], *inputs)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_out, grad_alpha):  # type: ignore[no-untyped-def]
    if grad_out is None:
        return (None,) * 10
    return (*_graph_attention_backward(grad_out, *ctx.saved_tensors), *(None,) * 6)


_graph_attention.register_autograd(_backward, setup_context=_save_for_backward)


def attend_on_cpu(layer: GATv2Conv, x: Tensor, graph: MessageGraph) -> Tensor:  # [targets, d]
    """What PyG's layer of one head computes from the sources' rows x, in float32 sums.

    out_i = sum_j softmax_j(att . leaky_relu(L x_j + R x_i + W e_ij)) (L x_j) + bias
    """
    own = graph.target_as_source
    x_l = layer.lin_l(x)
    x_r = layer.lin_r(x if own is None else F.embedding(own, x))
    out, _ = _graph_attention(
        x_l.float(),
        x_r.float(),
        layer.lin_edge.weight.t().float(),
        layer.att.view(-1).float(),
        graph.attr.float(),
        graph.in_offsets,
        graph.in_source,
        graph.in_target,
        graph.out_offsets,
        graph.out_edge,
    )
    return out.to(x_l.dtype) + layer.bias
