"""Compiled students: every mode, with and without CUDA graphs, for batches of any shape."""

from __future__ import annotations

import pytest
import torch

from config.choices import CompileMode
from tests.accelerator_helpers import Lesson, assert_close, parameters_of
from tests.cuda.place import DEVICE, ON_GPU, needs_device, needs_gpu
from training.compilation import RECOMPILE_LIMIT, compile_student, uses_cuda_graphs

pytestmark = [needs_device, pytest.mark.slow]

STEPS = 4


def _trained(lesson: Lesson, mode: CompileMode, graphs: bool) -> None:
    """Steps of a compiled student, against the same steps of an eager one."""
    plain, model = lesson.student(), lesson.student()
    expected = lesson.train_steps(lesson.step(plain), STEPS)
    settings = lesson.config.training.model_copy(
        update={"torch_compile": True, "torch_compile_mode": mode, "disable_cudagraphs": not graphs}
    )
    lesson.config.training = settings  # the plan pads to few shapes where graphs are recorded
    torch._dynamo.utils.counters.clear()
    calls = compile_student(model, settings, lesson.device)
    assert calls.reuses_memory == uses_cuda_graphs(settings, lesson.device)
    found = lesson.train_steps(lesson.step(model, calls), STEPS)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.values == pytest.approx(theirs.values, rel=2e-3, abs=1e-3)
    assert_close(parameters_of(model), parameters_of(plain), 5e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4 < RECOMPILE_LIMIT


def test_default_mode(on_device: Lesson) -> None:
    _trained(on_device, "default", graphs=False)


@needs_gpu
@pytest.mark.parametrize("graphs", [False, True], ids=["no graphs", "CUDA graphs"])
@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_modes_for_a_gpu(on_device: Lesson, mode: CompileMode, graphs: bool) -> None:
    _trained(on_device, mode, graphs)


def test_shapes_that_change_do_not_compile_anew(on_device: Lesson) -> None:
    """Any number of trips, positions and candidates: a bounded number of programs."""
    model = on_device.student()
    settings = on_device.config.training.model_copy(
        update={"torch_compile": True, "torch_compile_mode": "default"}
    )
    calls = compile_student(model, settings, DEVICE)
    lengths = on_device.train.trace_lengths
    order = lengths.argsort()
    torch._dynamo.utils.counters.clear()
    tables = model.encode_roads()
    for size in (2, 3, 5, 8, 13):
        for rows in (order[:size], order[-size:]):
            batch = on_device.train.batch(rows, DEVICE)
            logits = calls.forward(batch, tables)[0]
            assert logits.shape[0] == size
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4
    assert DEVICE.type == ("cuda" if ON_GPU else "cpu")
