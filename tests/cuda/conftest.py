"""The lesson of `accelerator_helpers` on the CPU and on the device, and exact products."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.accelerator_helpers import CPU, Lesson
from tests.cuda.place import DEVICE
from training.optimization import configure_backends


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Float32 is float32 unless a test wants TF32; nothing compiled is left for the next test."""
    configure_backends(allow_tf32=False, cudnn_benchmark=False)
    yield
    configure_backends(allow_tf32=False, cudnn_benchmark=False)
    torch._dynamo.reset()


@pytest.fixture
def on_cpu(tiny_city: Path, tmp_path: Path) -> Lesson:
    return Lesson.on(tiny_city, tmp_path, CPU)


@pytest.fixture
def on_device(tiny_city: Path, tmp_path: Path) -> Lesson:
    return Lesson.on(tiny_city, tmp_path, DEVICE)
