"""The student computes the published numbers, exactly and by every route."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import GAT, GCN

from bench.reference_student import PlainHOSER
from data.batch import Batch
from hoser import HOSER
from models.graph_layers import (
    attend,
    build_attention,
    build_convolution,
    convolve,
    zone_messages,
)
from models.losses import SupervisedLosses, supervised_losses
from models.road_graph import with_self_loops
from tests.student_helpers import (
    ParityStudent,
    largest_difference,
    losses_of,
    real_candidates,
)
from tools.export_hoser import original_state


@pytest.fixture(scope="module")
def student(parity_dir: Path) -> ParityStudent:
    return ParityStudent.load(parity_dir)


@pytest.fixture(scope="module")
def published(parity_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(parity_dir / "hoser_out.npz"))


def total_loss(model: torch.nn.Module, batch: Batch, **options: object) -> torch.Tensor:
    logits, time_pred = model(batch, **options)[:2]
    losses = supervised_losses(logits, time_pred, batch)
    return losses.next_road + losses.travel_time


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    assert all(parameter.grad is not None for parameter in model.parameters())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def force_padded(model: HOSER, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the routes of a GPU on the CPU: nothing packed, the whole network encoded."""
    monkeypatch.setattr(model, "_packing", lambda batch: None)
    monkeypatch.setattr(model, "roads_worth_encoding", lambda batches: None)


@pytest.mark.parametrize("padded", [False, True])
def test_published_outputs_losses_and_gradients(
    student: ParityStudent,
    published: dict[str, np.ndarray],
    padded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = student.model(), student.batch()
    if padded:
        force_padded(model, monkeypatch)
    roads, zones = model.eval().road_network_encoder()
    np.testing.assert_allclose(roads.detach(), published["road_embedding"], atol=1e-5)
    np.testing.assert_allclose(zones.detach(), published["zone_embedding"], atol=1e-5)
    logits, time_pred = model(batch)
    real = real_candidates(batch)
    np.testing.assert_allclose(logits.detach()[real], published["logits"][real], atol=1e-4)
    np.testing.assert_allclose(time_pred.detach()[real], published["time_pred"][real], atol=1e-4)
    losses = supervised_losses(logits, time_pred, batch)
    assert losses.next_road.item() == pytest.approx(published["loss_next_step"], abs=1e-5)
    assert losses.travel_time.item() == pytest.approx(published["loss_time_pred"], abs=1e-5)
    (losses.next_road + losses.travel_time).backward()
    norms = {name: gradient.norm().item() for name, gradient in gradients(model).items()}
    expected = {
        name.removeprefix("grad_norm__"): float(value)
        for name, value in published.items()
        if name.startswith("grad_norm__")
    }
    assert norms.keys() == expected.keys()
    for name, norm in norms.items():
        assert norm == pytest.approx(expected[name], rel=1e-3, abs=1e-7), name


def test_equals_plain_formulas_in_every_gradient(student: ParityStudent) -> None:
    model, batch = student.model(), student.batch(32)
    plain = PlainHOSER(student.config, student.network)
    plain.load_state_dict(torch.load(student.checkpoint, weights_only=True))
    total_loss(model, batch).backward()
    total_loss(plain, batch).backward()
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    for name, gradient in gradients(model).items():
        assert largest_difference(gradient, expected[name]) < 1e-5, name


def test_accumulated_gradients_through_shared_tables_are_plain_ones(
    student: ParityStudent,
) -> None:
    batches = [student.batch(6, first) for first in (0, 6, 12)]
    model = student.model()
    for batch in batches:
        (total_loss(model, batch) / len(batches)).backward()
    plain = gradients(model)
    for roads in (None, model.roads_worth_encoding(batches)):
        model.zero_grad()
        tables = model.encode_roads(roads)
        leaf = tables.detach_for_accumulation()
        for batch in batches:
            (total_loss(model, batch, tables=leaf) / len(batches)).backward()
        tables.backward(leaf)
        for name, gradient in gradients(model).items():
            assert largest_difference(gradient, plain[name]) < 1e-5, name


@settings(max_examples=25, deadline=None)
@given(roads=st.sets(st.integers(0, 250), min_size=1, max_size=40))
def test_a_few_roads_encode_as_in_the_whole_network(
    roads: set[int],
) -> None:
    student = ParityStudent.load(Path(__file__).parent / "parity")
    encoder = student.model().road_network_encoder
    wanted = torch.tensor(sorted(roads))
    subset = encoder.subset_for(wanted)
    assert largest_difference(encoder.encode_roads(subset), encoder.encode_roads()[wanted]) < 1e-5


def test_only_touched_roads_are_encoded_where_they_are_few(student: ParityStudent) -> None:
    model = student.model()
    few = model.roads_worth_encoding([student.batch(2)])
    assert few is not None
    touched = {0, *student.batch(2).trace_road_id.flatten().tolist()}
    assert touched <= set(few.tolist()) and len(few) < model.road_network_encoder.num_roads
    assert model.roads_worth_encoding([student.batch(len(student.trips))]) is None


def test_padding_changes_nothing_and_stays_finite(student: ParityStudent) -> None:
    model, batch = student.model(), student.batch(8)
    wider = padded_wider(batch, steps=5, candidates=3)
    narrow, wide = model(batch), model(wider)
    real = real_candidates(batch)
    steps, candidates = batch.candidate_road_id.shape[1:]
    for ours, theirs in zip(narrow, wide, strict=True):
        assert torch.isfinite(theirs).all()
        inner = theirs[:, :steps, :candidates]
        np.testing.assert_allclose(inner.detach()[real], ours.detach()[real], atol=1e-5)
    total_loss(model, batch).backward()
    expected = gradients(model)
    model.zero_grad()
    total_loss(model, wider).backward()
    for name, gradient in gradients(model).items():
        assert largest_difference(gradient, expected[name]) < 1e-5, name


def padded_wider(batch: Batch, steps: int, candidates: int) -> Batch:
    pad = torch.nn.functional.pad
    by_step = ("trace_road_id", "temporal_info", "candidate_len", "road_label", "timestamp_label")
    by_pair = ("trace_distance_mat", "trace_time_interval_mat")
    by_candidate = ("candidate_road_id", "metric_dis", "metric_angle")
    wider: dict[str, Any] = {name: pad(getattr(batch, name), (0, steps)) for name in by_step}
    wider |= {name: pad(getattr(batch, name), (0, steps, 0, steps)) for name in by_pair}
    wider |= {name: pad(getattr(batch, name), (0, candidates, 0, steps)) for name in by_candidate}
    return replace(batch, **wider)


def test_labels_that_fell_out_do_not_count(student: ParityStudent) -> None:
    model, batch = student.model(), student.batch()
    plain = losses_of(model, batch)
    assert int(plain.num_positions) == int(batch.trace_len.sum())
    fewer = replace(batch, road_label=batch.road_label.clone())
    fewer.road_label[:, 0] = -100
    losses = losses_of(model, fewer)
    assert int(losses.num_positions) == int(plain.num_positions) - len(batch.trace_len)
    assert losses.next_road_sum < plain.next_road_sum
    none = replace(batch, road_label=torch.full_like(batch.road_label, -100))
    empty = losses_of(model, none)
    assert empty.next_road.item() == 0.0 and empty.travel_time.item() == 0.0
    (empty.next_road + empty.travel_time).backward()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model).values())


def test_sums_over_parts_are_the_whole(student: ParityStudent) -> None:
    model = student.model().eval()
    with torch.no_grad():
        parts: list[SupervisedLosses] = []
        for first in (0, 4):
            batch = student.batch(4, first)
            parts.append(losses_of(model, batch))
        whole = student.batch(8)
        losses = losses_of(model, whole)
    total = sum(part.next_road_sum.item() for part in parts)
    assert total / sum(int(p.num_positions) for p in parts) == pytest.approx(
        losses.next_road.item(), abs=1e-5
    )


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_close_to_single(
    student: ParityStudent,
    dtype: torch.dtype,
    autocast: bool,
    padded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, real = student.batch(), real_candidates(student.batch())
    expected = student.model()(batch)[0].detach()[real]
    model = student.model()
    if padded:
        force_padded(model, monkeypatch)
    if autocast:
        with torch.autocast("cpu", dtype=dtype):
            loss = total_loss(model, batch)
            logits = model(batch)[0]
    else:
        model = model.to(dtype)
        loss, logits = total_loss(model, batch), model(batch)[0]
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(logits).all()
    scale = expected.abs().max()
    assert largest_difference(logits.detach()[real], expected) < 0.05 * float(scale)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model).values())


def test_gradient_checkpointing_gives_the_same_gradients(student: ParityStudent) -> None:
    batch, model = student.batch(), student.model()
    total_loss(model, batch).backward()
    expected = gradients(model)
    model.zero_grad()
    model.trajectory_encoder.grad_checkpoint = True
    total_loss(model, batch).backward()
    for name, gradient in gradients(model).items():
        assert largest_difference(gradient, expected[name]) < 1e-6, name


def test_trajectory_embedding_comes_with_the_scores(student: ParityStudent) -> None:
    model, batch = student.model().eval(), student.batch()
    logits, _, hidden = model(batch, with_hidden=True)
    assert hidden.shape == (*batch.trace_road_id.shape, model.trajectory_encoder.hidden_dim)
    assert largest_difference(logits, model(batch)[0]) == 0.0


def test_initial_parameters_follow_the_seed_and_the_originals_distribution(
    student: ParityStudent,
) -> None:
    def initial(seed: int) -> HOSER:
        torch.manual_seed(seed)
        return HOSER(student.config, student.network)

    first, again, other = (initial(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    weight = "road_network_encoder.road_gat.convs.0.lin_l.weight"
    assert not torch.equal(first[weight], other[weight])
    assert first[weight].abs().max() <= (6 / 256) ** 0.5
    torch.manual_seed(0)
    plain = PlainHOSER(student.config, student.network)
    ours = initial(0)
    for name, theirs in plain.named_parameters():
        if "time_estimator." in name or theirs.numel() < 256:
            continue
        spread, expected = ours.get_parameter(name).std().item(), theirs.std().item()
        assert spread == pytest.approx(expected, rel=0.15, abs=1e-6), name


def take_the_accelerators_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU computes, here on the CPU."""
    monkeypatch.setattr("models.graph_layers.prefers_loops", lambda device: False)


@pytest.mark.parametrize("on_accelerator", [False, True])
def test_graph_attention_equals_pyg(on_accelerator: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    edges = torch.randint(0, 40, (2, 150), generator=generator).unique(dim=1)
    attr = torch.rand(edges.shape[1], 2, generator=generator)
    features = torch.randn(41, 32, generator=generator)  # the last road touches none
    theirs = GAT(32, 32, num_layers=2, v2=True, edge_dim=2)
    ours = build_attention(32, 2, edge_dim=2)
    ours.load_state_dict(theirs.state_dict())
    graph = with_self_loops(edges.numpy(), attr.numpy(), 41)
    if on_accelerator:
        take_the_accelerators_way(monkeypatch)
    inputs = [features.clone().requires_grad_() for _ in range(2)]
    expected = theirs(inputs[0], edges, edge_attr=attr)
    actual = attend(ours, inputs[1], [graph, graph])
    assert largest_difference(actual, expected) < 1e-5
    target = torch.randn(41, 32, generator=generator)
    (expected * target).sum().backward()
    (actual * target).sum().backward()
    assert inputs[0].grad is not None and inputs[1].grad is not None
    assert largest_difference(inputs[1].grad, inputs[0].grad) < 1e-4
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert largest_difference(parameter.grad, reference[name].grad) < 1e-4, name


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_graph_layers_of_accelerators_in_half_precision(
    student: ParityStudent, dtype: torch.dtype, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = student.model().road_network_encoder
    expected = encoder.encode_roads()
    take_the_accelerators_way(monkeypatch)
    encode = encoder.encode_roads
    if compiled:
        torch._dynamo.reset()
        encode = torch.compile(encode, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", dtype=dtype):
        actual = encode()
    assert largest_difference(actual, expected) < 0.02 * float(expected.detach().abs().max())
    actual.float().square().sum().backward()
    assert all(
        p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.road_gat.parameters()
    )


@pytest.mark.parametrize("on_accelerator", [False, True])
def test_graph_convolution_equals_pyg(
    on_accelerator: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(5)
    edges = torch.randint(0, 12, (2, 40), generator=generator).unique(dim=1)
    weight = torch.rand(edges.shape[1], generator=generator)
    features = torch.randn(13, 16, generator=generator)
    theirs, ours = GCN(16, 16, num_layers=2), build_convolution(16, 2)
    ours.load_state_dict(theirs.state_dict())
    expected = theirs(features, edges, edge_weight=weight)
    if on_accelerator:
        take_the_accelerators_way(monkeypatch)
    actual = convolve(ours, features, zone_messages(edges, weight, 13))
    assert largest_difference(actual, expected) < 1e-5


def test_the_exported_file_is_the_originals(student: ParityStudent) -> None:
    original = torch.load(student.checkpoint, weights_only=True)
    exported = original_state(student.model().state_dict(), max_len=64)
    assert {k: (v.shape, v.dtype) for k, v in exported.items()} == {
        k: (v.shape, v.dtype) for k, v in original.items()
    }
    plain = PlainHOSER(student.config, student.network)
    plain.load_state_dict(exported, strict=True)
    batch = student.batch()
    real = real_candidates(batch)
    for ours, theirs in zip(student.model()(batch), plain(batch), strict=True):
        np.testing.assert_allclose(ours.detach()[real], theirs.detach()[real], atol=1e-4)
