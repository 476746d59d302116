"""The bench of a GPU: its code on the CPU, and what it says where there is no GPU."""

from __future__ import annotations

import re

import pytest
import torch

from bench import gpu
from bench.gpu_floors import teacher_flops
from critics.lmtad import LMTAD, LMTADConfig
from runtime.errors import UserError


@pytest.mark.slow
def test_it_runs_tiny_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--quick", "--no-save"])
    printed = capsys.readouterr().out
    for kind in ("vanilla", "distilled", "replayed"):
        found = re.search(rf"{kind} +eager +([\d.]+) +[\d.]* +([\d.]+)%", printed)
        assert found, printed
        assert float(found[1]) > 0 and 0 < float(found[2]) < 100
    assert "teacher's answers to Beijing" in printed and "beam of 4" in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="There is a GPU here.")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(UserError, match=r"There is no CUDA GPU here.*--device cpu --quick"):
        gpu.main([])


def test_the_operations_of_a_teacher_are_its_weights() -> None:
    """Two operations a weight and position, but for the embeddings, which are looked up."""
    config = LMTADConfig(vocab_size=100, block_size=16, n_layer=3, n_head=2, n_embd=32)
    model = LMTAD(config)
    weights = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.dim() == 2 and parameter.shape[0] not in (100, 16)
    )
    assert teacher_flops(config, mean_history=0.0, answers=0.0) == 2 * weights
