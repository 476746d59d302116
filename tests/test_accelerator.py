"""What an accelerator computes, without one: its code paths on a CPU, and its device rules.

The device rules are those of `pretended_gpu`; what needs a real GPU is in `tests/cuda`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from config.generation import SearchName
from tests import device_bodies
from tests.accelerator_helpers import (
    CPU,
    Lesson,
    assert_close,
    parameters_of,
    take_accelerator_paths,
)
from tests.pretended_gpu import DEVICE, OnGPU, PretendedGPU
from tests.student_helpers import losses_of
from training.compilation import RECOMPILE_LIMIT, compile_student

SEARCHES: list[SearchName] = ["beam", "sample", "astar", "shortest_path"]


@pytest.fixture
def on_cpu(tiny_city: Path, tmp_path: Path) -> Lesson:
    return Lesson.on(tiny_city, tmp_path, CPU)


@pytest.fixture
def on_gpu(tiny_city: Path, tmp_path: Path) -> Lesson:
    return Lesson.on(tiny_city, tmp_path, DEVICE)


def test_training_steps_as_an_accelerator_takes_them(
    on_cpu: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, compiled = on_cpu.student(), on_cpu.student()
    expected = on_cpu.train_steps(on_cpu.step(plain), 3)
    take_accelerator_paths(monkeypatch)
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, mode: compile_with(f, backend="eager"))
    monkeypatch.setattr("training.compilation.shutil.which", lambda _: "/usr/bin/c++")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    settings = on_cpu.config.training.model_copy(update={"torch_compile": True})
    step = on_cpu.step(compiled, compile_student(compiled, settings, CPU))
    found = on_cpu.train_steps(step, 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.values == pytest.approx(theirs.values, rel=1e-4, abs=1e-5)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-3)
    assert_close(parameters_of(compiled), parameters_of(plain), 2e-4)
    # The student for any shape, and the road encoder; a single candidate has a program of its own.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4 < RECOMPILE_LIMIT


def test_graphs_see_few_shapes_and_the_same_positions(on_cpu: Lesson) -> None:
    plan = on_cpu.plan()
    specs = [spec for group in plan.groups(0) for spec in group]
    shapes = set()
    for spec in specs:
        plan.few_shapes = False
        rows = plan.gather(spec)
        plan.few_shapes = True
        padded = plan.gather(spec)
        assert rows is not None and padded is not None
        plain, wide = (on_cpu.train.features(part, CPU) for part in (rows, padded))
        shapes.add(wide.candidate_road_id.shape[1:])
        model = on_cpu.student()
        losses = [losses_of(model, batch) for batch in (plain, wide)]
        for name in ("next_road_sum", "travel_time_sum", "num_positions"):
            torch.testing.assert_close(getattr(losses[0], name), getattr(losses[1], name))
    assert len(shapes) <= 2


def test_gradients_may_have_memory_of_their_own(on_cpu: Lesson) -> None:
    """As under CUDA graphs, whose outputs are overwritten by the next replay."""
    plain, careful = on_cpu.student(), on_cpu.student()
    expected = on_cpu.train_steps(on_cpu.step(plain), 2)
    step = on_cpu.step(careful)
    object.__setattr__(step.calls, "reuses_memory", True)
    assert [r.values for r in on_cpu.train_steps(step, 2)] == [r.values for r in expected]
    assert_close(parameters_of(careful), parameters_of(plain), 1e-7)


def test_a_training_step_stays_on_the_device_and_waits_once(on_cpu: Lesson, on_gpu: Lesson) -> None:
    plain = on_cpu.student()
    expected = on_cpu.train_steps(on_cpu.step(plain), 3)
    with PretendedGPU() as gpu:
        model = on_gpu.student()
        step = on_gpu.step(model)
        gpu.waits.clear()
        found = on_gpu.train_steps(step, 3)
        # The gradient norm and the sums of the whole group. (Clipping groups gradients by the
        # device that C++ sees, which here is the CPU: a copy that a GPU does not make.)
        assert Counter(gpu.waits) == {
            "aten._local_scalar_dense.default": 3,
            "tolist": 3,
            "copy to the CPU": 3,
        }
        weights = parameters_of(model)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.values == pytest.approx(theirs.values, rel=1e-4, abs=1e-5)
    assert_close(weights, parameters_of(plain), 2e-4)


@pytest.mark.parametrize("positions", ["all", "last", 2])
def test_a_live_teacher_answers_on_the_device(
    tiny_city: Path, tmp_path: Path, positions: Any
) -> None:
    expected = device_bodies.live_answers(tiny_city, tmp_path, CPU, positions)
    with PretendedGPU():
        found = device_bodies.live_answers(tiny_city, tmp_path, DEVICE, positions)
    assert found == pytest.approx(expected, rel=1e-4)


def test_caches_and_drives_are_the_same(on_cpu: Lesson, on_gpu: Lesson, tmp_path: Path) -> None:
    expected = device_bodies.caches_and_drives(on_cpu, tmp_path / "cpu")
    with PretendedGPU():
        found = device_bodies.caches_and_drives(on_gpu, tmp_path / "gpu")
    assert_close(found, expected, 2e-3)  # the cache holds float16


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_find_the_same_trips(
    on_cpu: Lesson, on_gpu: Lesson, name: SearchName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.scorer.ROWS_A_BLOCK_GPU", 32)
    expected = device_bodies.searched(on_cpu, name)
    with PretendedGPU():
        assert device_bodies.searched(on_gpu, name) == expected
    take_accelerator_paths(monkeypatch)
    assert device_bodies.searched(on_cpu, name) == expected


def test_measures_of_a_student_are_the_same(on_cpu: Lesson, on_gpu: Lesson) -> None:
    expected = device_bodies.measures(on_cpu)
    with PretendedGPU():
        assert device_bodies.measures(on_gpu) == pytest.approx(expected, rel=1e-3)


def test_scores_are_the_same(on_cpu: Lesson, on_gpu: Lesson) -> None:
    expected = device_bodies.scores(on_cpu)
    with PretendedGPU():
        assert device_bodies.scores(on_gpu) == pytest.approx(expected, rel=1e-3)


def test_a_teacher_is_trained_on_the_device(on_cpu: Lesson, on_gpu: Lesson, tmp_path: Path) -> None:
    expected = device_bodies.teacher_losses(on_cpu, tmp_path / "teacher.pt")
    with PretendedGPU():
        found = device_bodies.teacher_losses(on_gpu, tmp_path / "teacher.pt")
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_pretended_gpu_is_strict() -> None:
    with PretendedGPU() as gpu:
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        assert isinstance(there, OnGPU) and there.device == DEVICE
        with pytest.raises(RuntimeError, match="cuda:0 and on cpu"):
            here + there
        with pytest.raises(TypeError, match="cannot be read as an array"):
            there.numpy()
        assert float(there.sum()) == 3 and len(gpu.waits) == 1
        assert type(there.cpu()) is torch.Tensor
