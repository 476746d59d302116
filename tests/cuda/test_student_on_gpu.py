"""The student computes on a GPU what it computes on the CPU, and what was published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hoser import HOSER
from runtime.precision import Precision
from tests.accelerator_helpers import CPU
from tests.cuda.place import DEVICE, needs_device, needs_gpu
from tests.student_helpers import ParityStudent, largest_difference, losses_of
from training.optimization import configure_backends

pytestmark = needs_device


@pytest.fixture(scope="module")
def student(parity_dir: Path) -> ParityStudent:
    return ParityStudent.load(parity_dir)


def test_published_outputs_losses_and_gradients(student: ParityStudent, parity_dir: Path) -> None:
    published = dict(np.load(parity_dir / "hoser_out.npz"))
    model = student.model().to(DEVICE).eval()
    batch = student.trips.batch(list(range(8)), DEVICE)
    logits, time_pred = model(batch)
    real = (batch.candidate_mask & batch.position_mask.unsqueeze(2)).cpu().numpy()
    for found, name in ((logits, "logits"), (time_pred, "time_pred")):
        values = found.detach().cpu().numpy()
        np.testing.assert_allclose(values[real], published[name][real], atol=2e-4)
    losses = losses_of(model, batch)
    assert losses.next_road.item() == pytest.approx(published["loss_next_step"], abs=1e-4)
    assert losses.travel_time.item() == pytest.approx(published["loss_time_pred"], abs=1e-4)
    (losses.next_road + losses.travel_time).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        expected = float(published[f"grad_norm__{name}"])
        assert parameter.grad.norm().item() == pytest.approx(expected, rel=3e-3, abs=1e-6), name


def test_every_gradient_is_the_cpus(student: ParityStudent) -> None:
    grads = []
    for device in (CPU, DEVICE):
        model = student.model().to(device)
        losses = losses_of(model, student.trips.batch(list(range(32)), device))
        (losses.next_road + losses.travel_time).backward()
        grads.append(
            {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
        )
    assert grads[0].keys() == grads[1].keys()
    for name, expected in grads[0].items():
        assert largest_difference(grads[1][name], expected) < 2e-4, name


@needs_gpu
@pytest.mark.parametrize("kind", ["tf32", "bfloat16", "float16"])
def test_lower_precision_is_near(student: ParityStudent, kind: str) -> None:
    model = student.model().to(DEVICE)
    batch = student.trips.batch(list(range(16)), DEVICE)
    exact = losses_of(model, batch)
    configure_backends(allow_tf32=kind == "tf32", cudnn_benchmark=False)
    precision = Precision.choose("off" if kind == "tf32" else kind, DEVICE)
    with precision.autocast():
        found = losses_of(model, batch)
    for ours, theirs in (
        (found.next_road, exact.next_road),
        (found.travel_time, exact.travel_time),
    ):
        assert ours.dtype == torch.float32
        assert ours.item() == pytest.approx(theirs.item(), rel=0.03, abs=0.01)


def test_a_road_at_a_time_is_all_at_once(student: ParityStudent) -> None:
    model = student.model().to(DEVICE).eval()
    batch = student.trips.batch([0, 1, 2], DEVICE)
    steps = int(batch.trace_len.min())
    with torch.no_grad():
        decoder = model.start()
        nodes = torch.full((3,), -1, device=DEVICE)
        expected = model(batch, tables=decoder.tables)[0]
        for t in range(steps):
            nodes, hidden = decoder.encode_step(
                nodes, batch.trace_road_id[:, t], batch.temporal_info[:, t]
            )
            found = model.next_road_scores(
                hidden,
                decoder.tables,
                batch.destination_road_id,
                batch.candidate_road_id[:, t],
                batch.metric_dis[:, t],
                batch.metric_angle[:, t],
            )[0]
            real = batch.candidate_mask[:, t]
            assert largest_difference(found[real], expected[:, t][real]) < 2e-4
    assert isinstance(model, HOSER)
