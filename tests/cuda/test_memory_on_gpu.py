"""Memory of a GPU: what is said when it is full, and copies that nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gene import generate
from runtime.errors import UserError
from tests.accelerator_helpers import Lesson
from tests.cuda.place import DEVICE, needs_gpu
from tests.training_helpers import tiny_config
from train_with_distill import train

pytestmark = needs_gpu


@pytest.fixture
def hardly_any_memory() -> Iterator[None]:
    """As a GPU that others have filled."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    used = torch.cuda.memory_reserved(DEVICE)
    torch.cuda.set_per_process_memory_fraction((used + (1 << 20)) / total, DEVICE)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    torch.cuda.empty_cache()


def test_training_says_what_to_lower(
    tiny_city: Path, tmp_path: Path, hardly_any_memory: None
) -> None:
    config = tiny_config(tiny_city, tmp_path, training__device=str(DEVICE))
    with pytest.raises(UserError, match=r"ran out of memory: lower optimizer_config\.batch_size"):
        train(config)


def test_generation_says_what_to_lower(
    tiny_city: Path, tmp_path: Path, on_cpu: Lesson, hardly_any_memory: None
) -> None:
    model = tmp_path / "student.pth"
    torch.save(
        {"model": on_cpu.student().state_dict(), "config": on_cpu.config.model_dump()}, model
    )
    config = tiny_config(tiny_city, tmp_path, training__device=str(DEVICE))
    with pytest.raises(UserError, match="ran out of memory: lower --batch_size"):
        generate(config, model_path=model, num_gene=20, output=tmp_path / "trips.csv")


def test_rows_are_pinned_where_that_is_asked_for(on_device: Lesson) -> None:
    on_device.config.dataloader.pin_memory = True
    plan = on_device.plan()
    rows = plan.gather(plan.groups(0)[0][0])
    assert rows is not None and rows.road_ids.is_pinned() and rows.trace_len.is_pinned()


def test_pinned_rows_travel_while_the_gpu_computes(on_device: Lesson) -> None:
    """The CPU goes on at once, though the GPU is busy for a long time yet."""
    on_device.config.dataloader.pin_memory = True
    plan = on_device.plan()
    rows = plan.gather(plan.groups(0)[0][0])
    assert rows is not None
    on_device.train.features(rows, DEVICE)
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # cycles: about a second
    busy = torch.cuda.Event()
    busy.record()
    started = time.perf_counter()
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_device.train.features(rows, DEVICE)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not busy.query()
    assert time.perf_counter() - started < 0.5
    torch.cuda.synchronize()
