"""Linear maps whose weights stay as they are, by the fastest kernel that a processor has.

PyTorch multiplies float32 matrices on the CPU with MKL, which uses AVX-512 on Intel's processors
only: on AMD's it takes twice as long as it could. oneDNN, which comes with PyTorch as well, does
not ask who made the processor. It prepares a kernel for every number of rows, so it suits searches,
whose rows come in whole blocks, and not training. The numbers are the same up to the order of
sums, and those of a row do not depend on the other rows.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATORS = ("_linear_pointwise", "_reorder_linear_weight")  # of oneDNN


class RowMap:
    """`y = row_map(x)`: x [N, I] -> [N, O], for one weight [O, I] and bias [O]."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach(), bias.detach()
        self._by_onednn = (
            weight.device.type == "cpu" and weight.dtype == torch.float32 and onednn_is_faster()
        )
        if self._by_onednn:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        """Without gradients."""
        if not self._by_onednn:
            return F.linear(x, self.weight, self.bias)
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.contiguous(), self.weight, self.bias, "none", [], ""
        )
        return result


@cache
def onednn_is_faster() -> bool:
    """Whether MKL leaves AVX-512 unused here."""
    if not all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS):
        return False
    processor = str(torch.cpu.get_capabilities().get("cpu_name", ""))
    return "AMD" in processor and torch.backends.cpu.get_cpu_capability() == "AVX512"
