"""Learning from replayed trips: what counts there, and runs that go on exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.batch import Batch
from data.turn_counts import edge_counts, turn_surprise
from hoser import HOSER
from models.losses import mask_candidates
from runtime.distributed import Processes
from runtime.errors import UserError
from runtime.precision import Precision
from search.student import open_city
from tests.training_helpers import assert_same_weights, final_weights, replayed, tiny_config
from train_with_distill import TrainResult, train
from training.accumulation import AccumulationStep, GroupResult
from training.calibration import calibrate, likeliest_temperature
from training.compilation import compile_student
from training.folder import RunFolder
from training.optimization import Optimization
from training.plan import EpochPlan
from training.profiling import StepProfiler
from training.replay import A_DRIVE, Replay
from training.resources import ResourcePool

CPU = torch.device("cpu")


class Killed(Exception):
    """Ends a run where a signal nobody can catch would."""


def test_replayed_trips_have_a_weight_of_their_own(tiny_city: Path, tmp_path: Path) -> None:
    found = {}
    for weight in (0.0, 2.0):
        config = tiny_config(
            tiny_city, tmp_path, **replayed(tiny_city), distill__replay__lambda=weight
        )
        pool = ResourcePool()
        resources = pool.get(config)
        torch.manual_seed(0)
        model = HOSER(config, resources.network)
        plan = EpochPlan(config, resources.train, Processes(), CPU)
        teacher = pool.teacher(config, resources, CPU)
        teacher.set_length(10, 5)
        teacher.attach(resources.train, progress=False)
        folder = RunFolder(tmp_path / f"run{weight}")
        Replay(config, resources, teacher, plan, folder, Processes()).begin_epoch(0, 0, model)
        group = plan.groups(0)[0]
        assert [spec.replayed for spec in group] == [False, False, True, True]
        precision = Precision("cpu", None)
        optimization = Optimization(model, config.optimizer_config, precision, 10)
        optimization.set_learning_rate(1)
        profiler = StepProfiler(False, 1, CPU)
        calls = compile_student(model, config.training, CPU)
        step = AccumulationStep(
            model, calls, optimization, precision, Processes(), profiler, teacher
        )
        batches: list[Batch] = []
        for spec in group:
            rows = plan.gather(spec)
            assert rows is not None
            batches.append(resources.train.features(rows, CPU))
        assert [batch.replayed for batch in batches] == [False, False, True, True]
        found[weight] = step.run(batches, 1, lambda: False).values
    silent, heard = found[0.0], found[2.0]
    assert heard["replay_loss"] == pytest.approx(silent["replay_loss"], rel=1e-5) and (
        heard["replay_loss"] > 0
    )
    expected = silent["loss"] + 2.0 * heard["replay_loss"]
    assert heard["loss"] == pytest.approx(expected, rel=1e-5)
    for name in ("loss_next_step", "loss_time_pred", "distill_loss", "positions", "correct"):
        assert heard[name] == pytest.approx(silent[name], rel=1e-5), name


@pytest.fixture(scope="module")
def whole(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A run of two epochs that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return train(tiny_config(tiny_city, folder, **replayed(tiny_city)))


def test_the_student_knows_which_turns_it_and_the_teacher_took(
    tiny_city: Path, tmp_path: Path, whole: TrainResult
) -> None:
    config = tiny_config(tiny_city, tmp_path, **replayed(tiny_city))
    resources = ResourcePool().get(config)
    network, train_split = resources.network, resources.train
    own = edge_counts(network, train_split.road_ids, train_split.offsets)
    best = whole.folder / "best.pth"
    city = open_city(config, best)
    assert city.known_turns is not None
    of_drives = city.known_turns.double().numpy() - own
    (drives,) = Path(config.data_dir, ".cache").glob("replay-*.npz")
    with np.load(drives) as arrays:
        driven = A_DRIVE * (arrays["lengths"] - 1).sum()
        assert of_drives.sum() == pytest.approx(driven, rel=1e-4) and of_drives.min() > -1e-4
    expected = turn_surprise(own + of_drives, network.reach_offsets)
    np.testing.assert_allclose(city.turn_surprise, expected, rtol=1e-5)
    content = torch.load(best, weights_only=True)
    for damaged in (content["turn_counts"][:-1], -content["turn_counts"] - 1, "many"):
        path = tmp_path / "damaged.pth"
        torch.save({**content, "turn_counts": damaged}, path)
        with pytest.raises(UserError, match=r"damaged\.pth"):
            assert open_city(config, path).turn_surprise is None
    vanilla = train(tiny_config(tiny_city, tmp_path / "vanilla", distill__enable=False))
    assert open_city(config, vanilla.folder / "best.pth").known_turns is None


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_between_epochs_goes_on_exactly(
    tiny_city: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: TrainResult,
    when: str,
) -> None:
    """Before the next epoch's trips are written, or after that and before its first step."""
    config = tiny_config(tiny_city, tmp_path / "killed", **replayed(tiny_city))
    begin_epoch = Replay.begin_epoch

    def killed(replay: Replay, epoch: int, steps_done: int, model: HOSER) -> None:
        if when == "after" or not epoch:
            begin_epoch(replay, epoch, steps_done, model)
        if epoch:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Replay, "begin_epoch", killed)
        train(config)
    result = train(config, resume=True)
    assert_same_weights(final_weights(whole.folder), final_weights(result.folder))


def test_a_killed_run_with_replay_goes_on_exactly(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        **replayed(tiny_city, distill__replay__refresh_epochs=2),
        "training__checkpoint_interval_steps": 1,
        "optimizer_config__max_epoch": 4,
        "dataloader__num_workers": 0,
    }
    whole = train(tiny_config(tiny_city, tmp_path / "whole", **settings))
    config = tiny_config(tiny_city, tmp_path / "killed", **settings)
    run, calls = AccumulationStep.run, 0

    def sometimes(
        step: AccumulationStep, batches: Sequence[Batch], number: int, interrupted: Any
    ) -> GroupResult:
        nonlocal calls
        calls += 1
        if calls in (3, 9, 14, 21):
            raise Killed
        return run(step, batches, number, interrupted)

    monkeypatch.setattr(AccumulationStep, "run", sometimes)
    for _ in range(9):
        try:
            result = train(config)
            break
        except Killed:
            continue
    assert result.finished and calls > 21
    assert_same_weights(final_weights(whole.folder), final_weights(result.folder))
    best = [torch.load(each.checkpoint, weights_only=True)["model"] for each in (whole, result)]
    assert_same_weights(*best)
    assert result.history[-1]["train_replay_loss"] == whole.history[-1]["train_replay_loss"]


def test_profiling_leaves_an_interrupted_run_as_it_was(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: TrainResult
) -> None:
    """Also where it goes on to the end, beyond the epoch in which the run was interrupted."""
    settings = {**replayed(tiny_city), "training__checkpoint_interval_steps": 1}
    config = tiny_config(tiny_city, tmp_path, **settings)
    run, calls = AccumulationStep.run, 0

    def until_killed(*arguments: Any) -> GroupResult:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Killed
        return run(*arguments)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(AccumulationStep, "run", until_killed)
        train(config)
    folder = RunFolder.of(config)
    before = {file: file.read_bytes() for file in folder.results if file.exists()}
    assert folder.replay in before and folder.best not in before
    profiled = train(tiny_config(tiny_city, tmp_path, **settings, profiling__max_batches=500))
    assert len(profiled.history) == 2
    assert {file: file.read_bytes() for file in folder.results if file.exists()} == before
    assert_same_weights(final_weights(whole.folder), final_weights(train(config).folder))


def test_positions_without_a_choice_find_no_temperature() -> None:
    logits = torch.tensor([[3.0, -torch.inf], [-1.0, -torch.inf]])
    assert likeliest_temperature(logits, torch.zeros(2, dtype=torch.long)) == 1.0


def test_the_likeliest_temperature_is_found_and_applied(tiny_city: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 4, generator=generator)
    labels = torch.distributions.Categorical(logits=logits).sample()
    for factor in (0.4, 1.0, 3.0):  # the labels follow logits / 1, we are told logits * factor
        assert likeliest_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.1)
    config = tiny_config(tiny_city, tmp_path)
    resources = ResourcePool().get(config)
    torch.manual_seed(0)
    model = HOSER(config, resources.network).eval()
    batch = resources.val.batch(np.arange(4))
    with torch.no_grad():
        before = model(batch)[0]
        temperature = calibrate(model, resources.val, CPU, 8)
        after = mask_candidates(model(batch)[0], batch.candidate_len)
    expected = mask_candidates(before / temperature, batch.candidate_len)
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-4)
