"""A GPU made of CPU tensors that say they are on one: real values, and CUDA's rules of devices.

`with PretendedGPU() as gpu:` makes `device="cuda"` work everywhere. Mixing tensors of both places
is an error, and so is reading a tensor of the GPU as an array; what would make the CPU wait for
the GPU is noted in `gpu.waits`, copies to the GPU in `gpu.copies`.

Not `FakeTensorMode`: its tensors have no values, so nothing that depends on them can run (a search,
a drive), and where PyTorch was built without CUDA they can be neither indexed nor differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
aten = torch.ops.aten
# Their results' sizes, or they themselves, are numbers that the CPU must be told.
_WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.unique_consecutive.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
    aten.equal.default,
}
_BY_MASK = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
_MAY_MIX = {aten.copy_.default}


class OnGPU(Tensor):
    """A tensor that claims to be on the GPU; `on_cpu` holds its values."""

    on_cpu: Tensor
    gpu: ClassVar[PretendedGPU | None] = None

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGPU:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=inner.device,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner: Tensor) -> None:
        self.on_cpu = inner

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGPU({self.on_cpu!r})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["on_cpu"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> OnGPU:
        return OnGPU(inner["on_cpu"])

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        # What autograd fills in by itself would be on the GPU there.
        in_backward = torch._C._current_graph_task_id() != -1
        strays = [t for t in tensors if not isinstance(t, OnGPU) and t.dim() > 0]
        if strays and not in_backward and func not in _MAY_MIX:
            raise RuntimeError(f"{func} was given tensors on cuda:0 and on cpu.")
        _note_waiting(func, args)
        out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        wrapped = tree_map(lambda x: OnGPU(x) if isinstance(x, Tensor) else x, out)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _inner(value: Any) -> Any:
    return value.on_cpu if isinstance(value, OnGPU) else value


def _note_waiting(func: Any, args: Any) -> None:
    by_mask = func in _BY_MASK and any(
        isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
    )
    if (func in _WAITING or by_mask) and OnGPU.gpu is not None:
        OnGPU.gpu.waits.append(str(func))


class PretendedGPU(TorchFunctionMode):
    """Inside, tensors can be made on, moved to and taken from the device `cuda`."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.copies = 0

    def __enter__(self) -> PretendedGPU:
        OnGPU.gpu = self
        self._memory = patch("torch.cuda.mem_get_info", lambda _: (1 << 34, 1 << 34))
        self._memory.start()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._memory.stop()
        OnGPU.gpu = None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.to:
            return self._to(args[0], args[1:], kwargs)
        if func is Tensor.cpu:
            return self._place(args[0], torch.device("cpu"))
        if func is Tensor.tolist and isinstance(args[0], OnGPU):
            self.waits.append("tolist")
            return args[0].on_cpu.tolist()
        if func in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], OnGPU):
            raise TypeError("A tensor on cuda:0 cannot be read as an array; copy it to the CPU.")
        if kwargs.get("device") is None:
            return func(*args, **kwargs)
        device = torch.device(kwargs.pop("device"))
        made = func(*args, **kwargs)
        if device.type == "cuda" and not isinstance(made, OnGPU):
            return OnGPU(made)
        return made.on_cpu if device.type == "cpu" and isinstance(made, OnGPU) else made

    def _to(self, tensor: Tensor, args: Any, kwargs: dict[str, Any]) -> Tensor:
        kwargs.pop("non_blocking", None)
        kwargs.pop("copy", None)
        wanted = [*args, *kwargs.values()]
        device, dtype = tensor.device, tensor.dtype
        for value in wanted:
            if isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, Tensor):
                device, dtype = value.device, value.dtype
            elif isinstance(value, str | torch.device):
                device = torch.device(value)
        moved = self._place(tensor, device)
        return moved if dtype == tensor.dtype else _cast(moved, dtype)

    def _place(self, tensor: Tensor, device: torch.device) -> Tensor:
        if device.type == tensor.device.type:
            return tensor
        if device.type == "cuda":
            self.copies += 1
            return OnGPU(tensor.detach().clone())
        assert isinstance(tensor, OnGPU)
        self.waits.append("copy to the CPU")
        return tensor.on_cpu.detach().clone()


_cast: Callable[[Tensor, torch.dtype], Tensor] = Tensor.type  # no `to`, which is intercepted
