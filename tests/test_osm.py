"""Road networks from OpenStreetMap: tags, junctions, turns, regions, and what is no map at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("osmium")

from data.attribution import read_attribution
from data.osm.__main__ import main
from data.osm.export import export_osm
from data.osm.speeds import parse_speed_kmh
from data.osm.streets import Findings, StreetKind
from data.osm.tags import Network, TagReader, Vehicle, parse_lanes, parse_oneway
from data.road_network import RoadNetwork
from runtime.errors import UserError
from tests.osm_helpers import OsmMap, Tags, cross

REAL = Path(__file__).parents[2] / "shared" / "real" / "osm"


def _street(
    tags: Tags, network: Network = "drive", vehicle: Vehicle = "car"
) -> tuple[StreetKind, bool] | None:
    return TagReader(network, vehicle, Findings(), {}).street(tags)


def _columns(folder: Path) -> list[dict[str, str]]:
    with (folder / "roadmap.geo").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("text", "kmh"),
    [
        ("50", 50),
        ("50 km/h", 50),
        ("30 mph", 48.3),
        ("30mph", 48.3),
        ("RO:urban", 50),
        ("DE:rural", 100),
        ("GB:nsl_single", 96.6),
        ("UK:motorway", 112.7),
        ("DE:zone:30", 30),
        ("FR:zone30", 30),
        ("GB:zone20", 32.2),
        ("walk", 7),
        ("none", 130),
        ("80;50", 50),
        ("50|70", 50),
        ("signals", None),
        ("-5", None),
        ("0", None),
        ("fast", None),
        ("", None),
        ("1" * 5000, None),
    ],
)
def test_speeds_of_every_kind(text: str, kmh: float | None) -> None:
    assert parse_speed_kmh(text) == kmh


def test_lanes_and_directions_of_every_kind() -> None:
    assert [parse_lanes(text) for text in ("2", "3;2", "1.5", "0", "many", "", None)] == [
        *(2, 2, 1),
        *(None, None, None, None),
    ]
    expected = {
        "yes": (True, False),
        "-1": (False, True),
        "reverse": (False, True),
        "no": (True, True),
        "reversible": (True, True),
        "alternating": (True, True),
        "yes;no": (True, False),
    }
    assert {text: parse_oneway(text) for text in expected} == expected
    assert parse_oneway("perhaps") is None


@pytest.mark.parametrize(
    ("tags", "runs"),
    [
        ({}, "both"),
        ({"access": "no"}, "none"),
        ({"access": "private"}, "none"),
        ({"access": "no", "motor_vehicle": "yes"}, "both"),
        ({"vehicle": "no", "motorcar": "destination"}, "both"),
        ({"motor_vehicle": "private"}, "none"),
        ({"motor_vehicle": "destination"}, "both"),
        ({"access": "yes", "motor_vehicle": "agricultural;forestry"}, "none"),
        ({"motor_vehicle": "whatever", "access": "no"}, "none"),
        ({"oneway": "yes"}, "forward"),
        ({"oneway": "-1"}, "backward"),
        ({"oneway": "yes", "oneway:motor_vehicle": "no"}, "both"),
        ({"motor_vehicle:backward": "no"}, "forward"),
        ({"vehicle:forward": "no"}, "backward"),
        ({"oneway": "yes", "vehicle:forward": "no"}, "none"),
        ({"junction": "roundabout"}, "forward"),
        ({"junction": "circular", "oneway": "no"}, "both"),
        ({"highway": "motorway"}, "forward"),
        ({"highway": "motorway", "oneway": "no"}, "both"),
        ({"area": "yes"}, "none"),
    ],
)
def test_who_may_drive_and_which_way(tags: Tags, runs: str) -> None:
    street = _street({"highway": "residential", **tags})
    found = "none"
    if street is not None:
        kind, against = street
        found = "both" if not kind.oneway else "backward" if against else "forward"
    assert found == runs


def test_networks_and_vehicles_differ() -> None:
    driveway = {"highway": "service", "service": "driveway"}
    alley = {"highway": "service", "service": "alley"}
    assert _street(driveway, "service") is None
    assert _street(alley, "service") is not None
    assert _street({"highway": "track", "access": "private"}, "all") is not None
    assert _street({"route": "ferry"}, "all") is None
    assert _street({"route": "ferry", "motor_vehicle": "yes"}, "all") is not None
    bus_street = {"highway": "residential", "motor_vehicle": "no", "psv": "yes"}
    assert _street(bus_street) is None
    assert _street(bus_street, vehicle="taxi") is not None
    assert _street({"highway": "busway"}, vehicle="bus") is not None


def test_lanes_and_speeds_follow_the_direction() -> None:
    tags = {
        **{"highway": "primary", "lanes": "5", "lanes:forward": "3", "lanes:backward": "2"},
        **{"maxspeed": "50", "maxspeed:backward": "70"},
    }
    street = _street(tags)
    assert street is not None
    assert street[0][2:6] == (3, 2, 50.0, 70.0)
    reverse = _street({**tags, "oneway": "-1"})
    assert reverse is not None
    kind, against = reverse
    assert (kind.lanes_forward, kind.speed_forward_kmh, against) == (2, 70.0, True)


def test_no_u_turn_but_at_dead_ends(tmp_path: Path) -> None:
    town = cross()
    town.nodes[6] = (10.0, 50.005)
    town.ways.append(([1, 6], {"highway": "residential", "name": "cul-de-sac"}))
    turns = town.network(tmp_path).turns()
    assert ((1, 6), (6, 1)) in turns
    assert ((6, 1), (1, 6)) not in turns
    assert ((1, 5), (5, 1)) not in turns
    assert {target for origin, target in turns if origin == (1, 5)} == {(5, 2), (5, 3), (5, 4)}


def test_pieces_of_one_street_are_joined_but_not_at_junctions(tmp_path: Path) -> None:
    town = cross()
    town.nodes |= {7: (9.999, 50.001), 8: (9.998, 50.001)}
    street = {"highway": "residential", "name": "long"}
    town.ways += [([1, 7], street), ([8, 7], street)]  # drawn in opposite directions
    network = town.network(tmp_path)
    assert (1, 8) in network.roads and (8, 1) in network.roads
    assert (1, 7) not in network.roads
    assert (1, 7) in town.network(tmp_path, "--cut", "ways").roads
    lengths = {ends: network.network.length_m[road] for road, ends in enumerate(network.roads)}
    assert lengths[(1, 8)] == lengths[(8, 1)] == pytest.approx(142.9, abs=0.3)


def _left_turn(kind: str, **tags: str) -> tuple[list[tuple[str, int, str]], Tags]:
    """From way 1 (west) at node 5 onto way 2 (north)."""
    members = [("way", 1, "from"), ("node", 5, "via"), ("way", 2, "to")]
    return members, {"restriction": kind, **tags}


def _after(town: OsmMap, folder: Path, *options: str) -> set[int]:
    """Where one may go on from the western street at the crossing."""
    turns = town.network(folder, *options).turns()
    return {target[1] for origin, target in turns if origin == (1, 5)}


def test_turn_restrictions_at_nodes(tmp_path: Path) -> None:
    def after(*restrictions: tuple[list[tuple[str, int, str]], Tags]) -> set[int]:
        return _after(cross(restrictions=list(restrictions)), tmp_path)

    assert after(_left_turn("no_left_turn")) == {3, 4}
    assert after(_left_turn("only_left_turn")) == {2}
    assert after(_left_turn("no_left_turn", **{"except": "bicycle;motorcar"})) == {2, 3, 4}
    assert after(_left_turn("no_left_turn", **{"except": "bus;taxi"})) == {3, 4}
    assert after(_left_turn("no_left_turn @ (Mo-Fr 07:00-09:00)")) == {2, 3, 4}
    assert after(_left_turn("no_left_turn", hour_on="07:00")) == {2, 3, 4}
    assert after(_left_turn("no_such_turn")) == {2, 3, 4}
    members, _ = _left_turn("")
    assert after((members, {"restriction:hgv": "no_left_turn"})) == {2, 3, 4}
    assert after((members, {"restriction:motorcar": "no_left_turn"})) == {3, 4}
    assert after((members, {"restriction:conditional": "no_left_turn @ (wet)"})) == {2, 3, 4}
    assert after((members[:2], {"restriction": "no_left_turn"})) == {2, 3, 4}
    gone = [*members[:2], ("way", 999, "to")]
    assert after((gone, {"restriction": "only_left_turn"})) == {2, 3, 4}


def test_restrictions_for_other_vehicles(tmp_path: Path) -> None:
    town = cross(restrictions=[_left_turn("no_left_turn", **{"except": "psv"})])
    assert _after(town, tmp_path, "--vehicle", "taxi") == {2, 3, 4}
    assert _after(town, tmp_path, "--vehicle", "hgv") == {3, 4}


def test_a_way_that_goes_on_beyond_the_node_is_told_by_the_angle(tmp_path: Path) -> None:
    town = cross(restrictions=[_left_turn("no_left_turn")])
    # Ways 2 and 4 as one way from north to south through the crossing.
    town.ways[1] = ([2, 5, 4], {"highway": "residential", "name": "through"})
    town.ways[3] = ([4, 1], {"highway": "residential", "name": "beside"})
    assert _after(town, tmp_path) == {3, 4}


def test_restrictions_through_ways_where_a_pair_says_the_same(tmp_path: Path) -> None:
    """Two one-way carriageways and a link from node 11 to 12 that serves U-turns only."""
    nodes = {10: (0.0, 1.0), 11: (0.01, 1.0), 13: (0.02, 1.0)}
    nodes |= {20: (0.0, 1.001), 12: (0.01, 1.001), 23: (0.02, 1.001)}
    road = {"highway": "primary", "oneway": "yes"}
    town = OsmMap(
        nodes,
        [
            ([10, 11], {**road, "name": "a"}),
            ([11, 13], {**road, "name": "b"}),
            ([23, 12], {**road, "name": "c"}),
            ([12, 20], {**road, "name": "d"}),
            ([11, 12], {**road, "name": "link"}),
            ([13, 23], {"highway": "primary", "name": "east"}),
            ([20, 10], {"highway": "primary", "name": "west"}),
        ],
    )
    u_turn = ((11, 12), (12, 20))
    assert u_turn in town.network(tmp_path).turns()
    members = [("way", 1, "from"), ("way", 5, "via"), ("way", 4, "to")]
    town.restrictions = [(members, {"restriction": "no_u_turn"})]
    built = town.network(tmp_path)
    assert u_turn not in built.turns()
    assert (11, 12) not in built.roads  # it led nowhere else


def test_barriers_end_streets_unless_they_let_cars_pass(tmp_path: Path) -> None:
    def through(**tags: str) -> bool:
        town = cross(node_tags={6: {"barrier": "bollard", **tags}})
        town.nodes[6] = (10.0005, 50.001)
        town.ways[0] = ([1, 6, 5], {"highway": "residential", "name": "to 1"})
        return (1, 5) in town.network(tmp_path).roads

    assert not through()
    assert through(access="yes")
    assert through(access="no", motor_vehicle="permissive")
    assert through(barrier="gate")
    assert not through(barrier="gate", access="private")


def test_a_box_cuts_streets_after_the_first_node_outside(tmp_path: Path) -> None:
    town = cross()
    town.nodes |= {7: (9.99, 50.001), 8: (9.98, 50.001), 9: (9.97, 50.001)}
    town.ways.append(([1, 7, 8, 9], {"highway": "residential", "name": "out"}))
    assert (1, 9) in town.network(tmp_path).roads
    inside = town.network(tmp_path, "--bbox", "9.985,49.9,10.1,50.1")
    assert (1, 8) in inside.roads and (1, 9) not in inside.roads
    assert ((1, 8), (8, 1)) in inside.turns()
    ring = [[9.985, 49.9], [10.1, 49.9], [10.1, 50.1], [9.985, 50.1], [9.985, 49.9]]
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    assert set(town.network(tmp_path, "--polygon", str(area)).roads) == set(inside.roads)


def test_a_box_may_lie_west_of_greenwich(tmp_path: Path) -> None:
    town = cross()
    town.nodes = {node: (lon - 18.62, lat - 8.85) for node, (lon, lat) in town.nodes.items()}
    whole = town.network(tmp_path).network
    inside = town.network(tmp_path, "--bbox", "-8.63,41.14,-8.61,41.16").network
    assert inside.num_roads == whole.num_roads > 0
    with pytest.raises(UserError, match=r"--bbox is '-8\.6,north'; W,S,E,N in degrees is expected"):
        town.network(tmp_path, "--bbox", "-8.6,north")


def test_streets_across_the_antimeridian_are_two_roads(tmp_path: Path) -> None:
    nodes = {1: (179.99, -16.8), 2: (-179.99, -16.81), 3: (179.99, -16.82), 4: (-179.99, -16.79)}
    street = {"highway": "primary"}
    town = OsmMap(nodes, [([1, 2, 3, 1], street), ([1, 4], {**street, "name": "end"})])
    network = town.network(tmp_path).network
    assert network.length_m.max() < 3500
    assert np.abs(network.end_lon - network.start_lon).max() < 1
    east = town.network(tmp_path, "--bbox", "179.9,-17,-179.9,-16").network
    assert east.num_roads == network.num_roads


def test_repeated_nodes_loops_and_parallel_streets(tmp_path: Path) -> None:
    town = cross()
    street = {"highway": "residential"}
    town.nodes |= {6: town.nodes[1], 7: (9.999, 50.0), 8: (9.999, 50.002), 9: (9.99, 50.001)}
    town.ways += [
        ([1, 6, 7, 7, 8, 6], {**street, "name": "loop"}),  # node 6 lies on node 1
        ([1, 9, 3], {**street, "name": "parallel"}),
        ([5], street),
        ([2, 2], street),
    ]
    network = town.network(tmp_path)
    assert (network.network.length_m > 0).all()
    loops = [road for road, (start, end) in enumerate(network.roads) if start == end]
    assert len(loops) == 2
    for loop in loops:
        assert not set(network.network.candidates(loop).tolist()) & set(loops)


def test_what_cannot_be_reached_is_left_out_and_said(tmp_path: Path, messages: list[str]) -> None:
    town = cross()
    town.nodes |= {7: (10.1, 50.0), 8: (10.2, 50.0), 9: (9.9, 50.0)}
    town.ways += [
        ([7, 8], {"highway": "tertiary"}),  # an island
        ([1, 9], {"highway": "service", "oneway": "yes"}),  # a trap
    ]
    network = town.network(tmp_path, "--network", "service")
    assert {7, 8, 9}.isdisjoint({node for ends in network.roads for node in ends})
    assert any("Left out 3 roads" in line for line in messages)
    report = json.loads((network.folder / "roadmap.json").read_text())
    assert report["unreachable_roads_by_class"] == {"tertiary": 2, "service": 1}


def test_attribution_is_in_readme_and_report(tmp_path: Path) -> None:
    folder = cross().network(tmp_path).folder
    assert "OpenStreetMap contributors" in read_attribution(folder)
    assert "OpenStreetMap contributors" in (folder / "README.md").read_text()


def test_a_demo_city_comes_back_as_the_same_network(tiny_city: Path, tmp_path: Path) -> None:
    assert export_osm(tiny_city, tmp_path / "city.osm.pbf") == 0
    main(["--pbf", str(tmp_path / "city.osm.pbf"), "--out", str(tmp_path / "again")])
    before = RoadNetwork.load(tiny_city, with_zones=False)
    after = RoadNetwork.load(tmp_path / "again")
    assert before.content_hash == after.content_hash
    assert (tiny_city / "roadmap.rel").read_bytes() == (
        tmp_path / "again" / "roadmap.rel"
    ).read_bytes()
    for old, new in zip(_columns(tiny_city), _columns(tmp_path / "again"), strict=True):
        for name in ("lanes", "tunnel", "bridge", "roundabout", "oneway"):
            assert old[name] == new[name]
        assert float(old["maxspeed"]) in (0.0, float(new["maxspeed"]))


@pytest.mark.parametrize("name", ["harrisburg", "liechtenstein"])
def test_real_extracts_come_back_as_the_same_network(name: str, tmp_path: Path) -> None:
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    main(["--pbf", str(REAL / f"{name}.osm.pbf"), "--out", str(tmp_path / "first")])
    export_osm(tmp_path / "first", tmp_path / "export.osm.pbf")
    main(["--pbf", str(tmp_path / "export.osm.pbf"), "--out", str(tmp_path / "second")])
    hashes = [RoadNetwork.load(tmp_path / each).content_hash for each in ("first", "second")]
    assert hashes[0] == hashes[1]


def _refused(folder: Path, *options: str) -> str:
    with pytest.raises(UserError) as error:
        main(["--out", str(folder / "out"), *options])
    return str(error.value)


def test_what_is_no_map_is_refused_in_a_line(tmp_path: Path) -> None:
    whole = cross().write(tmp_path / "whole.osm").read_bytes()
    bad = {
        "empty.osm.pbf": b"",
        "text.osm.pbf": b"no map",
        "truncated.osm": whole[: len(whole) // 2],
        "bare.osm": b"<osm version='0.6'></osm>",
        "unknown.txt": whole,
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        assert name in _refused(tmp_path, "--pbf", str(tmp_path / name))
    assert "does not exist" in _refused(tmp_path, "--pbf", str(tmp_path / "missing.pbf"))
    nowhere = cross()
    nowhere.nodes = {99: (0.0, 0.0)}
    assert "nodes" in _refused(tmp_path, "--pbf", str(nowhere.write(tmp_path / "nowhere.osm")))
    lonely = OsmMap({1: (0, 0), 2: (0, 1)}, [([1, 2], {"highway": "primary", "oneway": "yes"})])
    assert "reach each other" in _refused(
        tmp_path, "--pbf", str(lonely.write(tmp_path / "lonely.osm"))
    )


def test_regions_that_are_none_are_refused(tmp_path: Path) -> None:
    source = str(cross().write(tmp_path / "map.osm"))
    for box in ("1,2,3", "a,b,c,d", "0,5,1,4", "0,0,500,1", "nan,0,1,1"):
        assert "--bbox" in _refused(tmp_path, "--pbf", source, f"--bbox={box}")
    assert "region" in _refused(tmp_path, "--pbf", source, "--bbox=-30,0,-20,10")
    area = tmp_path / "area.geojson"
    sea = {"type": "Polygon", "coordinates": [[[-30, 0], [-29, 0], [-29, 1], [-30, 0]]]}
    contents: list[object] = [{}, [], {"type": "Polygon", "coordinates": [[1, "x"]]}, sea]
    for content in contents:
        area.write_text(json.dumps(content))
        assert _refused(tmp_path, "--pbf", source, "--polygon", str(area))


def test_somebody_elses_dataset_is_not_replaced(tiny_city: Path, tmp_path: Path) -> None:
    source = str(cross().write(tmp_path / "map.osm"))
    out = tmp_path / "out"
    main(["--pbf", source, "--out", str(out)])
    main(["--pbf", source, "--out", str(out)])  # one's own is
    (out / "roadmap.geo").write_bytes((tiny_city / "roadmap.geo").read_bytes())
    assert "--force" in _refused(tmp_path, "--pbf", source)
    main(["--pbf", source, "--out", str(out), "--force"])
    (out / "train.parquet").touch()
    assert "trips of train" in _refused(tmp_path, "--pbf", source)


@pytest.mark.parametrize("survived", [0, 1])
def test_a_killed_run_leaves_no_network_of_two_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    small, large = cross().write(tmp_path / "small.osm"), cross()
    large.nodes[6] = (10.0, 50.005)
    large.ways.append(([1, 6], {"highway": "residential"}))
    out = tmp_path / "out"
    main(["--pbf", str(small), "--out", str(out)])
    done: list[Path] = []
    real = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.name.startswith("roadmap.") and target.suffix != ".json":
            done.append(target)
            if len(done) > survived:
                raise KeyboardInterrupt
        return real(path, target)

    source = str(large.write(tmp_path / "large.osm"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            main(["--pbf", source, "--out", str(out)])
    with pytest.raises(UserError, match=r"roadmap\.geo"):
        RoadNetwork.load(out)
    main(["--pbf", source, "--out", str(out)])
    main(["--pbf", source, "--out", str(tmp_path / "fresh")])
    assert RoadNetwork.load(out).content_hash == RoadNetwork.load(tmp_path / "fresh").content_hash
