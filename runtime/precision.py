"""In which floating-point type a network computes, and what each kind of device is good at."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the GPU has it in hardware, else float16 there; float32 on the CPU."""
    if device.type != "cuda":
        return torch.float32
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


@dataclass(frozen=True)
class Precision:
    """In which type the forward pass of a training step computes; None is float32 throughout."""

    device_type: str
    dtype: torch.dtype | None

    @classmethod
    def choose(cls, choice: str, device: torch.device) -> Precision:
        """What `choice` means on a device; `auto` is its fastest type."""
        types = {
            "auto": fastest_dtype(device),
            "off": torch.float32,
            "float16": torch.float16,
            "bfloat16": torch.bfloat16,
        }
        dtype = types[choice]
        return cls(device.type, None if dtype is torch.float32 else dtype)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.amp.autocast(self.device_type, dtype=self.dtype)

    @property
    def needs_scaling(self) -> bool:
        """Whether gradients would underflow without a `GradScaler`."""
        return self.dtype is torch.float16
