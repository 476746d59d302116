"""On which device these tests run, and which of them are skipped where."""

from __future__ import annotations

import os

import pytest
import torch

DEVICE = torch.device(os.environ.get("HOSER_TEST_DEVICE", "cuda:0"))
ON_GPU = DEVICE.type == "cuda"
_REHEARSED = f"HOSER_TEST_DEVICE is {DEVICE}, and this needs a GPU's own means."
_NO_GPU = "There is no CUDA GPU here."
_LACKING = ON_GPU and not torch.cuda.is_available()

needs_device = pytest.mark.skipif(_LACKING, reason=_NO_GPU)
needs_gpu = pytest.mark.skipif(not ON_GPU or _LACKING, reason=_NO_GPU if _LACKING else _REHEARSED)


def needs_gpus(count: int) -> pytest.MarkDecorator:
    """Skips where there are fewer GPUs."""
    there = torch.cuda.device_count() if ON_GPU else 0
    return pytest.mark.skipif(there < count, reason=f"This needs {count} GPUs; {there} are here.")
