"""What a run writes: real TensorBoard events, real WandB files, metrics, configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from config import load_config
from runtime.errors import UserError
from runtime.wandb_run import TrackedRun, has_credentials, start_run
from runtime.wandb_sync import BackgroundSync
from tests.training_helpers import distilled, tiny_config
from tests.wandb_helpers import read_wandb
from train_with_distill import train


def read_events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars in a folder of event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard(tiny_city: Path, tmp_path: Path) -> None:
    settings = distilled(
        tiny_city,
        distill__temperature=4.0,
        distill__temperature_end=1.0,
        distill__temperature_schedule="linear",
        distill__lambda=0.8,
        distill__lambda_ramp_steps=4,
        distill__zone_weight=0.3,
        distill__embedding_weight=0.2,
        profiling__log_interval=5,
    )
    result = train(tiny_config(tiny_city, tmp_path, **settings))
    events = read_events(result.folder / "tensorboard_log")
    assert {
        "train/loss",
        "train/loss_next_step",
        "train/loss_time_pred",
        "train/distill_loss",
        "train/distill_zones",
        "train/distill_relations",
        "train/distill_temperature",
        "train/distill_weight",
        "train/learning_rate",
        "train/grad_norm",
        "val/next_step_acc",
        "val/time_pred_mape",
        "val/time_pred_mape_seconds",
        "val/kl",
        "perf/data_wait_ms",
        "perf/hoser_forward_ms",
        "perf/distill_kl_teacher_ms",
        "perf/backward_pass_ms",
        "perf/optimizer_step_ms",
        "perf/data_transfer_ms",
        "perf/batches_per_second",
    } <= set(events)
    steps = [step for step, _ in events["train/loss"]]
    assert steps == list(range(12))
    temperatures = [value for _, value in events["train/distill_temperature"]]
    assert temperatures[0] == 4.0 and temperatures[-1] == pytest.approx(1.0)
    weights = [value for _, value in events["train/distill_weight"]]
    assert weights[:5] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    for step in range(12):
        total = events["train/loss"][step][1]
        parts = events["train/loss_next_step"][step][1] + events["train/loss_time_pred"][step][1]
        taught = sum(
            weight * events[f"train/distill_{name}"][step][1]
            for name, weight in (("loss", 0.8), ("zones", 0.3), ("relations", 0.2))
        )
        assert total == pytest.approx(parts + weights[step] / 0.8 * taught, rel=1e-5)
    accuracies = [value for _, value in events["val/next_step_acc"]]
    assert accuracies == pytest.approx([r["val_next_step_acc"] for r in result.history])


def test_tensorboard_keeps_the_last_epoch_of_a_run_that_is_begun_again(
    tiny_city: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_city, tmp_path)
    logs = train(config).folder / "tensorboard_log"
    before = read_events(logs)
    train(config)
    assert read_events(logs) == before


def test_tensorboard_shows_a_run_that_died_before_its_first_state_once(
    tiny_city: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_city, tmp_path, optimizer_config__max_epoch=1)
    result = train(config)
    logs = result.folder / "tensorboard_log"
    before = read_events(logs)["train/loss"]
    for file in result.folder.iterdir():
        if file.is_file():
            file.unlink()
    train(config)
    assert read_events(logs)["train/loss"] == before


def test_metrics_and_configuration(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path)
    result = train(config)
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["epochs"] == result.history
    assert metrics["best"] == result.metrics == result.history[result.best_epoch - 1]
    assert result.best_val_acc == max(r["val_next_step_acc"] for r in result.history)
    assert load_config(result.folder / "config.yaml") == config
    log = (result.folder / "train.log").read_text()
    assert "Epoch 2: loss" in log and "Best epoch" in log


def test_the_teacher_s_report_is_a_table(tiny_city: Path, tmp_path: Path) -> None:
    settings = distilled(tiny_city, distill__teacher_report=True, optimizer_config__max_epoch=1)
    result = train(tiny_config(tiny_city, tmp_path, **settings))
    lines = (result.folder / "train.log").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("Choice of the next road"))
    assert lines[first + 1].split() == ["accuracy", "at", "choices", "NLL", "ECE"]


def test_stages_of_the_temperature_leave_their_students(tiny_city: Path, tmp_path: Path) -> None:
    settings = distilled(
        tiny_city,
        distill__temperature=4.0,
        distill__temperature_end=1.0,
        distill__temperature_schedule="linear",
        distill__temperature_stages=3,
        training__stage_checkpoints=True,
    )
    result = train(tiny_config(tiny_city, tmp_path, **settings))
    files = sorted((result.folder / "stages").glob("*.pth"))
    contents = [torch.load(file, weights_only=True) for file in files]
    assert [content["metrics"]["temperature"] for content in contents] == [4.0, 2.5, 1.0]
    temperatures = read_events(result.folder / "tensorboard_log")["train/distill_temperature"]
    last_steps = [max(step for step, value in temperatures if value == t) for t in (4.0, 2.5, 1.0)]
    assert [content["metrics"]["step"] for content in contents] == last_steps
    final = torch.load(result.folder / "checkpoint_latest.pth", weights_only=True)["model"]
    assert all(torch.equal(final[name], value) for name, value in contents[-1]["model"].items())


def test_a_missing_teacher_is_found_missing_before_the_data_are_read(tmp_path: Path) -> None:
    settings = {"distill__enable": True, "distill__ckpt": str(tmp_path / "none.pt")}
    config = tiny_config(tmp_path / "no_data_there", tmp_path, **settings)
    with pytest.raises(UserError, match=r"none\.pt does not exist.*--no-distill.*train_lmtad"):
        train(config)


def test_a_schedule_without_effect_is_said(
    tiny_city: Path, tmp_path: Path, messages: list[str]
) -> None:
    settings = distilled(tiny_city, distill__temperature_end=4.0, optimizer_config__max_epoch=1)
    train(tiny_config(tiny_city, tmp_path, **settings))
    assert sum("temperature_end (4) has no say" in line for line in messages) == 1


def test_wandb_offline(tiny_city: Path, tmp_path: Path, no_accounts: None) -> None:
    config = tiny_config(
        tiny_city,
        tmp_path,
        wandb__enable=True,
        wandb__project="hoser-test",
        wandb__log_artifacts=True,
        wandb__tags=["one"],
        optimizer_config__max_epoch=1,
    )
    result = train(config)
    records = read_wandb(result.folder)
    run = next(record.run for record in records if record.HasField("run"))
    assert (run.project, run.display_name, list(run.tags)) == ("hoser-test", "tiny_seed0", ["one"])
    (artifact,) = [record.artifact for record in records if record.HasField("artifact")]
    assert (artifact.name, artifact.type) == ("tiny_seed0_best", "model")
    assert [entry.path for entry in artifact.manifest.contents] == ["best.pth"]
    logged: dict[str, list[float]] = {}
    for record in records:
        for item in record.history.item if record.HasField("history") else []:
            name = item.key or ".".join(item.nested_key)
            logged.setdefault(name, []).append(json.loads(item.value_json))
    assert len(logged["train/loss"]) == 6
    accuracy = result.history[0]["val_next_step_acc"]
    assert logged["val/next_step_acc"] == [pytest.approx(accuracy)]
    settings = {
        item.key or ".".join(item.nested_key): item.value_json
        for record in records
        for item in (record.run.config.update if record.HasField("run") else [])
    }
    assert json.loads(settings["optimizer_config"])["batch_size"] == 8


def test_credentials_are_looked_up_without_asking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_accounts: None
) -> None:
    assert not has_credentials()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40 + "\n")
    assert has_credentials()
    (tmp_path / "netrc").write_text("machine \x00 broken")
    assert not has_credentials()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert has_credentials()


def test_an_upload_finds_its_run_in_a_folder_that_is_renamed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = tmp_path / "python"  # in place of WandB, which takes seconds to begin
    renamed = tmp_path / "trial_000_vanilla_complete"
    upload.write_text(
        f"#!/bin/sh\nuntil [ -d {renamed} ]; do sleep 0.05; done\n"
        'for run; do :; done\n[ -d "$run" ]\n'
    )
    upload.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(upload))
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    running = tmp_path / "trial_000_vanilla_running"
    run = running / "wandb" / "offline-run-20200101_000000-abc"
    run.mkdir(parents=True)
    sync = BackgroundSync(running / "sync.log", enabled=True)
    sync.start(run)
    running.rename(renamed)
    assert sync.processes[0].wait(timeout=20) == 0


def test_a_failure_of_wandb_does_not_end_the_run(
    tiny_city: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    messages: list[str],
    no_accounts: None,
) -> None:
    import wandb

    original, calls = wandb.sdk.wandb_run.Run.log, []

    def fail_later(run: Any, *arguments: Any, **keywords: Any) -> None:
        calls.append(1)
        if len(calls) > 3:
            raise ConnectionError("the service went away")
        original(run, *arguments, **keywords)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", fail_later)
    result = train(tiny_config(tiny_city, tmp_path, wandb__enable=True))
    assert result.finished and len(calls) == 4
    warnings = [line for line in messages if "WandB failed" in line]
    assert warnings == ["WandB failed and is off for the rest of this run: the service went away"]


def test_wandb_off_does_nothing(tmp_path: Path) -> None:
    run = start_run(load_config(None).wandb, "name", {}, tmp_path)
    assert not run.active and list(tmp_path.iterdir()) == []
    TrackedRun().log({"a": 1.0})


@pytest.mark.parametrize(("reason", "exit_code"), [(StopIteration, 0), (UserError, 1)])
def test_a_run_that_its_caller_ends_has_not_failed(
    tiny_city: Path,
    tmp_path: Path,
    no_accounts: None,
    monkeypatch: pytest.MonkeyPatch,
    reason: type[Exception],
    exit_code: int,
) -> None:
    def end(*_: Any) -> None:
        raise reason("enough")

    if exit_code:  # a failure of the run's own
        monkeypatch.setattr("training.run.TrainingRun._validate", end)
    config = tiny_config(tiny_city, tmp_path, wandb__enable=True)
    with pytest.raises(reason, match="enough"):
        train(config, on_epoch_end=end)
    records = read_wandb(tmp_path / "tiny" / "seed0")
    assert [r.exit.exit_code for r in records if r.HasField("exit")] == [exit_code]
