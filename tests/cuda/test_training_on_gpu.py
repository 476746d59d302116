"""Training steps on a GPU: in every precision, without waiting, and resumed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from config.choices import AmpChoice
from tests.accelerator_helpers import Lesson, assert_close, parameters_of
from tests.cuda.place import DEVICE, ON_GPU, needs_device, needs_gpu
from tests.training_helpers import final_weights, replayed, tiny_config
from train_with_distill import train
from training.folder import RunFolder
from training.optimization import configure_backends

pytestmark = needs_device


def test_steps_with_cached_answers_and_driven_trips_are_the_cpus(
    on_cpu: Lesson, on_device: Lesson
) -> None:
    plain, model = on_cpu.student(), on_device.student()
    expected = on_cpu.train_steps(on_cpu.step(plain), 3)
    found = on_device.train_steps(on_device.step(model), 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.values == pytest.approx(theirs.values, rel=1e-3, abs=1e-4)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-2)
    assert_close(parameters_of(model), parameters_of(plain), 2e-3)


@needs_gpu
@pytest.mark.parametrize("kind", ["tf32", "bfloat16", "float16"])
def test_a_step_in_lower_precision_goes_the_same_way(on_device: Lesson, kind: str) -> None:
    start = parameters_of(on_device.student())

    def change(amp: AmpChoice) -> torch.Tensor:
        model = on_device.student()
        step = on_device.step(model, amp=amp)
        if step.optimization.scaler.is_enabled():  # the usual 65536 would overflow at first
            step.optimization.scaler.load_state_dict(
                {**step.optimization.scaler.state_dict(), "scale": 256.0}
            )
        results = on_device.train_steps(step, 2)
        assert all(result.finite for result in results)
        after = parameters_of(model)
        return torch.cat([(after[name] - value).reshape(-1) for name, value in start.items()])

    exact = change("off")
    configure_backends(allow_tf32=kind == "tf32", cudnn_benchmark=False)
    found = change("off" if kind == "tf32" else kind)  # type: ignore[arg-type]
    assert torch.nn.functional.cosine_similarity(exact, found, dim=0) > 0.9


@needs_gpu
def test_an_overflow_in_float16_is_skipped_and_the_scale_lowered(on_device: Lesson) -> None:
    model = on_device.student()
    step = on_device.step(model, amp="float16")
    scaler = step.optimization.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**40})
    before = parameters_of(model)
    (result,) = on_device.train_steps(step, 1)
    assert result.finite  # an overflow is no reason to stop
    assert scaler.get_scale() < 2.0**40
    assert_close(parameters_of(model), before, 0.0)


@needs_gpu
def test_the_cpu_waits_twice_a_step(on_device: Lesson) -> None:
    """For the gradient's norm and for the sums; not once a micro-batch."""
    step = on_device.step(on_device.student())
    on_device.train_steps(step, 1)
    torch.cuda.synchronize()
    plan = on_device.plan()
    group = plan.groups(0)[1]
    batches = [on_device.train.features(rows, DEVICE) for rows in map(plan.gather, group) if rows]
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step.run(batches, 1, lambda: False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [each for each in caught if "synchroniz" in str(each.message).lower()]
    assert len(waits) <= 3, [f"{each.filename}:{each.lineno}" for each in waits]


class _Stop(Exception):
    pass


@pytest.mark.parametrize("kind", ["vanilla", "replayed"])
def test_a_run_that_stopped_ends_as_if_it_had_not(
    tiny_city: Path, tmp_path: Path, kind: str
) -> None:
    extra: dict[str, Any] = replayed(tiny_city) if kind == "replayed" else {}
    extra |= {"training__device": str(DEVICE), "training__amp_dtype": "off"}

    def stop(epoch: int, metrics: dict[str, Any]) -> None:
        raise _Stop

    whole = tiny_config(tiny_city, tmp_path / "whole", **extra)
    train(whole)
    stopped = tiny_config(tiny_city, tmp_path / "stopped", **extra)
    with pytest.raises(_Stop):
        train(stopped, on_epoch_end=stop)
    result = train(stopped, resume=True)
    assert result.finished and len(result.history) == 2
    first, second = (final_weights(RunFolder.of(each).path) for each in (whole, stopped))
    # Sums over edges are in no fixed order on a GPU.
    tolerance = 2e-3 if ON_GPU else 0.0
    assert_close(second, first, tolerance)
