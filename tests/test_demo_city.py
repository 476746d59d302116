"""The demo city: its format, its realism, its determinism, and what happens to folders."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from data.demo_city import DemoCitySettings, demo_city_is_current, make_demo_city
from data.demo_city.plan import LEVEL_NAMES
from data.demo_city.settings import CITY_FILES
from data.demo_city.streets import Streets, make_streets
from data.demo_city.trips import TripMaker
from data.geometry import EARTH_RADIUS_M, haversine
from data.road_network import RoadNetwork
from data.trip_csv import TripChunk, read_trips
from runtime.errors import UserError
from tests.programs import REPOSITORY, TIMEOUT_S, call, run

SMALL = DemoCitySettings(num_roads=400, num_trips=600, seed=3)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_city(tmp_path_factory.mktemp("city"), settings=SMALL, progress=False)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough for statistics: 3,000 roads, 12,000 trips."""
    wanted = DemoCitySettings(num_roads=3000, num_trips=12_000, seed=0)
    return make_demo_city(tmp_path_factory.mktemp("town"), settings=wanted, progress=False)


def _trips(folder: Path, split: str) -> TripChunk:
    network = RoadNetwork.load(folder)
    chunks = list(read_trips(folder / f"{split}.csv", network, "error"))
    return TripChunk(
        road_ids=np.concatenate([chunk.road_ids for chunk in chunks]),
        times=np.concatenate([chunk.times for chunk in chunks]),
        lengths=np.concatenate([chunk.lengths for chunk in chunks]),
    )


def _steps(trips: TripChunk) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Road, next road and destination of every step."""
    ends = np.cumsum(trips.lengths)
    is_last = np.zeros(len(trips.road_ids), dtype=bool)
    is_last[ends - 1] = True
    destination = np.repeat(trips.road_ids[ends - 1], trips.lengths)
    here = np.flatnonzero(~is_last)
    return trips.road_ids[here], trips.road_ids[here + 1], destination[here]


def test_files_have_the_columns_of_the_public_format(city: Path) -> None:
    with (city / "roadmap.geo").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == (
        "geo_id,type,coordinates,highway,lanes,tunnel,bridge,roundabout,oneway,length,maxspeed,u,v"
    )
    assert [int(row["geo_id"]) for row in rows] == list(range(len(rows)))
    points = [json.loads(row["coordinates"]) for row in rows]
    assert max(map(len, points)) > 2
    assert all(abs(lon - 116.4) < 0.2 and abs(lat - 39.9) < 0.2 for p in points for lon, lat in p)
    with (city / "roadmap.rel").open(newline="") as file:
        assert next(csv.reader(file)) == ["rel_id", "type", "origin_id", "destination_id"]
    for split in ("train", "val", "test"):
        with (city / f"{split}.csv").open(newline="") as file:
            trips = list(csv.DictReader(file))
        assert list(trips[0]) == ["mm_id", "entity_id", "traj_id", "rid_list", "time_list"]
        assert [int(trip["mm_id"]) for trip in trips] == list(range(len(trips)))
        assert all(trip["time_list"].endswith("Z") for trip in trips)


def test_every_trip_is_valid_and_realistic(city: Path) -> None:
    for split, expected in (("train", 480), ("val", 60), ("test", 60)):
        trips = _trips(city, split)  # raises for roads that do not follow each other
        assert len(trips.lengths) == expected
        assert trips.lengths.min() >= 5
        assert trips.lengths.max() <= SMALL.max_trip_roads
        within = np.ones(len(trips.times), dtype=bool)
        within[np.cumsum(trips.lengths) - 1] = False
        assert (np.diff(trips.times)[within[:-1]] >= 1).all()


def test_the_first_types_of_merged_roads_are_read(town: Path) -> None:
    text = (town / "roadmap.geo").read_text()
    assert "\"['primary', 'unclassified']\"" not in text.splitlines()[0]
    assert "['primary', 'unclassified']" in text
    assert set(RoadNetwork.load(town).type_names) == {*LEVEL_NAMES, "unclassified"}


def _is_strongly_connected(streets: Streets) -> bool:
    size = streets.num_roads
    ones = np.ones(len(streets.reach_targets))
    graph = csr_array((ones, streets.reach_targets, streets.reach_offsets), shape=(size, size))
    return connected_components(graph, directed=True, connection="strong")[0] == 1


@settings(max_examples=12, deadline=None)
@given(num_roads=st.integers(200, 2500), seed=st.integers(0, 10_000))
def test_any_size_gives_a_connected_city_of_that_size(num_roads: int, seed: int) -> None:
    streets = make_streets(num_roads, seed)
    assert abs(streets.num_roads - num_roads) <= 0.02 * num_roads
    assert _is_strongly_connected(streets)
    source = np.repeat(np.arange(streets.num_roads), np.diff(streets.reach_offsets))
    target = streets.reach_targets
    assert (streets.to_node[source] == streets.from_node[target]).all()
    turns_back = streets.from_node[source] == streets.to_node[target]
    degree = np.diff(streets.reach_offsets)
    assert (degree[source[turns_back]] == 1).all(), "U-turns only where nothing else leaves"
    pairs = streets.from_node * 10**6 + streets.to_node
    assert len(np.unique(pairs)) == streets.num_roads


@pytest.mark.parametrize("num_roads", [7000, 20_000])
def test_large_cities_are_dense_and_irregular(num_roads: int) -> None:
    streets = make_streets(num_roads, 1)
    assert abs(streets.num_roads - num_roads) <= 0.02 * num_roads
    assert _is_strongly_connected(streets)
    starts, sizes = streets.vertex_offsets[:-1], np.diff(streets.vertex_offsets)
    lon = np.add.reduceat(streets.vertex_lon, starts) / sizes
    lat = np.add.reduceat(streets.vertex_lat, starts) / sizes
    cells = np.unique(np.floor(np.stack([lon, lat]) / 0.001), axis=1).shape[1]
    assert 3.0 <= streets.num_roads / cells <= 4.5
    degree = np.diff(streets.reach_offsets)
    assert 2.0 <= degree.mean() <= 3.0
    assert (np.bincount(degree, minlength=4)[1:4] > 0.05 * num_roads).all()
    share = np.bincount(streets.level, minlength=6) / num_roads
    assert (share > 0).all()
    assert share[5] > 0.4, "most roads are residential"
    assert 0.03 < streets.is_oneway.mean() < 0.4
    assert streets.length_m.std() > 0.25 * streets.length_m.mean(), "blocks differ"


def test_lengths_are_metres_along_the_vertices(city: Path) -> None:
    network = RoadNetwork.load(city)
    lon, lat = network.vertex_lon, network.vertex_lat
    steps = haversine(lon[:-1], lat[:-1], lon[1:], lat[1:], EARTH_RADIUS_M)
    for road in range(0, network.num_roads, 17):
        low, high = network.vertex_offsets[road], network.vertex_offsets[road + 1]
        assert steps[low : high - 1].sum() == pytest.approx(network.length_m[road], abs=2e-3)


def test_routes_can_be_learned_but_not_from_the_last_road_alone(town: Path) -> None:
    """How hard the city is: the most frequent transition is right in 75 to 86 of 100 steps."""
    network = RoadNetwork.load(town)
    size = network.num_roads

    def table(roads: np.ndarray, following: np.ndarray) -> dict[int, int]:
        pairs, counts = np.unique(np.stack([roads, following]), axis=1, return_counts=True)
        order = np.argsort(counts, kind="stable")
        return dict(zip(pairs[0, order].tolist(), pairs[1, order].tolist()))

    road, following, destination = _steps(_trips(town, "train"))
    test_road, test_following, test_destination = _steps(_trips(town, "test"))
    by_road = table(road, following)
    last_road = np.array([by_road.get(r, -1) for r in test_road.tolist()])
    accuracy = (last_road == test_following).mean()
    assert 0.75 <= accuracy <= 0.86

    east, north = (np.digitize(v, np.quantile(v, [0.2, 0.4, 0.6, 0.8])) for v in _middle(network))
    area = 5 * east + north
    with_area = table(road + size * area[destination].astype(np.int64), following)
    keys = test_road + size * area[test_destination].astype(np.int64)
    guess = [with_area.get(key, last) for key, last in zip(keys.tolist(), last_road.tolist())]
    assert (np.array(guess) == test_following).mean() > accuracy + 0.03, "the destination matters"


def _middle(network: RoadNetwork) -> tuple[np.ndarray, np.ndarray]:
    return network.center_lon, network.center_lat


def test_trips_follow_the_clock(town: Path) -> None:
    trips = _trips(town, "train")
    first = np.cumsum(trips.lengths) - trips.lengths
    starts = trips.times[first]
    weekend = (starts // 86_400 + 3) % 7 >= 5
    hour = starts % 86_400 // 3600
    assert 0.1 < weekend.mean() < 0.3
    weekday = np.bincount(hour[~weekend], minlength=24)
    assert weekday[8] > 1.4 * weekday[11]
    assert weekday[18] > 1.4 * weekday[14]
    assert weekday[3] < 0.2 * weekday[8]
    seconds = trips.times[first + trips.lengths - 1] - starts
    metres = np.add.reduceat(RoadNetwork.load(town).length_m[trips.road_ids], first)
    speed = metres / seconds

    def mean_speed(low: int, high: int) -> float:
        chosen = ~weekend & (hour >= low) & (hour < high)
        return float(speed[chosen].mean())

    assert mean_speed(17, 20) < 0.9 * mean_speed(0, 6), "rush hours are slow"
    assert 18 < trips.lengths.mean() < 35


def test_same_settings_give_the_same_bytes_on_any_number_of_threads(
    city: Path, tmp_path: Path
) -> None:
    again = make_demo_city(tmp_path / "a", settings=SMALL, threads=3, progress=False)
    other = make_demo_city(tmp_path / "b", settings=replace(SMALL, seed=4), progress=False)
    for name in CITY_FILES:
        assert (again / name).read_bytes() == (city / name).read_bytes()
        assert (other / name).read_bytes() != (city / name).read_bytes()


def test_a_trip_does_not_depend_on_the_chunk_it_is_made_in() -> None:
    wanted = DemoCitySettings(num_roads=300, num_trips=500, seed=5)
    maker = TripMaker(make_streets(300, 5), wanted)
    whole = list(maker.chunks(threads=1))
    pieces = list(maker.chunks(threads=2, chunk_trips=37))
    assert len(whole) == 1
    assert len(pieces) == 14
    for name in ("driver", "clock_s", "roads", "elapsed_s"):
        joined = np.concatenate([getattr(piece, name) for piece in pieces])
        np.testing.assert_array_equal(joined, getattr(whole[0], name))


def test_split_by_time_keeps_the_latest_trips_for_test(tmp_path: Path) -> None:
    wanted = replace(SMALL, split="time", val=50, test=70)
    folder = make_demo_city(tmp_path, settings=wanted, progress=False)
    spans = {}
    for split, expected in (("train", 480), ("val", 50), ("test", 70)):
        trips = _trips(folder, split)
        starts = trips.times[np.cumsum(trips.lengths) - trips.lengths]
        assert len(starts) == expected
        spans[split] = (starts.min(), starts.max())
    assert spans["train"][1] <= spans["val"][0] <= spans["val"][1] <= spans["test"][0]


def test_an_existing_city_is_kept_and_another_or_damaged_one_replaced(tmp_path: Path) -> None:
    wanted = replace(SMALL, num_trips=100)
    folder = make_demo_city(tmp_path, settings=wanted, progress=False)
    assert demo_city_is_current(folder, wanted)
    untouched = (folder / "train.csv").stat().st_mtime_ns
    make_demo_city(folder, settings=wanted, progress=False)
    assert (folder / "train.csv").stat().st_mtime_ns == untouched

    whole = (folder / "train.csv").read_bytes()
    (folder / "train.csv").write_bytes(whole[:-10])  # damaged, or somebody's own
    assert not demo_city_is_current(folder, wanted)
    with pytest.raises(UserError, match=r"holds a train\.csv that is not a demo city's"):
        make_demo_city(folder, settings=wanted, progress=False)
    assert (folder / "train.csv").read_bytes() == whole[:-10]
    (folder / "train.csv").unlink()
    make_demo_city(folder, settings=wanted, progress=False)
    assert (folder / "train.csv").read_bytes() == whole

    (folder / "road_network_partition").write_text("0\n")
    another = replace(wanted, seed=9)
    assert not demo_city_is_current(folder, another)
    make_demo_city(folder, settings=another, progress=False)
    assert demo_city_is_current(folder, another)
    assert not (folder / "road_network_partition").exists(), "zones of the old city are gone"


def test_an_interrupted_generation_is_redone(tmp_path: Path) -> None:
    wanted = replace(SMALL, num_trips=100)
    folder = make_demo_city(tmp_path, settings=wanted, progress=False)
    (folder / "demo_city.json").unlink()
    (folder / ".demo_city_unfinished").touch()
    (folder / ".demo_city_unfinished_files").mkdir()
    (folder / "val.csv").rename(folder / ".demo_city_unfinished_files" / "val.csv")
    make_demo_city(folder, settings=wanted, progress=False)
    assert not (folder / ".demo_city_unfinished_files").exists()
    assert demo_city_is_current(folder, wanted)


def test_somebody_elses_dataset_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("mine")
    with pytest.raises(UserError, match=r"is not a demo city's, .* choose another"):
        make_demo_city(tmp_path, settings=SMALL, progress=False)
    assert (tmp_path / "train.csv").read_text() == "mine"


def make_and_report(folder: Path) -> None:
    make_demo_city(folder, settings=replace(SMALL, num_trips=80), progress=False)


def test_two_processes_may_make_the_same_city(tmp_path: Path) -> None:
    workers = [call(make_and_report, tmp_path) for _ in range(2)]
    assert [worker.wait(TIMEOUT_S) for worker in workers] == [0, 0]
    assert demo_city_is_current(tmp_path, replace(SMALL, num_trips=80))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, num_roads=100), "roads is 100; allowed: 200 to 50000"),
        (lambda s: replace(s, num_trips=1), "trips is 1; allowed: 10"),
        (lambda s: replace(s, val=0.6, test=0.5), "leave no trips to train on"),
        (lambda s: replace(s, test=float("nan")), "test is nan"),
        (lambda s: replace(s, split="hourly"), "'random' or 'time'"),
        (lambda s: replace(s, seed=-1), "seed is -1"),
    ],
)
def test_settings_out_of_range_are_named(
    tmp_path: Path, change: Callable[[DemoCitySettings], DemoCitySettings], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_demo_city(tmp_path, settings=change(SMALL), progress=False)
    assert not list(tmp_path.iterdir())


def test_the_command_makes_a_city_and_reports_mistakes_in_one_line(tmp_path: Path) -> None:
    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run([sys.executable, "-m", "data.demo_city", *arguments], REPOSITORY)

    made = make("--roads", "250", "--trips", "30", "--val", "5", "--out", str(tmp_path / "c"))
    assert made.returncode == 0, made.stderr
    assert demo_city_is_current(
        tmp_path / "c", DemoCitySettings(num_roads=250, num_trips=30, val=5)
    )
    wrong = make("--roads", "7", "--out", str(tmp_path / "d"))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
    assert len(wrong.stderr.splitlines()) == 1
