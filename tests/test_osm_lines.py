"""Streets that are no OpenStreetMap: lines of several formats, graphs of OSMnx, one-ways."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import polars as pl
import pytest
import shapely

from data.osm.__main__ import main
from data.road_network import RoadNetwork
from runtime.errors import UserError

# Four corners and a middle; every street with its end nodes, in degrees.
PLACES = {"a": (10.0, 50.0), "b": (10.01, 50.0), "c": (10.01, 50.01), "d": (10.0, 50.01)}
STREETS = ["ab", "bc", "cd", "da", "ac"]


def _features(**properties: object) -> list[dict[str, Any]]:
    return [
        {
            "type": "Feature",
            "properties": {"class": 5, "from_node": name[0], "to_node": name[1], **properties},
            "geometry": {"type": "LineString", "coordinates": [PLACES[node] for node in name]},
        }
        for name in STREETS
    ]


def _write(path: Path, features: list[dict[str, Any]]) -> Path:
    text = json.dumps({"type": "FeatureCollection", "features": features})
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def _network(source: Path, *options: str) -> RoadNetwork:
    out = source.parent / "out"
    main(["--lines", str(source), "--out", str(out), "--force", *options])
    return RoadNetwork.load(out)


def _columns(folder: Path) -> list[dict[str, str]]:
    with (folder / "roadmap.geo").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_format_gives_the_same_network(tmp_path: Path) -> None:
    features = _features()
    expected = _network(_write(tmp_path / "streets.geojson", features), "--classes", "5=primary")
    assert expected.num_roads == 2 * len(STREETS)
    assert expected.type_names == ["primary"]
    _write(tmp_path / "streets.geojson.gz", features)
    (tmp_path / "streets.geojsonl").write_text("\n".join(map(json.dumps, features)))
    lines = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    rows = [feature["properties"] for feature in features]
    frame = pl.DataFrame(rows).with_columns(pl.Series("geometry", shapely.to_wkb(lines).tolist()))
    frame.write_parquet(tmp_path / "streets.parquet")
    for name in ("streets.geojson.gz", "streets.geojsonl", "streets.parquet"):
        found = _network(tmp_path / name, "--classes", "5=primary")
        assert found.content_hash == expected.content_hash, name


def test_shapefiles(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio")
    lines = [shapely.geometry.shape(feature["geometry"]) for feature in _features()]
    path = tmp_path / "streets.shp"

    def write(crs: str) -> None:
        pyogrio.raw.write(
            path,
            shapely.to_wkb(np.array(lines)),
            [np.array(["motorway"] * len(lines), dtype=object)],
            ["fclass"],
            geometry_type="LineString",
            crs=crs,
        )

    write("EPSG:4326")
    network = _network(path)
    assert network.num_roads == 2 * len(STREETS)
    assert network.type_names == ["motorway"]
    write("EPSG:32632")
    with pytest.raises(UserError, match="EPSG:4326"):
        _network(path)


def test_lines_meet_at_shared_points_or_at_their_nodes_only(tmp_path: Path) -> None:
    features = _features()
    middle = [10.005, 50.005]
    features[4]["geometry"]["coordinates"].insert(1, middle)
    crossing = json.loads(json.dumps(features[4]))
    crossing["properties"] |= {"from_node": "b", "to_node": "d"}
    crossing["geometry"]["coordinates"] = [PLACES["b"], middle, PLACES["d"]]
    source = _write(tmp_path / "streets.geojson", [*features, crossing])
    assert _network(source).num_roads == 12  # a bridge
    for feature in (*features, crossing):
        del feature["properties"]["to_node"]
    _write(source, [*features, crossing])
    assert _network(source).num_roads == 16  # a crossing


def test_columns_of_any_name(tmp_path: Path) -> None:
    features = _features(dir="FT", limit=30, spuren=2)
    features[4]["properties"]["dir"] = "B"
    source = _write(tmp_path / "streets.geojson", features)
    network = _network(
        source,
        "--columns",
        "oneway=dir,maxspeed=limit,lanes=spuren",
        "--mph",
        "--classes",
        "5=road",
    )
    assert network.num_roads == 6
    row = _columns(source.parent / "out")[0]
    assert (row["maxspeed"], row["lanes"], row["oneway"]) == ("48.3", "2", "1")
    for bad in ("oneway=nothing", "colour=dir", "oneway"):
        with pytest.raises(UserError):
            _network(source, "--columns", bad)
    with pytest.raises(UserError, match="--classes"):
        _network(source, "--classes", "5=boulevard")


def test_files_without_lines_are_refused_in_a_line(tmp_path: Path) -> None:
    point = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Point", "coordinates": [1, 2]},
    }
    metres = json.loads(json.dumps(_features()[0]))
    metres["geometry"]["coordinates"] = [[500000.0, 5500000.0], [500100.0, 5500000.0]]
    broken = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": "x"}}
    contents: dict[str, bytes] = {
        "empty.geojson": b"",
        "text.geojson": b"not json",
        "latin.geojson": b'{"name": "\xe9"}',
        "nothing.geojson": b"{}",
        "list.geojson": b"[1, 2]",
        "points.geojson": json.dumps({"features": [point, None, 3]}).encode(),
        "metres.geojson": json.dumps({"features": [metres]}).encode(),
        "broken.geojson": json.dumps({"features": [broken]}).encode(),
        "cut.geojson.gz": gzip.compress(b"{}" * 99)[:-12],
        "none.parquet": b"PAR1",
        "none.shp": b"shape",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            _network(tmp_path / name)


def _osmnx_graph() -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph(crs="epsg:4326")
    for node, (lon, lat) in enumerate(PLACES.values(), start=1):
        graph.add_node(node, x=str(lon), y=str(lat), street_count="3")
    number = {name: place for place, name in enumerate(PLACES, start=1)}
    bend = (10.004, 50.006)
    for name in STREETS:
        u, v = number[name[0]], number[name[1]]
        points = [PLACES[name[0]], PLACES[name[1]]]
        data = {"osmid": "[7, 8]", "highway": "['primary', 'secondary']", "lanes": "['2', '4']"}
        if name == "ac":
            points.insert(1, bend)
            shape = {"geometry": shapely.LineString(points).wkt}
            back = {"geometry": shapely.LineString(points[::-1]).wkt}
        else:
            shape, back = {}, {}
        oneway = name == "cd"
        graph.add_edge(u, v, **data, **shape, oneway=str(oneway), reversed="False")
        if not oneway:
            graph.add_edge(v, u, **data, **back, oneway="False", reversed="True")
    return graph


def test_a_graph_of_osmnx(tmp_path: Path) -> None:
    path = tmp_path / "graph.graphml"
    nx.write_graphml(_osmnx_graph(), path)
    main(["--graphml", str(path), "--out", str(tmp_path / "out")])
    network = RoadNetwork.load(tmp_path / "out")
    assert network.num_roads == 9
    assert network.type_names == ["primary"]
    rows = _columns(tmp_path / "out")
    assert {(row["u"], row["v"]) for row in rows} >= {("1", "2"), ("2", "1"), ("3", "4")}
    assert ("4", "3") not in {(row["u"], row["v"]) for row in rows}
    by_ends = {(int(row["u"]), int(row["v"])): number for number, row in enumerate(rows)}
    back = by_ends[(2, 1)]
    assert back not in network.candidates(by_ends[(1, 2)])
    assert "OpenStreetMap" in (tmp_path / "out" / "README.md").read_text()
    for content in ("<graphml>", "<graphml></graphml>", "no xml", ""):
        path.write_text(content)
        with pytest.raises(UserError, match="graphml"):
            main(["--graphml", str(path), "--out", str(tmp_path / "out2")])


def test_oneway_streets_are_inferred_from_traffic(tiny_city: Path, tmp_path: Path) -> None:
    source = _write(tmp_path / "streets.geojson", _features())
    both = _network(source)
    matched = tmp_path / "matched"
    shutil.copytree(tmp_path / "out", matched)
    name_of = {place: name for name, place in PLACES.items()}

    def names(network: RoadNetwork) -> list[str]:
        ends = zip(network.start_lon, network.start_lat, network.end_lon, network.end_lat)
        return [name_of[(a, b)] + name_of[(c, d)] for a, b, c, d in ends]

    number = {name: road for road, name in enumerate(names(both))}

    def trip(*roads: str) -> tuple[str, str]:
        times = [f"2015-11-05T12:{minute:02d}:00Z" for minute in range(len(roads))]
        return ",".join(str(number[road]) for road in roads), ",".join(times)

    # Around by b and c only; between a and c in both directions; d-a and a-b a few times.
    trips = [trip("ab", "bc", "cd")] * 30 + [trip("bc", "ca", "ab")] * 20
    trips += [trip("da", "ac", "cb")] * 20 + [trip("cd", "da", "ab")] * 5
    pl.DataFrame(trips, schema=["rid_list", "time_list"], orient="row").write_parquet(
        matched / "train.parquet"
    )

    def inferred(*options: str) -> set[str]:
        out = tmp_path / "inferred"
        main(["--lines", str(source), "--out", str(out), "--infer-oneway", str(matched), *options])
        return set(names(RoadNetwork.load(out)))

    # With c to b closed nothing leads from b to a any longer, since nobody turns round at b.
    assert set(number) - inferred() == {"cb", "ba"}
    assert set(number) - inferred("--oneway-min", "5") == {"cb", "ba", "ad", "dc"}
    assert set(number) - inferred("--oneway-min", "31") == set()
    with pytest.raises(UserError, match="--oneway-share"):
        inferred("--oneway-share", "0.7")
    for file in ("roadmap.geo", "roadmap.rel"):
        (matched / file).write_bytes((tiny_city / file).read_bytes())
    with pytest.raises(UserError, match="another network"):
        inferred()
