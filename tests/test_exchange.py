"""Trips for other programs, read back by independent readers, and LibCity's files both ways."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars
import pytest
import shapely

from data.geometry import EARTH_RADIUS_M, haversine
from data.libcity import import_libcity
from data.road_network import RoadNetwork
from data.splits import SPLITS
from metrics.trips import Trips, read_real_trips
from report.exchange import (
    points_frame,
    timed_points,
    write_geoparquet,
    write_kepler,
    write_libcity,
)
from report.geojson import trip_features
from runtime.errors import UserError
from search.trips import GeneratedTrip
from search.writer import HEADER, format_row
from tools.convert_trips import main


@pytest.fixture(scope="module")
def network(tiny_city: Path) -> RoadNetwork:
    return RoadNetwork.load(tiny_city)


@pytest.fixture(scope="module")
def trips(tiny_city: Path, network: RoadNetwork) -> Trips:
    return read_real_trips(tiny_city, "train", network)


def test_geoparquet_holds_the_lines(trips: Trips, network: RoadNetwork, tmp_path: Path) -> None:
    path = tmp_path / "trips.parquet"
    write_geoparquet(path, trips, network, "real")
    frame = polars.read_parquet(path)
    geo = json.loads(polars.read_parquet_metadata(path)["geo"])
    assert geo["primary_column"] == "geometry" and geo["columns"]["geometry"]["encoding"] == "WKB"
    for row, feature in zip(frame.iter_rows(named=True), trip_features(trips, network, "real")):
        line = shapely.from_wkb(row["geometry"])
        assert line.equals(shapely.from_geojson(json.dumps(feature["geometry"])))
        assert row["origin_road"] == feature["properties"]["origin_road"]


def test_points_carry_their_times(trips: Trips, network: RoadNetwork, tmp_path: Path) -> None:
    path = tmp_path / "kepler.json"
    assert write_kepler(path, trips, network) == len(trips)
    features = json.loads(path.read_text())["features"]
    for index, feature in enumerate(features):
        roads, times = trips.trip(index)
        points = np.array(feature["geometry"]["coordinates"])
        assert points.shape[1] == 4 and (np.diff(points[:, 3]) >= 0).all()
        assert (points[0, 3], points[-1, 3]) == (times[0], times[-1])
        assert points[0, :2].tolist() == [network.start_lon[roads[0]], network.start_lat[roads[0]]]
        assert set(times.tolist()) <= set(points[:, 3].tolist())
    frame = points_frame(trips, network)
    lon, _, seconds = timed_points(trips, network, 3)
    of_trip = frame.filter(polars.col("trip") == 3)
    np.testing.assert_array_equal(of_trip["x"].to_numpy(), lon)
    assert of_trip["t"].dt.epoch("s").to_list() == np.floor(seconds).astype(int).tolist()


def test_a_road_is_driven_evenly_by_its_metres(trips: Trips, network: RoadNetwork) -> None:
    roads, _ = trips.trip(0)
    lon, lat, seconds = timed_points(trips, network, 0)
    metres = haversine(lon[:-1], lat[:-1], lon[1:], lat[1:], EARTH_RADIUS_M)
    speed = metres / np.diff(seconds)
    pieces = np.diff(network.vertex_offsets)[roads[:-1]] - 1
    road = np.repeat(np.arange(len(pieces)), pieces)
    assert (pieces > 1).any() and len(speed) == len(road)
    for place in range(len(pieces)):
        np.testing.assert_allclose(speed[road == place], speed[road == place].mean(), rtol=1e-3)


def test_a_trip_of_one_road_is_a_line(trips: Trips, network: RoadNetwork, tmp_path: Path) -> None:
    roads, times = trips.trip(0)
    alone = Trips.from_lengths(roads[:1], times[:1], np.array([1]))
    write_kepler(tmp_path / "kepler.json", alone, network)
    (feature,) = json.loads((tmp_path / "kepler.json").read_text())["features"]
    begin = [network.start_lon[roads[0]], network.start_lat[roads[0]], 0.0, times[0]]
    assert feature["geometry"]["coordinates"] == [begin, begin]


def test_libcity_there_and_back(trips: Trips, network: RoadNetwork, tmp_path: Path) -> None:
    order = np.argsort(trips.start_time, kind="stable")
    write_libcity(tmp_path / "atomic", "city", trips.select(order), network)
    counts = import_libcity(tmp_path / "atomic", tmp_path / "city", (0.5, 0.2, 0.3))
    assert sum(counts.values()) == len(trips)
    again = RoadNetwork.load(tmp_path / "city")
    assert again.content_hash == network.content_hash
    found = [read_real_trips(tmp_path / "city", split, again) for split in counts]
    assert np.concatenate([each.road_ids for each in found]).tolist() == [
        road for i in order for road in trips.trip(int(i))[0].tolist()
    ]
    assert found[0].start_time.max() <= found[2].start_time.min()


def test_libcity_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0 files \*\.geo"):
        import_libcity(tmp_path, tmp_path / "city")
    for kind in ("geo", "rel"):
        (tmp_path / f"a.{kind}").write_text("x\n")
    (tmp_path / "a.dyna").write_text("time,entity_id,location\n2015-11-05T10:00:00Z,1,[3]\n")
    with pytest.raises(UserError, match=r"a\.dyna:2: location"):
        import_libcity(tmp_path, tmp_path / "city")


def test_libcity_s_network_is_read_before_it_is_taken(
    trips: Trips, network: RoadNetwork, tmp_path: Path
) -> None:
    write_libcity(tmp_path, "city", trips, network)
    for kind, what in (("geo", "the row has"), ("rel", "is empty")):
        file = tmp_path / f"city.{kind}"
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2 if kind == "geo" else 0])
        with pytest.raises(UserError, match=rf"city\.{kind}.*{what}"):
            import_libcity(tmp_path, tmp_path / "city")
        assert not (tmp_path / "city").exists()
        file.write_bytes(whole)


def _convert(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["convert_trips", *map(str, arguments)])
    main()


def test_a_split_in_parquet_is_converted_as_one_in_csv(
    trips: Trips, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    polars.read_csv(tiny_city / "train.csv").write_parquet(tmp_path / "train.parquet")
    given = ("--trips", tmp_path / "train.parquet", "--data_dir", tiny_city)
    _convert(monkeypatch, *given, "--to", "geoparquet", "--output", tmp_path / "lines.parquet")
    assert len(polars.read_parquet(tmp_path / "lines.parquet")) == len(trips)


def test_bad_rows_of_a_split_are_left_out_where_asked(
    trips: Trips, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.csv").write_text((tiny_city / "train.csv").read_text() + "not a trip\n")
    given = ("--trips", tmp_path / "train.csv", "--data_dir", tiny_city, "--to", "geoparquet")
    with pytest.raises(UserError, match="on_bad_rows"):
        _convert(monkeypatch, *given, "--output", tmp_path / "lines.parquet")
    skip = ("--on_bad_rows", "skip", "--output", tmp_path / "lines.parquet")
    _convert(monkeypatch, *given, *skip)
    assert len(polars.read_parquet(tmp_path / "lines.parquet")) == len(trips)


def test_the_program_converts_generated_trips_there_and_back(
    trips: Trips,
    network: RoadNetwork,
    tiny_city: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "generated.csv"
    with file.open("wb") as out:
        out.write(HEADER)
        for index in range(len(trips)):
            roads, times = trips.trip(index)
            ends = int(roads[0]), int(roads[-1])
            row = GeneratedTrip(index, *ends, roads.astype(np.int64), times, True, -1.0)
            out.write(format_row(row))
    given = ("--trips", file, "--data_dir", tiny_city)
    _convert(monkeypatch, *given, "--to", "geoparquet", "--output", tmp_path / "trips.parquet")
    assert len(polars.read_parquet(tmp_path / "trips.parquet")) == len(trips)
    _convert(monkeypatch, *given, "--to", "kepler", "--output", tmp_path / "trips.json")
    features = json.loads((tmp_path / "trips.json").read_text())["features"]
    assert [feature["geometry"]["coordinates"][0][3] for feature in features] == (
        trips.start_time.tolist()
    )
    _convert(monkeypatch, *given, "--to", "libcity", "--output", tmp_path / "atomic")
    _convert(monkeypatch, "--libcity", tmp_path / "atomic", "--output", tmp_path / "back")
    again = RoadNetwork.load(tmp_path / "back")
    assert again.content_hash == network.content_hash
    found = [read_real_trips(tmp_path / "back", split, again) for split in SPLITS]
    assert sorted(_keys(*found)) == sorted(_keys(trips))


def _keys(*parts: Trips) -> list[tuple[list[int], list[int]]]:
    """Roads and times of every trip."""
    every = [part.trip(index) for part in parts for index in range(len(part))]
    return [(roads.tolist(), times.tolist()) for roads, times in every]
