"""The optimizer's side of a step: AdamW, scaled gradients, clipping, warm-up and cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from config.schema import OptimizerConfig
from runtime.logs import get_logger
from runtime.precision import Precision

logger = get_logger("train")


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Linear warm-up from 0, then a cosine to 0."""
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))))


class Optimization:
    """Turns accumulated gradients into a parameter update."""

    def __init__(
        self, model: nn.Module, config: OptimizerConfig, precision: Precision, total_steps: int
    ) -> None:
        self.config = config
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.total_steps = total_steps
        self.warmup_steps = int(config.warmup_ratio * total_steps)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.scaler = torch.amp.GradScaler(precision.device_type, enabled=precision.needs_scaling)

    def set_learning_rate(self, step: int) -> float:
        """Sets and returns the learning rate of optimizer step `step`."""
        factor = learning_rate_factor(step, self.total_steps, self.warmup_steps)
        rate = self.config.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def scale(self, loss: Tensor) -> Tensor:
        """The loss as it must be differentiated."""
        return self.scaler.scale(loss)

    def unscale_and_clip(self) -> Tensor:
        """The norm of the true gradients, which are clipped to `max_norm` where that is set."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.max_norm if self.config.max_norm > 0 else math.inf
        return nn.utils.clip_grad_norm_(self.parameters, limit)

    def update(self) -> None:
        """Applies the gradients; float16 gradients that overflowed are skipped by the scaler."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.zero_grad()

    def skip(self) -> None:
        """Drops the gradients of a step that must not be applied."""
        if self.scaler.is_enabled():
            self.scaler.update()
        self.zero_grad()

    def reserve_gradients(self) -> None:
        """Gives every gradient memory of its own, so that none is taken over from a CUDA graph."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def configure_backends(allow_tf32: bool, cudnn_benchmark: bool) -> None:
    """Sets TF32 and cuDNN autotuning for the whole process."""
    torch.backends.cuda.matmul.allow_tf32 = allow_tf32
    torch.backends.cudnn.allow_tf32 = allow_tf32
    torch.backends.cudnn.benchmark = cudnn_benchmark


def total_norm(tensors: Iterable[Tensor]) -> float:
    """The 2-norm of several tensors together."""
    return math.sqrt(sum(float(tensor.detach().double().square().sum()) for tensor in tensors))
