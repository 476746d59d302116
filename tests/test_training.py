"""The training program: exact steps, knobs that act, figures that are right."""

from __future__ import annotations

import itertools
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from config import Config, load_config
from data.road_network import RoadNetwork
from hoser import HOSER
from models.losses import mask_candidates
from runtime.distributed import Processes
from runtime.errors import UserError
from runtime.precision import Precision
from tests.training_helpers import (
    assert_same_weights,
    distilled,
    final_weights,
    tiny_config,
)
from train_with_distill import TrainResult, train
from training.accumulation import AccumulationStep
from training.compilation import StudentCalls, compile_mode, compile_student
from training.optimization import (
    Optimization,
    configure_backends,
    learning_rate_factor,
    total_norm,
)
from training.plan import EpochPlan
from training.profiling import StepProfiler
from training.resources import ResourcePool, load_resources
from training.validation import validate

CPU = torch.device("cpu")
OFF = Precision("cpu", None)


def make_step(config: Config, lr_step: int = 5) -> tuple[AccumulationStep, EpochPlan]:
    """A step on a fresh student of `config`, and the plan of its batches."""
    pool = ResourcePool()
    resources = pool.get(config)
    torch.manual_seed(0)
    model = HOSER(config, resources.network)
    optimization = Optimization(model, config.optimizer_config, OFF, 100)
    optimization.set_learning_rate(lr_step)
    teacher = pool.teacher(config, resources, CPU) if config.distilling else None
    profiler = StepProfiler(False, 1, CPU)
    step = AccumulationStep(
        model,
        StudentCalls(model, model.encode_roads),
        optimization,
        OFF,
        Processes(),
        profiler,
        teacher,
    )
    return step, EpochPlan(config, resources.train, Processes(), CPU)


def run_one_group(config: Config) -> tuple[dict[str, torch.Tensor], float, float]:
    """Parameters, loss and gradient norm after the first optimizer step."""
    step, plan = make_step(config)
    group = plan.groups(0)[0]
    batches = [plan.dataset.features(plan.dataset.rows(spec), CPU) for spec in group]
    result = step.run(batches, 0, lambda: False)
    state = {name: value.clone() for name, value in step.model.state_dict().items()}
    return state, result.values["loss"], result.grad_norm


@pytest.mark.parametrize("teacher", [False, True], ids=["vanilla", "distilled"])
def test_accumulation_is_exact(tiny_city: Path, tmp_path: Path, teacher: bool) -> None:
    extra = distilled(tiny_city, distill__zone_weight=0.3) if teacher else {}
    outcomes = []
    for batch_size, accum_steps in ((16, 1), (4, 4), (5, 4)):
        config = tiny_config(
            tiny_city,
            tmp_path,
            dataloader__bucket_by_length=False,
            optimizer_config__batch_size=batch_size,
            optimizer_config__accum_steps=accum_steps,
            **extra,
        )
        outcomes.append(run_one_group(config))
    whole, split = outcomes[0], outcomes[1]
    assert whole[1] == pytest.approx(split[1], abs=1e-6)
    assert whole[2] == pytest.approx(split[2], rel=1e-4)
    for name, value in whole[0].items():
        torch.testing.assert_close(value, split[0][name], atol=1e-5, rtol=1e-4, msg=name)
    assert outcomes[2][1] != whole[1]  # another group of trips gives another loss


def test_a_group_cut_by_length_is_the_whole_group(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path, optimizer_config__accum_steps=5)
    step, plan = make_step(config)
    last = plan.groups(0)[-1]
    batches = [plan.dataset.features(plan.dataset.rows(spec), CPU) for spec in last]
    assert len(batches) == 5
    accumulated = step.run(batches, 0, lambda: False)
    trips = [int(trip) for spec in last for trip in spec.trip_id]
    other, _ = make_step(config)
    batch = plan.dataset.batch(trips)
    whole = other.run([batch], 0, lambda: False)
    assert accumulated.values["loss"] == pytest.approx(whole.values["loss"], abs=1e-6)
    assert accumulated.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)


def test_clipping_limits_the_update(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path, optimizer_config__max_norm=0.01)
    step, plan = make_step(config)
    batch = plan.dataset.batch(range(8))
    model = step.model
    logits, _ = model(batch)
    logits.square().sum().backward()
    before = float(step.optimization.unscale_and_clip())
    after = total_norm(p.grad for p in model.parameters() if p.grad is not None)
    assert before > 0.01 >= after * 0.999
    unlimited = tiny_config(tiny_city, tmp_path, optimizer_config__max_norm=0.0)
    free, _ = make_step(unlimited)
    free.model(batch)[0].square().sum().backward()
    norm = float(free.optimization.unscale_and_clip())
    left = total_norm(p.grad for p in free.model.parameters() if p.grad is not None)
    assert left == pytest.approx(norm, rel=1e-4)


def test_warm_up_then_cosine() -> None:
    factors = [learning_rate_factor(step, 100, 10) for step in range(101)]
    assert factors[0] == 0 and factors[5] == 0.5 and factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0, abs=1e-12)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def test_backends_are_configured() -> None:
    for wanted in (True, False):
        configure_backends(allow_tf32=wanted, cudnn_benchmark=not wanted)
        assert torch.backends.cuda.matmul.allow_tf32 is wanted
        assert torch.backends.cudnn.allow_tf32 is wanted
        assert torch.backends.cudnn.benchmark is not wanted


@pytest.mark.parametrize(
    ("mode", "disable", "expected"),
    [
        ("max-autotune", True, "max-autotune-no-cudagraphs"),
        ("max-autotune", False, "max-autotune"),
        ("reduce-overhead", True, "default"),
        ("reduce-overhead", False, "reduce-overhead"),
        ("default", True, "default"),
    ],
)
def test_compile_modes(mode: str, disable: bool, expected: str) -> None:
    overrides = {"training.torch_compile_mode": mode, "training.disable_cudagraphs": disable}
    assert compile_mode(load_config(None, overrides).training) == expected


def test_compilation_is_off_when_asked(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path)
    model = make_step(config)[0].model
    assert compile_student(model, config.training, CPU).forward is model


def test_precision_choices() -> None:
    assert Precision.choose("auto", CPU).dtype is None
    assert Precision.choose("bfloat16", CPU).dtype is torch.bfloat16
    assert Precision.choose("float16", CPU).needs_scaling
    assert not Precision.choose("bfloat16", CPU).needs_scaling


@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_mixed_precision_trains(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult, amp: str
) -> None:
    result = train(tiny_config(tiny_city, tmp_path, training__amp_dtype=amp))
    assert result.history[-1]["train_loss"] == pytest.approx(
        vanilla_run.history[-1]["train_loss"], rel=0.02
    )


def test_workers_gather_the_batches(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    gather = EpochPlan.gather
    together = threading.Barrier(3)

    def spy(plan: EpochPlan, spec: Any) -> Any:
        name = threading.current_thread().name
        calls.append(name)
        if name != "MainThread" and len(calls) <= together.parties:
            together.wait(timeout=60)  # a quick worker might do everything alone
        return gather(plan, spec)

    monkeypatch.setattr(EpochPlan, "gather", spy)
    short = {"optimizer_config__max_epoch": 1}
    one = train(tiny_config(tiny_city, tmp_path / "1", dataloader__num_workers=0, **short))
    assert set(calls) == {"MainThread"}
    calls.clear()
    two = train(tiny_config(tiny_city, tmp_path / "2", dataloader__num_workers=3, **short))
    assert len(set(calls)) == 3 and "MainThread" not in calls
    assert_same_weights(final_weights(one.folder), final_weights(two.folder))


def test_zero_lambda_is_the_vanilla_run(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult
) -> None:
    silent = {**distilled(tiny_city), "distill__lambda": 0.0}
    muted = train(tiny_config(tiny_city, tmp_path / "muted", **silent))
    assert_same_weights(final_weights(vanilla_run.folder), final_weights(muted.folder))
    assert muted.folder.name == "seed0"


def test_distillation_changes_the_run_and_is_reported(tiny_city: Path, tmp_path: Path) -> None:
    faster = {"optimizer_config__max_epoch": 2, "optimizer_config__learning_rate": 0.02}
    weights, divergence = [], []
    for weight in (1e-9, 5.0):
        settings = distilled(tiny_city, distill__lambda=weight, **faster)
        taught = train(tiny_config(tiny_city, tmp_path / str(weight), **settings))
        assert taught.folder.name == "seed0_distill"
        weights.append(final_weights(taught.folder))
        divergence.append(taught.metrics["val_kl"])
    assert divergence[1] < divergence[0]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_teacher_cache_changes_nothing_visible(tiny_city: Path, tmp_path: Path) -> None:
    settings = distilled(tiny_city, optimizer_config__max_epoch=1)
    cached = train(tiny_config(tiny_city, tmp_path / "a", **settings))
    live = train(tiny_config(tiny_city, tmp_path / "b", **settings, distill__cache=False))
    for one, other in zip(cached.history, live.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=2e-3)
        assert one["val_kl"] == pytest.approx(other["val_kl"], abs=2e-3)


def test_grad_checkpointing_gives_the_same_weights(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult
) -> None:
    saving = train(
        tiny_config(tiny_city, tmp_path / "b", trajectory_encoder_config__grad_checkpoint=True)
    )
    assert_same_weights(final_weights(vanilla_run.folder), final_weights(saving.folder))


def test_profiling_interval(tiny_city: Path, tmp_path: Path, messages: list[str]) -> None:
    train(tiny_config(tiny_city, tmp_path, profiling__log_interval=4))
    lines = [line for line in messages if "HOSER Forward" in line]
    assert len(lines) == 2 * 12 // 4  # 96 trips in batches of 8, two epochs
    assert all("Data Wait" in line and "Optimizer Step" in line for line in lines)


def test_profile_max_batches_stops_early(tiny_city: Path, tmp_path: Path) -> None:
    result = train(tiny_config(tiny_city, tmp_path, profiling__max_batches=4))
    assert not result.finished
    assert not (result.folder / "checkpoint_latest.pth").exists()


def naive_validation(result: TrainResult, config: Config, split: str) -> dict[str, float]:
    """Validation position by position, in plain Python."""
    network = RoadNetwork.load(config.data_dir)
    model = HOSER.load(result.checkpoint, config, network)
    dataset = getattr(load_resources(config), split)
    spec = dataset.evaluation_rows()
    correct = positions = 0
    errors, errors_s, nll = [], [], []
    for index in range(len(spec)):
        one = spec[torch.tensor([index]).numpy()]
        batch = dataset.features(dataset.rows(one), CPU)
        with torch.no_grad():
            logits, time_pred = model(batch)
        masked = mask_candidates(logits, batch.candidate_len)
        for t in range(int(batch.trace_len[0])):
            positions += 1
            label = int(batch.road_label[0, t])
            if label < 0:
                continue
            correct += int(masked[0, t].argmax()) == label
            nll.append(-float(torch.log_softmax(masked[0, t], -1)[label]))
            std, mean = batch.timestamp_log1p_std, batch.timestamp_log1p_mean
            guess = float(time_pred[0, t, label]) * std + mean
            truth = float(batch.timestamp_label[0, t]) * std + mean
            errors.append(abs(guess - truth) / max(truth, 1.0))
            seconds = round(math.expm1(truth))
            errors_s.append(abs(max(math.expm1(guess), 0) - seconds) / max(seconds, 1.0))
    return {
        "val_next_step_acc": correct / positions,
        "val_time_pred_mape": sum(errors) / len(errors),
        "val_time_pred_mape_seconds": sum(errors_s) / len(errors_s),
        "val_next_step_nll": sum(nll) / len(nll),
    }


@pytest.mark.parametrize("top_k", [0, 1])
def test_validation_figures(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult, top_k: int
) -> None:
    config = tiny_config(tiny_city, tmp_path, data__candidate_top_k=top_k)
    result = train(config) if top_k else vanilla_run
    for name, value in naive_validation(result, config, "val").items():
        assert result.metrics[name] == pytest.approx(value, rel=1e-4), name
    if top_k == 1:  # one candidate is always chosen: only those that fell out are wrong
        assert result.metrics["val_next_step_nll"] == 0.0


def test_validation_does_not_depend_on_the_batch_size(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path)
    resources = load_resources(config)
    torch.manual_seed(0)
    model = HOSER(config, resources.network)
    first = validate(model, resources.val, device=CPU, batch_size=1)
    second = validate(model, resources.val, device=CPU, batch_size=64)
    assert first is not None and second is not None
    for name, value in first.as_dict().items():
        assert value == pytest.approx(second.as_dict()[name], abs=1e-5), name


def test_diverging_runs_stop_with_the_reason(
    tiny_city: Path, tmp_path: Path, messages: list[str]
) -> None:
    config = tiny_config(
        tiny_city,
        tmp_path,
        optimizer_config__learning_rate=1e30,
        optimizer_config__warmup_ratio=0.0,
        optimizer_config__accum_steps=1,
        training__max_nonfinite_steps=3,
    )
    with pytest.raises(UserError, match="3 steps in a row had a non-finite loss"):
        train(config)
    assert any("has a non-finite loss and is skipped" in message for message in messages)
    assert any("Its trips' rows in train.csv" in message for message in messages)


def test_an_epoch_callback_may_end_the_run(tiny_city: Path, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    seen: list[tuple[int, float]] = []

    def stop(epoch: int, metrics: dict[str, Any]) -> None:
        seen.append((epoch, metrics["val_next_step_acc"]))
        raise Enough

    with pytest.raises(Enough):
        train(tiny_config(tiny_city, tmp_path), on_epoch_end=stop)
    assert [epoch for epoch, _ in seen] == [1]


def test_a_run_does_not_depend_on_those_before_it(tiny_city: Path, tmp_path: Path) -> None:
    """What dropout drops does not depend on whether the teacher was loaded for an earlier run."""
    changes = {"trajectory_encoder_config__dropout": 0.1, "optimizer_config__max_epoch": 1}
    taught = distilled(tiny_city, distill__teacher_report=True, **changes)
    pool = ResourcePool()
    first, second = (
        train(tiny_config(tiny_city, tmp_path / name, **taught), pool=pool, finish=False)
        for name in ("first", "second")
    )
    assert_same_weights(final_weights(first.folder), final_weights(second.folder))


def test_a_pool_shares_what_was_loaded(tiny_city: Path, tmp_path: Path) -> None:
    pool = ResourcePool()
    config = tiny_config(tiny_city, tmp_path)
    first = pool.get(config)
    train(config, pool=pool)
    assert pool.get(config) is first
    other = tiny_config(tiny_city, tmp_path, data__candidate_top_k=1)
    assert pool.get(other) is not first
