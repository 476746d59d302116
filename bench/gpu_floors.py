"""How fast a device can be at all: what it reaches in large products and copies, here and now.

A floor is the time that the operations, or the bytes, of some work take at these rates; the work's
share of it says how much there is left to gain.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from critics.lmtad import LMTADConfig


@dataclass(frozen=True)
class Peaks:
    """Rates that the device reaches."""

    flops_per_s: float
    bytes_per_s: float

    @classmethod
    def measured(cls, device: torch.device, quick: bool) -> Peaks:
        """By a product of square matrices in the device's fastest type, and by a copy."""
        size = 256 if quick else 8192
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        product = seconds_of(lambda: left @ right, device, 3 if quick else 20)
        source = torch.empty((1 << 20 if quick else 1 << 29), dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        copy = seconds_of(lambda: target.copy_(source), device, 3 if quick else 20)
        return cls(2 * size**3 / product, 2 * source.numel() / copy)

    def floor(self, flops: float, moved: float) -> float:
        """The least seconds for so many operations and bytes."""
        return max(flops / self.flops_per_s, moved / self.bytes_per_s)


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Mean seconds of `work`, the device being busy with nothing else."""
    work()
    wait_for(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    wait_for(device)
    return (time.perf_counter() - started) / repeats


def wait_for(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def teacher_flops(config: LMTADConfig, mean_history: float, answers: float) -> float:
    """What an LM-TAD computes for a position of a whole trip: blocks, attention, its answers."""
    width = config.n_embd
    blocks = config.n_layer * 12 * width * width
    attention = config.n_layer * 2 * width * mean_history
    return 2.0 * (blocks + attention + answers * width)
