"""One process or many: who am I, and sums over all of us.

Without `torchrun` everything here is a no-op. Training sums gradients explicitly, once per
optimizer step, because a step's losses are normalised over the whole global batch; generation
exchanges plain values only.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from runtime.errors import UserError
from runtime.launched import local_rank, num_processes

TIMEOUT = datetime.timedelta(minutes=10)  # of a step that all take together


@dataclass(frozen=True)
class Processes:
    """This process among `world_size`."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and the screen."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def max(self, tensor: Tensor) -> Tensor:
        """The largest value of any process, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor

    @torch.no_grad()
    def same_everywhere(self, tensor: Tensor) -> None:
        """Replaces the tensor by the main process's, in place."""
        if self.world_size > 1:
            dist.broadcast(tensor, src=0)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Adds up every parameter's gradient over all processes, in one message."""
        if self.world_size == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def broadcast(self, value: Any) -> Any:
        """The main process's plain value, on every process."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's plain value, on every process, once all are there."""
        box = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(box, value)
        return box

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.world_size > 1:
            dist.barrier()


def join(device: torch.device, timeout: datetime.timedelta = TIMEOUT) -> Processes:
    """Joins the process group that `torchrun` describes in the environment, if it does.

    `device` is where the tensors are that will be summed: the CPU where only plain values travel.
    """
    world_size = num_processes()
    if world_size <= 1:
        return Processes()
    if not dist.is_initialized():
        on_gpu = device.type == "cuda"
        backend, own = ("nccl", device) if on_gpu else ("gloo", None)
        try:
            dist.init_process_group(backend, timeout=timeout, device_id=own)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"Joining {world_size} processes failed ({error}); start them with torchrun."
            ) from error
    return Processes(dist.get_rank(), dist.get_world_size(), local_rank())


def leave() -> None:
    """Leaves the process group, if one was joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """Under `torchrun`, the GPU that belongs to this process on its machine."""
    if device.type == "cuda" and num_processes() > 1:
        local = local_rank()
        if local >= torch.cuda.device_count():
            raise UserError(
                f"Process {local} of this machine has no GPU of its own "
                f"({torch.cuda.device_count()} here); lower --nproc-per-node."
            )
        # What names no device (plain values sent around, kernels) must not go to the first GPU.
        torch.cuda.set_device(local)
        return torch.device("cuda", local)
    return device
