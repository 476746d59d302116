"""The road network: equal to the published features, and clear about bad files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.geometry import LineString

from data.geometry import polyline_centroids
from data.road_network import RoadNetwork
from data.roadmap_files import parse_highway
from runtime.errors import UserError


@pytest.fixture(scope="module")
def network(parity_city: Path) -> RoadNetwork:
    return RoadNetwork.load(parity_city)


@pytest.fixture
def city(parity_city: Path, tmp_path: Path) -> Path:
    """A writable copy of the parity city."""
    folder = tmp_path / "city"
    shutil.copytree(parity_city, folder, copy_function=shutil.copyfile)
    return folder


def test_features_equal_the_published(network: RoadNetwork, parity_dir: Path) -> None:
    expected = np.load(parity_dir / "road_features.npz")
    zones = network.require_zones()
    found: dict[str, NDArray[Any]] = {
        "road_attr_len": network.road_attr_len,
        "road_attr_type": network.road_attr_type,
        "road_attr_lon": network.road_attr_lon,
        "road_attr_lat": network.road_attr_lat,
        "road_edge_index": network.road_edge_index,
        "intersection_attr": network.intersection_attr,
        "zone_edge_index": zones.edge_index,
        "zone_edge_weight": zones.edge_weight,
        "road2zone": zones.road2zone,
    }
    assert set(found) == set(expected.files)
    for name, value in found.items():
        assert value.dtype == expected[name].dtype, name
        np.testing.assert_allclose(value, expected[name], atol=1e-5, rtol=0, err_msg=name)


def test_candidates_keep_the_files_order(network: RoadNetwork, parity_city: Path) -> None:
    expected: dict[int, list[int]] = {}
    for line in (parity_city / "roadmap.rel").read_text().splitlines()[1:]:
        _, _, origin, destination = line.split(",")
        expected.setdefault(int(origin), []).append(int(destination))
    for road in range(network.num_roads):
        assert network.candidates(road).tolist() == expected.get(road, [])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.floats(116, 117, width=32), st.floats(39, 40, width=32)),
            min_size=2,
            max_size=6,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_centroids_are_those_of_shapely(lines: list[list[tuple[float, float]]]) -> None:
    offsets = np.cumsum([0, *map(len, lines)]).astype(np.int64)
    points = np.array([point for line in lines for point in line])
    lon, lat = polyline_centroids(offsets, points[:, 0], points[:, 1])
    for index, line in enumerate(lines):
        shape = LineString(line)
        if shape.length > 0:
            np.testing.assert_allclose(
                (lon[index], lat[index]), shape.centroid.coords[0], atol=1e-9, rtol=0
            )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("primary", "primary"),
        ("3", "3"),
        ("['primary', 'unclassified']", "primary"),
        ("['unclassified', 'tertiary']", "tertiary"),
        ("['unclassified']", "unclassified"),
        ("[\"a, b\", 'c']", "a, b"),
        ("[1, 2]", "1"),
        ("[]", "[]"),
        ("__import__('os').system('x')", "__import__('os').system('x')"),
    ],
)
def test_highway_types(text: str, kind: str) -> None:
    assert parse_highway(text) == kind


def _replace_line(path: Path, number: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    path.write_text("\n".join(lines) + "\n")


GEO = '3,LineString,"{}",residential,1,0,0,0,1,{},0.0,0,1'
BAD_LINES = [
    ("roadmap.geo", 3, GEO.format("[[1, 2], [3", "10"), "coordinates are not a JSON list"),
    ("roadmap.geo", 3, GEO.format("[[1, 2]]", "10"), "coordinates have 1 vertices"),
    ("roadmap.geo", 3, GEO.format("[[1, 2], [3, true]]", "1"), "coordinates are not a JSON list"),
    ("roadmap.geo", 3, GEO.format("[[1, 2], [3, 4]]", "far"), "length 'far' is not a number"),
    ("roadmap.geo", 3, GEO.format("[[1, 2], [3, 4]]", "-1"), "length '-1' is not a number"),
    ("roadmap.geo", 3, GEO.format("[[1, 2], [3, 4]]", "nan"), "length 'nan' is not a number"),
    ("roadmap.geo", 3, "1,2", "the row has 2 fields, the header has 13"),
    ("roadmap.geo", 1, "a,b,c", "the column coordinates, highway, length is missing"),
    ("roadmap.rel", 4, "2,geo,0,9999", "'9999' is not a road"),
    ("roadmap.rel", 4, "2,geo,-1,3", "'-1' is not a road"),
    ("roadmap.rel", 4, "2,geo,x,3", "'x' is not a road"),
]


@pytest.mark.parametrize(("name", "line", "text", "message"), BAD_LINES)
def test_bad_rows_name_file_and_line(
    city: Path, name: str, line: int, text: str, message: str
) -> None:
    _replace_line(city / name, line, text)
    with pytest.raises(UserError) as error:
        RoadNetwork.load(city)
    assert f"{city / name}:{line}: " in str(error.value)
    assert message in str(error.value)


def test_vertices_outside_the_globe(city: Path) -> None:
    _replace_line(city / "roadmap.geo", 3, GEO.format("[[500, 2], [3, 4]]", "10"))
    with pytest.raises(UserError, match=r"road 1 has the vertex \[500.0, 2.0\]"):
        RoadNetwork.load(city)


def test_zone_files_are_checked(city: Path) -> None:
    (city / "road_network_partition").write_text("0\n" * 3)
    with pytest.raises(UserError, match="has 3 zone ids, but there are 251 roads"):
        RoadNetwork.load(city)
    (city / "road_network_partition").write_text("0\n" * 250 + "99\n")
    with pytest.raises(UserError, match="has zone 99, but"):
        RoadNetwork.load(city)
    (city / "zone_trans_mat.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match="is not a readable NumPy array"):
        RoadNetwork.load(city)


def test_missing_folder_says_how_to_get_a_city(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.demo_city"):
        RoadNetwork.load(tmp_path / "nowhere")


def test_the_content_hash_follows_the_roads(city: Path, network: RoadNetwork) -> None:
    assert RoadNetwork.load(city).content_hash == network.content_hash
    (city / "road_network_partition").unlink()
    without_zones = RoadNetwork.load(city)
    assert without_zones.zones is None
    assert without_zones.content_hash == network.content_hash
    with pytest.raises(UserError, match=r"data\.preprocess"):
        without_zones.require_zones()
    lines = (city / "roadmap.rel").read_text().splitlines()
    (city / "roadmap.rel").write_text("\n".join(lines[:-1]) + "\n")
    assert RoadNetwork.load(city).content_hash != network.content_hash
