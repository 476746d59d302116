"""What `torchrun` says in the environment of a process that it starts, without PyTorch."""

from __future__ import annotations

import os

from runtime.errors import UserError


def num_processes() -> int:
    """How many processes were started together."""
    return _integer("WORLD_SIZE", 1)


def is_main_process() -> bool:
    """Whether this process speaks for all."""
    return _integer("RANK", 0) == 0


def local_rank() -> int:
    """Which of its machine's processes this one is."""
    return _integer("LOCAL_RANK", 0)


def _integer(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError as error:
        raise UserError(f"The environment variable {name} is {text!r}, not a number.") from error
