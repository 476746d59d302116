"""Which device a program computes on, from its arguments, and what suits a kind of device."""

from __future__ import annotations

import torch

from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("device")


def prefers_loops(device: torch.device) -> bool:
    """Whether compiled loops over the real entries are fastest there: on a CPU.

    Accelerators compute the same formulas as tensor operations on padded batches.
    """
    return device.type == "cpu"


def resolve_device(cuda: int | None = None, device: str | None = None) -> torch.device:
    """The device asked for; without a GPU the CPU, said in a log line.

    Neither argument given: the first GPU where there is one, else the CPU.
    """
    if cuda is not None and device is not None and not device.startswith("cuda"):
        raise UserError(f"--cuda {cuda} and --device {device} contradict each other; give one.")
    name = device or ("auto" if cuda is None else f"cuda:{cuda}")
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name!r} is not a device; use cpu, cuda or cuda:N.") from error
    if wanted.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name!r} is not supported; use cpu, cuda or cuda:N.")
    if wanted.type == "cpu":
        return wanted
    if not torch.cuda.is_available():
        logger.warning("There is no usable GPU here (%s was asked for): running on the CPU.", name)
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if (wanted.index or 0) >= count:
        raise UserError(f"{name} was asked for, but there are {count} GPUs (0 to {count - 1}).")
    return torch.device("cuda", wanted.index or 0)
