"""Training that is interrupted, that diverges, that only measures itself."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from config import Config
from data.road_network import RoadNetwork
from runtime.errors import UserError
from runtime.torch_files import load_plain, save_plain
from tests.training_helpers import assert_same_weights, final_weights, tiny_config
from tools.demo import train_both
from train_with_distill import TrainResult, train
from training.checkpoint import load_run
from training.folder import RunFolder
from training.run import TrainingRun


def test_a_group_that_a_signal_cut_short_is_repeated_with_the_same_dropout(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "trajectory_encoder_config__dropout": 0.3,
        "optimizer_config__accum_steps": 4,
        "optimizer_config__max_epoch": 1,
    }
    train(tiny_config(tiny_city, tmp_path / "whole", **settings))
    config = tiny_config(tiny_city, tmp_path / "cut", **settings)
    asked = 0

    def interrupted(run: TrainingRun) -> bool:
        nonlocal asked
        asked += 1
        if asked == 6:  # in the middle of the second group
            run.signals.received = 15
        return run.signals.received is not None

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "_interrupted", interrupted)
        assert not train(config).finished
    assert train(config).finished
    whole = RunFolder.of(tiny_config(tiny_city, tmp_path / "whole", **settings)).path
    assert_same_weights(final_weights(RunFolder.of(config).path), final_weights(whole))


def test_a_signal_at_a_training_s_end_keeps_the_next_one_from_beginning(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tiny_city, tmp_path, optimizer_config__max_epoch=1)
    results: list[TrainResult] = []

    def told_to_stop(config: Config, **options: Any) -> TrainResult:
        def tell(*_: object) -> None:
            signal.raise_signal(signal.SIGTERM)

        results.append(train(config, on_epoch_end=tell, **options))
        return results[-1]

    monkeypatch.setattr("tools.demo.train", told_to_stop)
    with pytest.raises(SystemExit) as ended:
        train_both(config)
    assert ended.value.code == 0 and [each.finished for each in results] == [True]


def test_profiling_leaves_results_alone(trained: Config, tiny_city: Path, tmp_path: Path) -> None:
    place = RunFolder.of(trained).path
    copy = tmp_path / "save" / place.relative_to(trained.save_dir)
    shutil.copytree(place, copy)
    before = {
        path.name: path.read_bytes()
        for path in copy.iterdir()
        if path.suffix in (".pth", ".json", ".yaml")
    }
    epochs = {"optimizer_config__max_epoch": 5, "profiling__max_batches": 40}
    fresh = tiny_config(tiny_city, tmp_path / "fresh", **epochs)
    train(fresh)
    assert not RunFolder.of(fresh).best.exists()
    assert not RunFolder.of(fresh).metrics.exists()
    half_done = tiny_config(
        tiny_city, tmp_path / "save", optimizer_config__max_epoch=1, profiling__max_batches=40
    )
    latest = load_plain(copy / "checkpoint_latest.pth")
    latest["progress"].update(epoch=0, group=0, history=[], best_epoch=-1, finished=False)
    latest["progress"]["best_val_acc"] = -1.0
    save_plain(copy / "checkpoint_latest.pth", latest)
    before["checkpoint_latest.pth"] = (copy / "checkpoint_latest.pth").read_bytes()
    train(half_done)
    assert {name: (copy / name).read_bytes() for name in before} == before


def test_a_run_that_learned_nothing_is_no_success(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.accumulation import AccumulationStep

    update = AccumulationStep._update

    def never_finite(step: AccumulationStep, sums: torch.Tensor) -> Any:
        sums[0] = torch.nan
        return update(step, sums)

    monkeypatch.setattr(AccumulationStep, "_update", never_finite)
    config = tiny_config(tiny_city, tmp_path, optimizer_config__max_epoch=1)
    with pytest.raises(UserError, match="Every step of epoch 1 had a non-finite loss"):
        train(config)
    assert not RunFolder.of(config).best.exists()


def test_a_training_that_diverges_says_so(tiny_city: Path, tmp_path: Path) -> None:
    rate = {"optimizer_config__learning_rate": 1e20, "optimizer_config__warmup_ratio": 0.0}
    with pytest.raises(UserError, match="learning_rate"):
        train(tiny_config(tiny_city, tmp_path, **rate))


@pytest.mark.parametrize("length", ["1e39", "1e8", "-1", "nan", "inf"])
def test_a_road_cannot_be_longer_than_the_earth_allows(
    tiny_city: Path, tmp_path: Path, length: str
) -> None:
    shutil.copytree(tiny_city, tmp_path / "city")
    geo = tmp_path / "city" / "roadmap.geo"
    header, first, *rest = geo.read_text().splitlines(keepends=True)
    place = header.strip().split(",").index("length") - header.strip().count(",") - 1
    cells = first.rstrip("\n").split(",")
    cells[place] = length
    geo.write_text("".join([header, ",".join(cells) + "\n", *rest]))
    with pytest.raises(UserError, match=r"roadmap\.geo:2: length"):
        RoadNetwork.load(tmp_path / "city")


@pytest.mark.parametrize(
    "change", [{"epoch": -3}, {"step": "x"}, {"group": 1.5}, {"best_epoch": 7}, {"history": []}]
)
def test_progress_that_cannot_be_is_refused(
    trained: Config, tmp_path: Path, change: dict[str, Any]
) -> None:
    content = load_plain(RunFolder.of(trained).latest)
    content["progress"].update(change)
    save_plain(tmp_path / "latest.pth", content)
    with pytest.raises(UserError, match=r"latest\.pth lacks parts"):
        load_run(tmp_path / "latest.pth")
