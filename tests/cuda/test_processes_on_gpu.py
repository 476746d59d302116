"""Several processes over NCCL: a GPU each, and the same training as one process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from runtime.distributed import Processes
from tests.accelerator_helpers import assert_close
from tests.cuda.place import DEVICE, needs_gpu, needs_gpus
from tests.training_helpers import (
    command_line,
    distilled,
    final_weights,
    run_program,
    tiny_config,
)
from training.folder import RunFolder

pytestmark = [needs_gpu, pytest.mark.slow]


def _torchrun(command: list[str], processes: int) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*start, f"--nproc-per-node={processes}", *command[1:]]


def test_what_travels_over_nccl(tmp_path: Path) -> None:
    """Sums, the largest value, gradients and plain values, in a group of one."""
    torch.cuda.set_device(DEVICE)
    dist.init_process_group(
        "nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1, device_id=DEVICE
    )
    try:
        # That there are two is all that these methods ask; the group itself has one member.
        group = Processes(0, 2)
        assert group.sum(torch.full((3,), 2.0, device=DEVICE)).tolist() == [2.0] * 3
        assert group.max(torch.tensor(5.0, device=DEVICE)).item() == 5.0
        parameter = torch.nn.Parameter(torch.ones(2, device=DEVICE))
        parameter.grad = torch.full((2,), 0.5, device=DEVICE)
        group.sum_gradients([parameter, torch.nn.Parameter(torch.ones(3, device=DEVICE))])
        assert parameter.grad.tolist() == [0.5, 0.5]
        assert group.broadcast({"seed": 3}) == {"seed": 3}
        group.barrier()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("teacher", [False, True], ids=["vanilla", "distilled"])
@pytest.mark.parametrize(
    "processes", [1, pytest.param(2, marks=needs_gpus(2)), pytest.param(4, marks=needs_gpus(4))]
)
def test_processes_train_as_one(
    tiny_city: Path, tmp_path: Path, processes: int, teacher: bool
) -> None:
    extra = distilled(tiny_city) if teacher else {}
    extra |= {"training__device": "cuda", "training__amp_dtype": "off"}
    one, many = (tiny_config(tiny_city, tmp_path / name, **extra) for name in ("one", "many"))
    ended = run_program(command_line(one, tmp_path / "first"), tmp_path, timeout=300)
    assert ended.returncode == 0, ended.stderr
    command = _torchrun(command_line(many, tmp_path / "second"), processes)
    ended = run_program(command, tmp_path, timeout=300)
    assert ended.returncode == 0, ended.stderr
    weights = [final_weights(RunFolder.of(each).path) for each in (one, many)]
    assert_close(weights[1], weights[0], 2e-3)


def test_more_processes_than_gpus_is_one_line(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path, training__device="cuda")
    count = torch.cuda.device_count() + 1
    command = _torchrun(command_line(config, tmp_path / "program"), count)
    ended = run_program(command, tmp_path, timeout=300)
    assert ended.returncode != 0
    assert "has no GPU of its own" in ended.stderr
