"""Several teachers that speak with one voice: what they say, drive, and are told apart by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from config.schema import ReplayConfig
from critics.distill_hook import DistillationManager
from critics.replay.making import ReplayMaker
from critics.replay.policies import JointPolicy, LMTADPolicy
from critics.teacher_report import teacher_report
from critics.teachers import JointRoadTeacher, load_teacher
from critics.weights import save_weights
from data.choices import log_probabilities
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.errors import UserError
from tests.teacher_helpers import small_weights
from tests.training_helpers import tiny_config
from tools import teacher_report as report_tool
from train_with_distill import train


@pytest.fixture(scope="module")
def dataset(tiny_city: Path) -> TripDataset:
    return TripDataset.load(tiny_city, "train", RoadNetwork.load(tiny_city), max_len=64)


@pytest.fixture(scope="module")
def files(dataset: TripDataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("teachers")
    paths = [folder / f"{seed}.pt" for seed in range(3)]
    for seed, path in enumerate(paths):
        save_weights(path, small_weights(dataset.network.num_roads, 70, True, "road", seed))
    return paths


def settings_of(files: list[Path], **more: object) -> dict[str, object]:
    first, *further = map(str, files)
    return {
        "distill__enable": True,
        "distill__ckpt": first,
        "distill__further_ckpts": further,
        "distill__vocabulary": "road",
        "distill__destination_prefix": True,
        "distill__window": "full",
        **more,
    }


def joint_teacher(dataset: TripDataset, files: list[Path], tmp_path: Path) -> JointRoadTeacher:
    config = tiny_config(dataset.network.folder, tmp_path, **settings_of(files))
    teacher = load_teacher(config, dataset.network)
    assert isinstance(teacher, JointRoadTeacher)
    return teacher


def test_together_they_believe_the_mean(
    dataset: TripDataset, files: list[Path], tmp_path: Path
) -> None:
    joint = joint_teacher(dataset, files, tmp_path)
    batch = dataset.batch([0, 1, 2, 3])
    mask = batch.position_mask.clone()
    mask[1] = False
    logits = joint.batch_logits(batch, mask)
    parts = [member.batch_logits(batch, mask) for member in joint.members]
    asked = batch.candidate_mask & mask.unsqueeze(-1)
    assert torch.equal(torch.isfinite(logits), asked)
    for row, step in mask.nonzero().tolist():
        count = int(batch.candidate_len[row, step])
        mean = torch.stack([part[row, step, :count].softmax(-1) for part in parts]).mean(0)
        torch.testing.assert_close(logits[row, step, :count].exp(), mean, atol=1e-6, rtol=1e-5)
    trips = np.arange(4)
    flat = joint.trip_logits(dataset, trips)
    whole = joint.batch_logits(batch, batch.position_mask)[batch.candidate_mask]
    np.testing.assert_allclose(flat, whole.numpy(), atol=1e-4)


def test_their_cached_answers_are_the_live_ones(
    dataset: TripDataset, files: list[Path], tmp_path: Path
) -> None:
    settings = settings_of(files, distill__cache_dir=str(tmp_path / "cache"))
    config = tiny_config(dataset.network.folder, tmp_path, **settings)
    manager = DistillationManager(config, dataset.network)
    batch = dataset.batch([0, 5, 6])
    live = manager.targets(batch)
    manager.attach(dataset, progress=False)
    cached = manager.targets(batch)
    mask = live.position_mask
    torch.testing.assert_close(
        live.logits[mask].softmax(-1), cached.logits[mask].softmax(-1), atol=2e-3, rtol=2e-3
    )


def test_they_drive_together(dataset: TripDataset, files: list[Path], tmp_path: Path) -> None:
    joint = joint_teacher(dataset, files[:2], tmp_path)
    settings = ReplayConfig(trips=20, od="own", detour_quantile=1.0)
    maker = ReplayMaker(settings, dataset, joint, seed=0, epochs=1)
    trips = maker.teacher_drives(tmp_path / "drives")
    assert trips is not None and len(trips) > 0
    split = trips.dataset(dataset)
    answers = joint.trip_logits(split, np.arange(len(split)))
    here = np.concatenate([np.asarray(split.trip(i)[0])[:-1] for i in range(len(split))])
    stored, asked = (
        np.exp(log_probabilities(np.asarray(values, np.float32), dataset.network.out_degree[here]))
        for values in (trips.values, answers)
    )
    np.testing.assert_allclose(stored, asked, atol=3e-3)
    policy = JointPolicy([LMTADPolicy(member) for member in joint.members])  # type: ignore[arg-type]
    assert policy.max_steps == 70 - 2


def test_vectors_and_states_stand_side_by_side(
    dataset: TripDataset, files: list[Path], tmp_path: Path
) -> None:
    joint = joint_teacher(dataset, files[:2], tmp_path)
    vectors = joint.road_vectors()
    assert vectors.shape == (dataset.network.num_roads, 32)
    lengths = vectors.reshape(len(vectors), 2, 16).square().mean(dim=(0, 2))
    torch.testing.assert_close(lengths, torch.ones(2))
    batch = dataset.batch([0, 1, 2])
    step = batch.trace_len - 1
    states = torch.nn.functional.normalize(joint.hidden_states(batch, step), dim=-1)
    apart = [member.hidden_states(batch, step) for member in joint.members]
    apart = [torch.nn.functional.normalize(each, dim=-1) for each in apart]
    mean = torch.stack([each @ each.T for each in apart]).mean(0)
    torch.testing.assert_close(states @ states.T, mean, atol=1e-5, rtol=1e-5)


def test_a_run_is_of_all_its_teachers(
    dataset: TripDataset, files: list[Path], tmp_path: Path
) -> None:
    city = dataset.network.folder
    more = {"distill__first_embeddings": "teacher", "distill__teacher_report": False}
    replay = {"distill__replay__trips": 8, "distill__replay__detour_quantile": 1.0}
    config = tiny_config(city, tmp_path, **settings_of(files[:2], **more, **replay))
    result = train(config)
    assert result.finished
    other = tiny_config(city, tmp_path, **settings_of(files[1:], **more, **replay))
    with pytest.raises(UserError, match="teacher"):
        train(other, resume=True)


def test_what_cannot_teach_together_is_refused(
    dataset: TripDataset, files: list[Path], tmp_path: Path
) -> None:
    city = dataset.network.folder
    missing = tiny_config(city, tmp_path, **settings_of([files[0], tmp_path / "none.pt"]))
    with pytest.raises(UserError, match=r"further_ckpts names .*none\.pt"):
        load_teacher(missing, dataset.network)
    joint = joint_teacher(dataset, files[:2], tmp_path)
    joint.members[1].tie_keys = torch.zeros(dataset.network.num_roads, dtype=torch.long)
    with pytest.raises(UserError, match="same vocabulary"):
        JointRoadTeacher(joint.members)


def test_the_report_has_each_and_all(
    dataset: TripDataset, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joint = joint_teacher(dataset, files[:2], tmp_path)
    names = [row.name for row in teacher_report(joint, dataset, dataset).rows]
    assert names[:3] == ["LM-TAD 1", "LM-TAD 2", "LM-TAD x 2"]
    arguments = ["--ckpt", *map(str, files[:2]), "--data_dir", str(dataset.network.folder)]
    assert report_tool.main([*arguments, "--json", str(tmp_path / "report.json")]) == 0
    assert "LM-TAD x 2" in capsys.readouterr().out
