"""The student under `torch.compile` and under DDP."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from config import load_config
from hoser import HOSER
from models.compiling import mark_dynamic
from tests.programs import TIMEOUT_S, call
from tests.student_helpers import (
    ParityStudent,
    largest_difference,
    losses_of,
    real_candidates,
)
from tests.training_helpers import NARROW

# Trips and where they start in the split: batches of different B, T and C.
BATCHES = [(8, 0), (5, 3), (16, 10), (3, 40), (12, 20), (9, 60), (2, 5)]


@pytest.fixture(scope="module")
def student(parity_dir: Path) -> ParityStudent:
    return ParityStudent.load(parity_dir)


def one_layer(student: ParityStudent) -> HOSER:
    """A student whose second layer, compiled as the first is, costs no time."""
    torch.manual_seed(0)
    return HOSER(
        load_config(None, {"trajectory_encoder_config.num_layers": 1, **NARROW}), student.network
    )


def test_changing_shapes_compile_once(student: ParityStudent) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = one_layer(student)
    plain = copy.deepcopy(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for size, first in BATCHES:
        batch = student.batch(size, first)
        losses = losses_of(compiled, mark_dynamic(batch))
        expected = losses_of(plain, batch)
        assert losses.next_road.item() == pytest.approx(expected.next_road.item(), abs=1e-5)
        assert losses.travel_time.item() == pytest.approx(expected.travel_time.item(), abs=1e-5)
        (losses.next_road + losses.travel_time).backward()
        (expected.next_road + expected.travel_time).backward()
    reference = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and reference[name].grad is not None
        assert largest_difference(parameter.grad, reference[name].grad) < 1e-4, name
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler for inductor"
)
def test_the_default_compiler_gives_the_same_scores(student: ParityStudent) -> None:
    torch._dynamo.reset()
    model, batch = one_layer(student).eval(), student.batch()
    real = real_candidates(batch)
    with torch.no_grad():
        expected = model(batch)
        actual = torch.compile(model)(batch)
    for ours, theirs in zip(actual, expected, strict=True):
        assert largest_difference(ours[real], theirs[real]) < 1e-4


def test_two_processes_train_as_one(student: ParityStudent, tmp_path: Path) -> None:
    processes = [call(_train_step, rank, student.folder, tmp_path) for rank in (0, 1)]
    for process in processes:
        _, errors = process.communicate(TIMEOUT_S)
        assert process.returncode == 0, errors
    model = student.model()
    losses = losses_of(model, student.batch(8))
    (losses.next_road + losses.travel_time).backward()
    ranks = [torch.load(tmp_path / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        assert largest_difference(ranks[0][name], parameter.grad) < 1e-5, name


def _train_step(rank: int, folder: Path, results: Path) -> None:
    """Two steps, since DDP notices unused parameters at the second; keeps the last gradients."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{results}/store", rank=rank, world_size=2)
    student = ParityStudent.load(folder)
    model = DistributedDataParallel(student.model())
    batch = student.batch(4, 4 * rank)
    for _ in range(2):
        model.zero_grad()
        losses = losses_of(model, batch)
        positions = losses.num_positions.clone()
        dist.all_reduce(positions)
        total = losses.next_road_sum + losses.travel_time_sum
        (total / positions * dist.get_world_size()).backward()
    torch.save({n: p.grad for n, p in model.module.named_parameters()}, results / f"rank{rank}.pth")
    dist.destroy_process_group()
