"""Runs that end early go on as if they had not; runs of others are refused and left alone."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from config import Config
from runtime.errors import UserError
from runtime.files import FolderLock
from tests.programs import Program, start
from tests.training_helpers import (
    assert_same_weights,
    command_line,
    copy_run,
    distilled,
    final_weights,
    run_program,
    tiny_config,
)
from train_with_distill import TrainResult, train
from training.folder import RunFolder


def saving_often(city: Path, save_dir: Path, **overrides: Any) -> Config:
    """A run long enough to be killed in, with a checkpoint after every step."""
    settings = {
        "training__checkpoint_interval_steps": 1,
        "optimizer_config__max_epoch": 6,
        "trajectory_encoder_config__dropout": 0.1,
        **overrides,
    }
    return tiny_config(city, save_dir, **settings)


def wait_for_steps(config: Config, process: Program) -> None:
    """Until the run has written its first checkpoint (or has ended)."""
    latest = RunFolder.of(config).latest
    while not latest.exists() and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("teacher", [False, True], ids=["vanilla", "distilled"])
def test_killed_runs_resume_bit_for_bit(tiny_city: Path, tmp_path: Path, teacher: bool) -> None:
    extra = distilled(tiny_city, distill__positions=3) if teacher else {}
    undisturbed = saving_often(tiny_city, tmp_path / "whole", **extra)
    whole = run_program(command_line(undisturbed, tmp_path / "first"), tmp_path)
    assert whole.returncode == 0, whole.stderr
    config = saving_often(tiny_city, tmp_path / "killed", **extra)
    draw = random.Random(7)
    kills = 0
    while kills < 4:
        process = start(command_line(config, tmp_path / "program"), tmp_path)
        wait_for_steps(config, process)
        time.sleep(draw.uniform(0.0, 0.5))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 2
    finished = run_program(command_line(config, tmp_path / "program"), tmp_path)
    assert finished.returncode == 0, finished.stderr
    folder, expected = RunFolder.of(config).path, RunFolder.of(undisturbed).path
    assert_same_weights(final_weights(expected), final_weights(folder))
    best = torch.load(folder / "best.pth", weights_only=True)
    best_expected = torch.load(expected / "best.pth", weights_only=True)
    assert_same_weights(best["model"], best_expected["model"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_save_and_end_the_run(
    tiny_city: Path, tmp_path: Path, number: int, code: int
) -> None:
    rare = {"training__checkpoint_interval_steps": 3, "optimizer_config__max_epoch": 60}
    config = saving_often(tiny_city, tmp_path, **rare)
    process = start(command_line(config, tmp_path / "program"), tmp_path)
    wait_for_steps(config, process)
    time.sleep(0.2)
    sent = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - sent < 10
    assert process.returncode == code, errors
    assert "Stopped by a signal; the state is saved in" in errors
    assert "Traceback" not in errors
    latest = torch.load(RunFolder.of(config).latest, weights_only=True)
    assert 0 < latest["progress"]["step"] < 360


def test_a_stopped_run_goes_on_in_the_same_process(tiny_city: Path, tmp_path: Path) -> None:
    class Pause(Exception):
        pass

    def pause(epoch: int, metrics: dict[str, Any]) -> None:
        if epoch == 2:
            raise Pause

    config = saving_often(tiny_city, tmp_path / "paused", optimizer_config__max_epoch=3)
    with pytest.raises(Pause):
        train(config, on_epoch_end=pause)
    resumed = train(config, resume=True)
    whole = train(saving_often(tiny_city, tmp_path / "whole", optimizer_config__max_epoch=3))
    assert_same_weights(final_weights(whole.folder), final_weights(resumed.folder))

    def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in record.items() if k != "seconds"} for record in history]

    assert timeless(resumed.history) == timeless(whole.history)


def test_a_finished_run_is_not_trained_again(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult
) -> None:
    config = tiny_config(tiny_city, tmp_path)
    best = copy_run(vanilla_run.folder, config).best
    before = best.stat().st_mtime_ns
    again = train(config)
    assert again.finished and again.history == vanilla_run.history
    assert again.checkpoint == best and best.stat().st_mtime_ns == before
    assert again.batches_per_second == pytest.approx(vanilla_run.batches_per_second)


def test_a_run_killed_at_its_very_end_still_says_how_its_times_spread(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult
) -> None:
    config = tiny_config(tiny_city, tmp_path)
    latest = copy_run(vanilla_run.folder, config).latest
    state = torch.load(latest, weights_only=True)
    for record in state["progress"]["history"]:  # as saved before the best student was told
        for name in [name for name in record if name.startswith(("val_time_c", "val_time_l"))]:
            del record[name]
    torch.save(state, latest)
    again = train(config)
    assert "val_time_crps_s" in again.metrics
    assert again.history == vanilla_run.history


def test_fresh_moves_the_earlier_run_aside(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult
) -> None:
    config = tiny_config(tiny_city, tmp_path, optimizer_config__max_epoch=1)
    first = copy_run(vanilla_run.folder, config)
    old = first.best.read_bytes()
    train(config, resume=False)
    aside = [path for path in first.path.parent.glob("seed0.*") if path.is_dir()]
    assert len(aside) == 1
    assert (aside[0] / "best.pth").read_bytes() == old


def test_resume_needs_an_earlier_run(tiny_city: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        train(tiny_config(tiny_city, tmp_path), resume=True)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"optimizer_config__batch_size": 4}, "optimizer_config"),
        ({"data__candidate_top_k": 2}, "candidate_top_k"),
        ({"dataset": "other"}, "dataset is 'tiny' there and 'other' here"),
        ({"training__seed": 1}, "seed is 0 there and 1 here"),
        ({"training__amp_dtype": "bfloat16"}, "training.amp_dtype is 'auto' there"),
    ],
)
def test_checkpoints_of_other_runs_are_refused_and_kept(
    tiny_city: Path,
    tmp_path: Path,
    vanilla_run: TrainResult,
    overrides: dict[str, Any],
    named: str,
) -> None:
    content = (vanilla_run.folder / "checkpoint_latest.pth").read_bytes()
    config = tiny_config(tiny_city, tmp_path, **overrides)
    target = RunFolder.of(config)
    target.path.mkdir(parents=True, exist_ok=True)
    target.latest.write_bytes(content)
    with pytest.raises(UserError) as error:
        train(config)
    assert "belongs to another run" in str(error.value)
    assert named in str(error.value)
    assert target.latest.read_bytes() == content


def test_a_vanilla_checkpoint_is_no_distilled_one(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult
) -> None:
    config = tiny_config(tiny_city, tmp_path, **distilled(tiny_city))
    target = RunFolder.of(config)
    target.path.mkdir(parents=True)
    shutil.copyfile(vanilla_run.folder / "checkpoint_latest.pth", target.latest)
    with pytest.raises(UserError, match="mode is vanilla there"):
        train(config)


@pytest.mark.parametrize("damage", ["truncated", "noise", "empty", "foreign"])
def test_damaged_checkpoints_are_refused_and_kept(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult, damage: str
) -> None:
    config = tiny_config(tiny_city, tmp_path)
    latest = copy_run(vanilla_run.folder, config).latest
    raw = latest.read_bytes()
    if damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, latest)
    else:
        spoilt = {"truncated": raw[: len(raw) // 2], "noise": bytes(range(256)) * 9, "empty": b""}
        latest.write_bytes(spoilt[damage])
    left = latest.read_bytes()
    with pytest.raises(UserError, match=str(latest)):
        train(config)
    assert latest.read_bytes() == left


def test_other_distillation_settings_are_refused_on_resume(tiny_city: Path, tmp_path: Path) -> None:
    class Pause(Exception):
        pass

    def pause(epoch: int, metrics: dict[str, Any]) -> None:
        raise Pause

    settings = distilled(tiny_city, optimizer_config__max_epoch=2)
    whole = train(tiny_config(tiny_city, tmp_path / "whole", **settings))
    config = tiny_config(tiny_city, tmp_path / "run", **settings)
    with pytest.raises(Pause):
        train(config, on_epoch_end=pause)
    for change in (
        {"distill__temperature": 4.5},
        {"distill__lambda": 0.9},
        {"training__amp_dtype": "bfloat16"},
    ):
        changed = tiny_config(tiny_city, tmp_path / "run", **{**settings, **change})
        key = next(iter(change)).replace("__", ".")
        with pytest.raises(UserError, match=f"another run: .*{key}"):
            train(changed)
    resumed = train(config)
    assert_same_weights(final_weights(whole.folder), final_weights(resumed.folder))


def test_a_folder_in_use_is_refused(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path)
    folder = RunFolder.of(config).path
    with (
        FolderLock(folder.parent, name=f".{folder.name}.lock"),
        pytest.raises(UserError, match="is in use by another run"),
    ):
        train(config)


DISK_FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = sys.argv[2:]
import runpy
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_full_disk_leaves_the_last_good_checkpoint(
    tiny_city: Path, tmp_path: Path, vanilla_run: TrainResult
) -> None:
    latest = copy_run(vanilla_run.folder, tiny_config(tiny_city, tmp_path)).latest
    longer = saving_often(tiny_city, tmp_path, optimizer_config__max_epoch=2)
    content = torch.load(latest, weights_only=True)
    content["progress"].update(finished=False, epoch=0, group=0, step=0, history=[])
    content["config"]["trajectory_encoder_config"]["dropout"] = 0.1
    torch.save(content, latest)
    good = latest.read_bytes()
    python, *rest = command_line(longer, tmp_path / "program")
    limited = [python, "-c", DISK_FULL, str(len(good) // 2), *rest]
    ended = run_program(limited, tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith(f"error: {latest} cannot be written")
    assert latest.read_bytes() == good
    assert not list(latest.parent.glob("*.tmp"))
