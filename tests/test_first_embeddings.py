"""Where a taught student's roads and zones begin."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hoser import HOSER
from runtime.distributed import Processes
from tests.training_helpers import (
    assert_same_weights,
    distilled,
    final_weights,
    tiny_config,
)
from train_with_distill import train
from training.first_embeddings import begin_where_the_teacher_is, main_directions
from training.folder import RunFolder
from training.resources import ResourcePool


@given(st.integers(0, 999), st.integers(1, 12), st.integers(1, 8), st.integers(1, 12))
def test_main_directions_keep_what_they_can(seed: int, count: int, size: int, width: int) -> None:
    vectors = torch.randn(count, size, generator=torch.manual_seed(seed)).double()
    found = main_directions(vectors, width)
    assert found.shape == (count, width) and found.isfinite().all()
    centered = vectors - vectors.mean(0)
    reached = min(int(torch.linalg.matrix_rank(centered)), width)
    assert (found[:, reached:] == 0).all()
    if reached:
        assert found[:, :reached].square().mean() == pytest.approx(1.0)
        kept = torch.linalg.svdvals(centered)[:reached]
        scale = kept[0] / torch.linalg.svdvals(found)[0]
        torch.testing.assert_close(torch.linalg.svdvals(found)[:reached] * scale, kept)
    if reached == torch.linalg.matrix_rank(centered) > 0:  # as far from each other as before
        torch.testing.assert_close(torch.cdist(found, found) * scale, torch.cdist(vectors, vectors))


def _student(city: Path, folder: Path) -> tuple[HOSER, Tensor]:
    config = tiny_config(city, folder, **distilled(city))
    pool = ResourcePool()
    resources = pool.get(config)
    teacher = pool.teacher(config, resources, torch.device("cpu")).teacher
    return HOSER(config, resources.network), teacher.road_vectors()


def test_roads_and_zones_begin_where_the_teacher_has_them(tiny_city: Path, tmp_path: Path) -> None:
    model, vectors = _student(tiny_city, tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    begin_where_the_teacher_is(model, vectors, Processes())
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    embeddings = {f"road_network_encoder.{kind}_id_emb.weight" for kind in ("road", "zone")}
    assert changed == embeddings
    roads = after["road_network_encoder.road_id_emb.weight"]
    torch.testing.assert_close(roads, main_directions(vectors.double(), roads.shape[1]).float())
    zones = after["road_network_encoder.zone_id_emb.weight"]
    means = [vectors[model.road2zone == zone].double().mean(0) for zone in range(len(zones))]
    expected = main_directions(torch.stack(means).nan_to_num(), zones.shape[1])
    torch.testing.assert_close(zones, expected.float())


def test_only_a_taught_student_begins_there(tiny_city: Path, tmp_path: Path) -> None:
    def weights(name: str, **overrides: object) -> dict[str, Tensor]:
        config = tiny_config(tiny_city, tmp_path / name, **distilled(tiny_city, **overrides))
        train(config)
        return final_weights(RunFolder.of(config).path)

    there = {"distill__first_embeddings": "teacher"}
    assert_same_weights(
        weights("silent", distill__lambda=0.0), weights("neither", distill__lambda=0.0, **there)
    )
    taught, started = weights("taught"), weights("started", **there)
    name = "road_network_encoder.road_id_emb.weight"
    assert not torch.allclose(taught[name], started[name])
