"""Linear maps of rows: the same numbers by whichever kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models import row_map
from models.row_map import RowMap, onednn_is_faster


@pytest.mark.parametrize("rows", [1, 16, 112])
def test_the_same_numbers_by_either_kernel(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    if not all(hasattr(torch.ops.mkldnn, name) for name in row_map.OPERATORS):
        pytest.skip("this PyTorch has no oneDNN")
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, 48), torch.randn(96, 48), torch.randn(96)
    expected = F.linear(x, weight, bias)
    for faster in (True, False):
        monkeypatch.setattr(row_map, "onednn_is_faster", lambda known=faster: known)
        torch.testing.assert_close(RowMap(weight, bias)(x), expected, rtol=1e-5, atol=1e-5)


def test_a_row_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    x, maps = torch.randn(320, 128), RowMap(torch.randn(512, 128), torch.randn(512))
    whole = maps(x)
    for rows in (16, 48, 160):
        assert torch.equal(maps(x[:rows]), whole[:rows])


def test_other_precisions_are_left_to_pytorch() -> None:
    x, weight, bias = (torch.randn(*shape).double() for shape in ((4, 8), (3, 8), (3,)))
    assert torch.equal(RowMap(weight, bias)(x), F.linear(x, weight, bias))
    assert onednn_is_faster() in (True, False)
