"""How long the student takes to answer: one fixed batch of the validation trips, timed."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch

from config.schema import Config
from hoser import HOSER
from runtime.device import resolve_device
from training.resources import ResourcePool

WARM_UP_RUNS = 3
TIMED_RUNS = 15


@torch.no_grad()
def inference_latency_ms(config: Config, checkpoint: Path, pool: ResourcePool) -> float:
    """The median time of one forward pass, roads encoded beforehand as in generation."""
    device = resolve_device(device=config.training.device)
    resources = pool.get(config)
    model = HOSER.load(checkpoint, config, resources.network).to(device).eval()
    size = min(config.optimizer_config.batch_size, len(resources.val))
    batch = resources.val.batch(list(range(size)), device)
    tables = model.encode_roads()
    times = []
    for _ in range(WARM_UP_RUNS + TIMED_RUNS):
        _wait(device)
        started = time.perf_counter()
        model(batch, tables)
        _wait(device)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[WARM_UP_RUNS:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
