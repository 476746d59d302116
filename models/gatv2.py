"""Graph attention (GATv2, one head) with the parameters of PyTorch Geometric's `GAT(v2=True)`.

On a CPU the message passing is a compiled kernel: memory traffic, not arithmetic, is what it
costs, and the kernel touches each neighbour's row without writing any tensor of edges x width.
Elsewhere it is the same formula in vectorised tensor operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.cpu_parallel import balanced_chunks, run_chunks
from models.road_graph import MessageGraph

_NEGATIVE_SLOPE = 0.2


def glorot_(weight: Tensor) -> None:
    """Uniform in +-sqrt(6 / (fan in + fan out)), the fans being the last two dimensions."""
    bound = math.sqrt(6.0 / (weight.shape[-2] + weight.shape[-1]))
    nn.init.uniform_(weight, -bound, bound)


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
    """Gradients of x_l, x_r, w_edge and att."""
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


def _attend_compiled(
    x_l: Tensor, x_r: Tensor, w_edge: Tensor, att: Tensor, graph: MessageGraph
) -> Tensor:
    """Sums of attention-weighted messages at each target, [targets, d], by the CPU kernel."""
    out, _ = _graph_attention(
        x_l.float(),
        x_r.float(),
        w_edge.float(),
        att.float(),
        graph.attr.float(),
        graph.in_offsets,
        graph.in_source,
        graph.in_target,
        graph.out_offsets,
        graph.out_edge,
    )
    return out


def _attend_vectorised(
    x_l: Tensor, x_r: Tensor, w_edge: Tensor, att: Tensor, graph: MessageGraph
) -> Tensor:
    """The same sums in tensor operations; scores and weights in float32."""
    source, target = graph.in_source, graph.in_target
    messages = F.embedding(source, x_l)  # [E, d]
    mixed = messages + F.embedding(target, x_r) + graph.attr.to(x_l.dtype) @ w_edge.to(x_l.dtype)
    # A sum of products, not a matrix product: autocast would take the scores in half precision.
    score = (F.leaky_relu(mixed, _NEGATIVE_SLOPE).float() * att.float()).sum(dim=1)  # [E]
    best = score.new_full((graph.num_targets,), -torch.inf)
    best = best.scatter_reduce(0, target, score.detach(), "amax")
    weight = (score - best[target]).exp()
    total = weight.new_zeros(graph.num_targets).index_add(0, target, weight)
    weight = weight / total[target]
    out = weight.new_zeros(graph.num_targets, x_l.shape[1])
    return out.index_add(0, target, messages.float() * weight.unsqueeze(1))


class GATv2Layer(nn.Module):
    """out_i = sum_j softmax_j(att . leaky_relu(L x_j + R x_i + W e_ij)) (L x_j) + bias."""

    def __init__(self, width: int, edge_dim: int) -> None:
        super().__init__()
        self.att = nn.Parameter(torch.empty(1, 1, width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.lin_l = nn.Linear(width, width)
        self.lin_r = nn.Linear(width, width)
        self.lin_edge = nn.Linear(edge_dim, width, bias=False)
        for weight in (self.att, self.lin_l.weight, self.lin_r.weight, self.lin_edge.weight):
            glorot_(weight)

    def forward(self, x: Tensor, graph: MessageGraph) -> Tensor:
        own = graph.target_as_source
        x_l = self.lin_l(x)
        x_r = self.lin_r(x if own is None else F.embedding(own, x))
        w_edge, att = self.lin_edge.weight.t(), self.att.view(-1)
        attend = _attend_compiled if x.device.type == "cpu" else _attend_vectorised
        return attend(x_l, x_r, w_edge, att, graph).to(x_l.dtype) + self.bias


class GATv2(nn.Module):
    """A stack of layers with ReLU between them."""

    def __init__(self, width: int, num_layers: int, edge_dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(GATv2Layer(width, edge_dim) for _ in range(num_layers))

    def forward(self, x: Tensor, graphs: Sequence[MessageGraph]) -> Tensor:
        for number, (conv, graph) in enumerate(zip(self.convs, graphs, strict=True)):
            if number:
                x = F.relu(x)
            x = conv(x, graph)
        return x
