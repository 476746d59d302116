"""Roads to grid cells: the formula, the parity city's grid, and every mismatch that is caught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import load_config
from critics.grid_mapper import Grid, GridMapper, bounds_of, bounds_to_dict
from data.road_network import Bounds, RoadNetwork
from runtime.errors import UserError


@pytest.fixture(scope="module")
def network(parity_city: Path) -> RoadNetwork:
    return RoadNetwork.load(parity_city)


def test_the_parity_citys_grid(network: RoadNetwork, parity_dir: Path) -> None:
    stored = np.load(parity_dir / "lmtad_out.npz")
    height, width = (int(size) for size in stored["grid_hw"])
    names = ("min_lat", "max_lat", "min_lng", "max_lng")
    bounds = Bounds(*(float(stored[name]) for name in names))
    mapper = GridMapper(network, 0.001, bounds=bounds, grip_size=(height, width))
    assert mapper.grid_dims == (height, width)
    tokens = mapper.road_to_token
    assert tokens.dtype == np.int64 and tokens.flags.c_contiguous
    assert len(tokens) == network.num_roads
    assert tokens.min() >= 0 and tokens.max() < height * width
    for road in range(network.num_roads):
        span = slice(network.vertex_offsets[road], network.vertex_offsets[road + 1])
        lat, lon = network.vertex_lat[span].mean(), network.vertex_lon[span].mean()
        row = int((lat - bounds.min_lat) // 0.001)
        column = int((lon - bounds.min_lon) // 0.001)
        assert tokens[road] == row * width + column


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cell=st.floats(1e-4, 0.5),
    downsample=st.integers(1, 7),
)
def test_formula_point_by_point(seed: int, cell: float, downsample: int) -> None:
    rng = np.random.default_rng(seed)
    lat, lon = rng.uniform(39.0, 40.0, 20), rng.uniform(116.0, 117.5, 20)
    bounds = Bounds(39.2, 39.9, 116.1, 117.2)  # some points lie outside
    grid = Grid(bounds, cell, downsample)
    height = max(1, (int((39.9 - 39.2) / cell) + 1) // downsample)
    width = max(1, (int((117.2 - 116.1) / cell) + 1) // downsample)
    assert grid.size == (height, width)
    for token, y, x in zip(grid.tokens(lat, lon), lat, lon, strict=True):
        row = int(np.floor((y - 39.2) / cell)) // downsample
        column = int(np.floor((x - 116.1) / cell)) // downsample
        row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
        assert token == row * width + column


def test_the_documents_bounds_are_not_those_of_their_grid(network: RoadNetwork) -> None:
    assert 205 * 252 == 51_660
    with pytest.raises(UserError, match=r"1621 x 20\d\d.*205 x 252.*39\.44.*117\.5"):
        GridMapper(network, 0.001, 1, Bounds(39.44, 41.06, 115.42, 117.50), (205, 252))


def test_a_mismatch_names_both_sizes_and_the_bounds(network: RoadNetwork) -> None:
    with pytest.raises(UserError) as caught:
        GridMapper(network, 0.001, grip_size=(205, 252))
    message = str(caught.value)
    assert "205 x 252" in message
    assert "15 x 18" in message
    assert str(network.bounds.min_lat) in message and str(network.bounds.max_lon) in message
    loose = GridMapper(network, 0.001, grip_size=(205, 252), verify_grid_dims=False)
    assert loose.grid_dims == (15, 18)
    with pytest.raises(UserError, match="more than the teacher's 5 x 5"):
        GridMapper(network, 0.001, grip_size=(5, 5), verify_grid_dims=False)


def test_bounds_come_from_the_teacher_then_the_config_then_the_roads(
    network: RoadNetwork,
) -> None:
    theirs = Bounds(39.0, 40.0, 116.0, 117.0)
    ours = {"min_lat": 39.5, "max_lat": 40.0, "min_lng": 116.0, "max_lng": 117.0}
    unverified = {"distill.grid_size": 0.1, "distill.verify_grid_dims": False}
    plain = load_config(None, unverified).distill
    configured = load_config(None, {**unverified, "distill.bounds": ours}).distill
    stored = bounds_to_dict(theirs)
    assert bounds_of(stored) == bounds_of({"bounds": stored}) == theirs
    assert GridMapper.from_config(configured, network, stored).grid.bounds == theirs
    assert GridMapper.from_config(configured, network, {}).grid.bounds.min_lat == 39.5
    assert GridMapper.from_config(plain, network, {}).grid.bounds == network.bounds
    with pytest.raises(UserError, match="incomplete"):
        bounds_of({"min_lat": 1.0})


def test_a_grid_that_cannot_be_verified(
    network: RoadNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=r"grip_size.*verify_grid_dims"):
        GridMapper.from_config(load_config(None).distill, network, {})
    distill = load_config(None, {"distill.verify_grid_dims": False}).distill
    with caplog.at_level("WARNING", logger="hoser_distil"):
        GridMapper.from_config(distill, network, {})
    assert caplog.text.count("could not be verified") == 1


def test_another_grid_size_than_the_teachers_is_an_error(network: RoadNetwork) -> None:
    distill = load_config(None, {"distill.grid_size": 0.002}).distill
    with pytest.raises(UserError, match=r"grid_size is 0\.002.*0\.001"):
        GridMapper.from_config(distill, network, {"grid_size": 0.001})
