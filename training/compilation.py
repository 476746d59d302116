"""`torch.compile` as the configuration asks for it, or eager with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from config.schema import TrainingConfig
from data.batch import Batch
from hoser import HOSER
from models.compiling import mark_dynamic
from models.road_tables import RoadTables
from runtime.device import prefers_loops
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


def uses_cuda_graphs(config: TrainingConfig, device: torch.device) -> bool:
    """Whether the compiled student's kernels are recorded, and replayed in the same memory."""
    graphs = config.torch_compile_mode in ("max-autotune", "reduce-overhead")
    return (
        device.type == "cuda" and config.torch_compile and graphs and not config.disable_cudagraphs
    )


@dataclass(frozen=True)
class StudentCalls:
    """The two ways in which a step calls the student.

    `reuses_memory`: what `forward` and its backward pass give is overwritten by the next call.
    """

    forward: Callable[..., Any]
    encode_roads: Callable[..., RoadTables]
    reuses_memory: bool = False


def compile_student(model: HOSER, config: TrainingConfig, device: torch.device) -> StudentCalls:
    """The student's calls, compiled once for changing B, T and C where that is asked for."""
    eager = StudentCalls(model, model.encode_roads)
    if not config.torch_compile:
        return eager
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        logger.warning("torch_compile needs a C++ compiler, and there is none: running eagerly.")
        return eager
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    mode = compile_mode(config)
    logger.info("Compiling the student (mode %s).", mode)
    compiled = torch.compile(model, mode=mode)

    def forward(batch: Batch, *arguments: Any, **keywords: Any) -> Any:
        return compiled(mark_dynamic(batch), *arguments, **keywords)

    if prefers_loops(device):  # there the road encoder already is a compiled kernel
        return StudentCalls(forward, model.encode_roads)
    # Never in a CUDA graph: a step's micro-batches read its tables until the last has been
    # differentiated, and every replay of a graph overwrites what the graphs before it left.
    of_tables = compile_mode(config.model_copy(update={"disable_cudagraphs": True}))
    encode_roads = torch.compile(model.encode_roads, mode=of_tables)
    return StudentCalls(forward, encode_roads, uses_cuda_graphs(config, device))
