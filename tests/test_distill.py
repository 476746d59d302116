"""The distillation manager: targets, positions, schedules, sums over groups, teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config import Config, load_config
from critics import DistillationManager
from critics.lmtad_teacher import LMTADTeacher
from critics.losses import forward_kl, relation_loss
from critics.registry import require_teacher, teacher_path
from critics.road_teacher import HOSERRoadTeacher, LMTADRoadTeacher, road_teacher
from critics.teachers import load_teacher
from critics.weights import save_weights
from data.road_network import RoadNetwork
from dataset import Batch, TripDataset
from hoser import HOSER
from runtime.errors import UserError
from tests.teacher_helpers import small_weights
from tests.training_helpers import NARROW


@pytest.fixture(scope="module")
def network(parity_city: Path) -> RoadNetwork:
    return RoadNetwork.load(parity_city)


@pytest.fixture(scope="module")
def dataset(network: RoadNetwork, tmp_path_factory: pytest.TempPathFactory) -> TripDataset:
    cache = tmp_path_factory.mktemp("trips")
    return TripDataset.load(network.folder, "train", network, cache_dir=cache)


def config_with(sizes: dict[str, Any] | None = None, /, **distill: Any) -> Config:
    overrides = {f"distill.{name.rstrip('_')}": value for name, value in distill.items()}
    base = {
        "distill.cache": False,
        "road_network_encoder_config.zone_id_num_embeddings": 12,
        "trajectory_encoder_config.max_len": 64,
    }
    return load_config(None, {**base, **(sizes or {}), **overrides})


def grid_teacher(network: RoadNetwork, cells: int = 7, window: Any = "full") -> LMTADRoadTeacher:
    """A random teacher whose cells hold many roads."""
    tokens = np.arange(network.num_roads) % cells
    return LMTADRoadTeacher(LMTADTeacher(small_weights(cells, 12)), tokens, network, window)


def manager_with(network: RoadNetwork, **distill: Any) -> DistillationManager:
    config = config_with(**distill)
    return DistillationManager(config, network, teacher=grid_teacher(network))


def student_logits(batch: Batch, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch.candidate_road_id.shape, generator=generator).requires_grad_()


def test_the_loss_is_the_kl_over_all_valid_positions(
    network: RoadNetwork, dataset: TripDataset
) -> None:
    manager = manager_with(network, temperature=2.0)
    batch = dataset.batch([0, 5, 9])
    logits = student_logits(batch)
    output = manager.compute_kl_for_batch(batch, logits)
    teacher = manager.teacher.batch_logits(batch, batch.position_mask)
    expected = forward_kl(logits, teacher, batch.candidate_len, 2.0)
    torch.testing.assert_close(output.loss, expected)
    assert output.num_positions == int((batch.candidate_len > 0).sum())
    assert output.num_nonfinite == 0
    supervised = torch.tensor(1.5)
    torch.testing.assert_close(output.total(supervised), 1.5 + 0.01 * output.loss)


@pytest.mark.parametrize("ties", ["replicate", "marginal"])
def test_the_cache_gives_the_same_loss(
    network: RoadNetwork, dataset: TripDataset, tmp_path: Path, ties: str
) -> None:
    live = manager_with(network, ties=ties)
    cached = manager_with(network, ties=ties, cache=True, cache_dir=str(tmp_path))
    cached.attach(dataset, progress=False)
    assert len(list(tmp_path.iterdir())) == 1
    batch = dataset.batch([1, 2, 3, 60])
    logits = student_logits(batch)
    a, b = (m.compute_kl_for_batch(batch, logits) for m in (live, cached))
    assert b.loss.item() == pytest.approx(a.loss.item(), rel=2e-3)
    assert a.num_positions == b.num_positions


def test_zones_and_embedding_terms_add_up(network: RoadNetwork, dataset: TripDataset) -> None:
    manager = manager_with(
        network, zone_weight=0.5, embedding_weight=0.25, ties="marginal", lambda_=2.0
    )
    batch = dataset.batch([4, 8, 15, 16])
    logits = student_logits(batch)
    embedding = torch.randn(*batch.trace_road_id.shape, 6).requires_grad_()
    output = manager.compute_kl_for_batch(batch, logits, student_embedding=embedding)
    assert network.zones is not None
    zones = torch.from_numpy(network.zones.road2zone)[batch.candidate_road_id]
    teacher = manager.teacher.batch_logits(batch, batch.position_mask)
    assert manager.teacher.tie_keys is not None
    ties = manager.teacher.tie_keys[batch.candidate_road_id]
    options: Any = {"candidate_len": batch.candidate_len, "temperature": 2.0, "tie_keys": ties}
    kl = forward_kl(logits, teacher, **options)
    zone = forward_kl(logits, teacher, group_keys=zones, **options)
    last = batch.trace_len - 1
    hidden = manager.teacher.hidden_states(batch, last)
    relations = relation_loss(embedding[torch.arange(4), last], hidden)
    expected = 3.0 + 2.0 * kl + 0.5 * zone + 0.25 * relations
    torch.testing.assert_close(output.total(torch.tensor(3.0)), expected)
    output.total(torch.tensor(3.0)).backward()
    assert embedding.grad is not None and embedding.grad.abs().sum() > 0


def test_sums_over_an_accumulation_group_equal_one_large_batch(
    network: RoadNetwork, dataset: TripDataset
) -> None:
    manager = manager_with(network, lambda_=0.7, combination="convex", alpha=0.6)
    parts = [dataset.batch([i]) for i in (3, 30, 71)]
    logits = [student_logits(part, seed) for seed, part in enumerate(parts)]
    targets = [manager.targets(part) for part in parts]
    positions = torch.stack([t.num_positions for t in targets]).sum()
    total = sum(
        manager.compute_kl_for_batch(part, x, targets=t).total(torch.tensor(0.5), positions, 3)
        for part, x, t in zip(parts, logits, targets, strict=True)
    )
    kl = sum(
        manager.compute_kl_for_batch(part, x).kl_sum for part, x in zip(parts, logits, strict=True)
    )
    torch.testing.assert_close(total, 0.4 * 3 * 0.5 + 0.6 * kl / positions)


def test_sampled_positions_depend_on_seed_step_and_trip_alone(
    network: RoadNetwork, dataset: TripDataset
) -> None:
    manager = manager_with(network, positions=3)
    together = manager.targets(dataset.batch([7, 11, 13]), step=4).position_mask
    alone = manager.targets(dataset.batch([11]), step=4).position_mask[0]
    width = min(len(alone), together.shape[1])
    assert torch.equal(together[1, :width], alone[:width])
    lengths = dataset.batch([7, 11, 13]).trace_len
    assert torch.equal(together.sum(1), lengths.clamp(max=3))
    masks = [manager.targets(dataset.batch([7]), step=step).position_mask for step in range(20)]
    assert len({tuple(mask[0].tolist()) for mask in masks}) > 1
    frequency = torch.stack(masks).float().mean(0)[0]
    assert (frequency[: int(lengths[0])] < 1).any()
    last = manager.targets(dataset.batch([7, 11]), positions="last").position_mask
    assert torch.equal(last.sum(1), torch.ones(2, dtype=torch.long))
    assert torch.equal(last.int().argmax(1), dataset.batch([7, 11]).trace_len - 1)


def test_non_finite_rows_are_counted_and_left_out(
    network: RoadNetwork, dataset: TripDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = manager_with(network)
    batch = dataset.batch([2, 6])
    answer = manager.teacher.batch_logits

    def spoilt(*args: Any) -> torch.Tensor:
        logits = answer(*args)
        logits[0, 1, 0] = torch.nan
        logits[1, 0, 0] = torch.inf
        return logits

    monkeypatch.setattr(manager.teacher, "batch_logits", spoilt)
    logits = student_logits(batch)
    output = manager.compute_kl_for_batch(batch, logits)
    assert output.num_nonfinite == 2
    assert torch.isfinite(output.loss)
    output.loss.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert (logits.grad[0, 1] == 0).all() and (logits.grad[1, 0] == 0).all()


def test_strength_over_a_run(network: RoadNetwork) -> None:
    manager = manager_with(
        network,
        lambda_=0.4,
        temperature=1.0,
        temperature_end=4.0,
        temperature_schedule="cosine",
        lambda_ramp_epochs=0.5,
    )
    manager.set_length(total_steps=101, steps_per_epoch=20)
    weights = [manager.strength(step).weight for step in range(101)]
    assert weights[0] == 0 and weights[5] == pytest.approx(0.2) and weights[10:] == [0.4] * 91
    temperatures = [manager.strength(step).temperature for step in (0, 50, 100)]
    assert temperatures == pytest.approx([1.0, 2.5, 4.0])
    manager = manager_with(network, lambda_ramp_steps=4)
    assert manager.strength(2).weight == pytest.approx(0.005)


def test_the_weight_at_replayed_trips_follows_that_at_real_ones(network: RoadNetwork) -> None:
    def ends(kind: str, start: float, end: float, replay: float | None) -> list[float]:
        manager = manager_with(
            network,
            lambda_=start,
            lambda_end=end,
            lambda_schedule=kind,
            replay={"lambda": replay},
        )
        manager.set_length(total_steps=11, steps_per_epoch=11)
        return [manager.strength(step).replay_weight for step in (0, 10)]

    assert ends("linear", 2.0, 0.5, None) == [2.0, 0.5]
    assert ends("linear", 2.0, 0.5, 4.0) == [4.0, 1.0]
    assert ends("linear", 0.0, 0.5, None) == [0.0, 0.5]
    assert ends("exponential", 2.0, 0.5, 0.0) == [0.0, 0.0]
    assert ends("exponential", 0.0, 0.5, None) == [0.0, 0.0]


def test_weight_zero_leaves_the_supervised_loss_alone(
    network: RoadNetwork, dataset: TripDataset
) -> None:
    manager = manager_with(network, lambda_=0.0)
    batch = dataset.batch([0])
    supervised = torch.tensor(1.0)
    assert (
        manager.compute_kl_for_batch(batch, student_logits(batch)).total(supervised) is supervised
    )


def test_a_heavy_weight_makes_the_student_mimic(network: RoadNetwork, dataset: TripDataset) -> None:
    config = config_with(NARROW, lambda_=10.0, temperature=1.0)
    torch.manual_seed(0)
    manager = DistillationManager(config, network, teacher=grid_teacher(network, 200, window=1))
    student = HOSER(config, network)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3, weight_decay=0.0)
    batch = dataset.batch(range(8))
    targets = manager.targets(batch)
    history = []
    for _ in range(150):
        logits = student(batch)[0]
        output = manager.compute_kl_for_batch(batch, logits, targets=targets)
        supervised = torch.nn.functional.cross_entropy(
            logits.masked_fill(~batch.candidate_mask, -torch.inf)[batch.position_mask],
            batch.road_label[batch.position_mask],
        )
        optimizer.zero_grad()
        output.total(supervised).backward()
        optimizer.step()
        history.append(output.loss.item())
        if history[-1] < 0.1 * history[0]:
            return
    pytest.fail(f"The student is no nearer to its teacher: {history[0]} to {history[-1]}")


def test_a_hoser_teacher(
    network: RoadNetwork, dataset: TripDataset, tmp_path: Path, parity_dir: Path
) -> None:
    config = config_with(
        teacher="hoser",
        ckpt=str(parity_dir / "hoser_state.pth"),
        cache=True,
        cache_dir=str(tmp_path),
    )
    manager = DistillationManager(config, network)
    assert isinstance(manager.teacher, HOSERRoadTeacher)
    batch = dataset.batch([0, 1, 2, 3])
    live = manager.targets(batch)
    manager.attach(dataset, progress=False)
    cached = manager.targets(batch)
    mask = live.position_mask
    torch.testing.assert_close(
        torch.softmax(live.logits[mask], -1),
        torch.softmax(cached.logits[mask], -1),
        atol=2e-3,
        rtol=2e-3,
    )
    student = HOSER.load(parity_dir / "hoser_state.pth", config, network)
    loss = manager.compute_kl_for_batch(batch, student(batch)[0], targets=live).loss
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_the_same_architecture_warns(
    network: RoadNetwork, parity_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_with(teacher="hoser", ckpt=str(parity_dir / "hoser_state.pth"))
    with caplog.at_level("WARNING", logger="hoser_distil"):
        load_teacher(config, network)
    assert "student's architecture" in caplog.text


def test_the_loader_checks_the_teacher_against_the_config(
    network: RoadNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "t.pt"
    weights = small_weights(network.num_roads, 12, True, "road")
    save_weights(path, weights)
    good: dict[str, Any] = {"ckpt": str(path), "vocabulary": "road", "destination_prefix": True}
    teacher = load_teacher(config_with(**good), network)
    assert teacher.tie_keys is None
    for change, message in (
        ({"vocabulary": "grid"}, "distill.vocabulary is 'grid'"),
        ({"destination_prefix": False}, "distill.destination_prefix is False"),
    ):
        with pytest.raises(UserError, match=message):
            load_teacher(config_with(**{**good, **change}), network)
    weights.dataset_config["num_roads"] = 17
    save_weights(path, weights)
    with pytest.raises(UserError, match="another road network"):
        load_teacher(config_with(**good), network)
    save_weights(path, small_weights(10, 12, True, "road"))
    with pytest.raises(UserError, match="only 10 tokens"):
        road_teacher(path, network)


def test_grid_weights_describe_their_own_mapping(
    network: RoadNetwork, dataset: TripDataset, tmp_path: Path
) -> None:
    weights = small_weights(15 * 18, 12, False, "grid")
    weights.dataset_config.update(grip_size=[15, 18], grid_size=0.001)
    save_weights(tmp_path / "t.pt", weights)
    teacher = road_teacher(tmp_path / "t.pt", network, window=4)
    assert teacher.tie_keys is not None
    batch = dataset.batch([0, 1])
    logits = teacher.batch_logits(batch, batch.position_mask)
    assert torch.isfinite(logits[batch.candidate_mask]).all()
    config = config_with(ckpt=str(tmp_path / "t.pt"), grid_size=0.002)
    with pytest.raises(UserError, match=r"grid_size is 0\.002"):
        load_teacher(config, network)


def test_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {"dataset": "Beijing"})
    assert teacher_path(config) == Path("teachers/lmtad_beijing.pt")
    with pytest.raises(UserError, match=r"lmtad_beijing\.pt does not exist.*train_lmtad"):
        require_teacher(config)
    config = load_config(None, {"distill.teacher_name": "mine"})
    with pytest.raises(UserError, match=r"'mine'.*known: .*lmtad_porto"):
        require_teacher(config)
    Path("teachers").mkdir()
    Path("teachers/other.pt").write_bytes(b"x")
    beijing = load_config(None, {"dataset": "Beijing"})
    with pytest.raises(UserError, match=r"there are teachers/other\.pt.*--no-distill"):
        require_teacher(beijing)
    Path("teachers/lmtad_weights.pt").write_bytes(b"x")  # the documents' name
    assert require_teacher(beijing) == Path("teachers/lmtad_weights.pt")
    Path("teachers/lmtad_beijing.pt").write_bytes(b"x")
    assert require_teacher(beijing) == Path("teachers/lmtad_beijing.pt")
    Path("teachers/mine.pt").write_bytes(b"x")
    assert require_teacher(config) == Path("teachers/mine.pt")
    config = load_config(None, {"distill.ckpt": "elsewhere.pt", "distill.teacher_name": "mine"})
    assert teacher_path(config) == Path("elsewhere.pt")
