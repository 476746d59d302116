"""`torch.compile` as the configuration asks for it, or eager with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from config.schema import TrainingConfig
from runtime.logs import get_logger

logger = get_logger("train")

RECOMPILE_LIMIT = 16


def compile_mode(config: TrainingConfig) -> str:
    """torch's name of the mode: without CUDA graphs max-autotune stays max-autotune.

    reduce-overhead is nothing but CUDA graphs, so without them it is the default mode.
    """
    if not config.disable_cudagraphs:
        return config.torch_compile_mode
    modes = {"max-autotune": "max-autotune-no-cudagraphs", "reduce-overhead": "default"}
    return modes.get(config.torch_compile_mode, config.torch_compile_mode)


def compile_student(
    model: nn.Module, config: TrainingConfig, device: torch.device
) -> Callable[..., Any]:
    """The student's forward pass, compiled for changing B, T and C where that is asked for."""
    if not config.torch_compile:
        return model
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        logger.warning("torch_compile needs a C++ compiler, and there is none: running eagerly.")
        return model
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    mode = compile_mode(config)
    logger.info("Compiling the student (mode %s).", mode)
    return torch.compile(model, mode=mode, dynamic=True)
