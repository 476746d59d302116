"""The teacher on a GPU: its answers, caches, drives and its own training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from critics.lmtad_teacher import LMTADTeacher
from critics.road_teacher import LMTADRoadTeacher
from runtime.precision import fastest_dtype
from tests import device_bodies
from tests.accelerator_helpers import CPU, Lesson, assert_close
from tests.cuda.place import DEVICE, needs_device, needs_gpu
from tests.teacher_helpers import small_weights

pytestmark = needs_device


@pytest.mark.parametrize("positions", ["all", "last", 2])
def test_live_answers_are_the_cpus(tiny_city: Path, tmp_path: Path, positions: int | str) -> None:
    expected, found = (
        device_bodies.live_answers(tiny_city, tmp_path, device, positions)
        for device in (CPU, DEVICE)
    )
    assert found == pytest.approx(expected, rel=2e-3)


def test_caches_drives_and_times_are_the_cpus(
    on_cpu: Lesson, on_device: Lesson, tmp_path: Path
) -> None:
    expected = device_bodies.caches_and_drives(on_cpu, tmp_path / "cpu")
    found = device_bodies.caches_and_drives(on_device, tmp_path / "device")
    assert_close(found, expected, 4e-3)  # the cache holds float16


@needs_gpu
def test_the_fastest_precision_says_nearly_the_same(on_device: Lesson) -> None:
    batch = on_device.train.batch(range(9), DEVICE)
    roads = on_device.network.num_roads
    teachers = [
        LMTADRoadTeacher(
            LMTADTeacher(small_weights(roads, 40), DEVICE, dtype),
            on_device.teacher().road_to_token.cpu().numpy(),
            on_device.network,
        )
        for dtype in ("float32", "auto")
    ]
    assert teachers[1].teacher.dtype == fastest_dtype(DEVICE)
    exact, fast = (
        teacher.batch_logits(batch, batch.position_mask, on_device.train).float()
        for teacher in teachers
    )
    real = exact.isfinite()
    assert torch.equal(real, fast.isfinite())
    assert (exact[real] - fast[real]).abs().mean() < 0.05 * exact[real].abs().mean() + 0.05


@pytest.mark.parametrize("amp", ["off", "auto"])
def test_a_teacher_learns_as_on_the_cpu(
    on_cpu: Lesson, on_device: Lesson, tmp_path: Path, amp: str
) -> None:
    expected = device_bodies.teacher_losses(on_cpu, tmp_path / "teacher.pt")
    found = device_bodies.teacher_losses(on_device, tmp_path / "teacher.pt", amp=amp)
    assert found == pytest.approx(expected, rel=1e-3 if amp == "off" else 0.03)
