"""The states of torch's random generators, so that a run goes on bit for bit."""

from __future__ import annotations

from typing import Any

import torch


def random_state() -> dict[str, Any]:
    """The generators' states, of the CPU and of every GPU."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Restores what `random_state` gave, as far as the devices are still there."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
