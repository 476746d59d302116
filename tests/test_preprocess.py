"""Zones and zone transitions: the published numbers, balance, determinism, several processes."""

from __future__ import annotations

import csv
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.demo_city import DemoCitySettings, make_demo_city
from data.preprocess import ensure_zones
from data.preprocess.get_zone_trans_mat import write_zone_trans_mat
from data.preprocess.partition_road_network import partition_roads, write_partition
from data.road_network import RoadNetwork
from runtime.errors import UserError
from tests.programs import REPOSITORY, TIMEOUT_S, call, run, run_for_real

PARTITION, COUNTS = "road_network_partition", "zone_trans_mat.npy"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = DemoCitySettings(num_roads=900, num_trips=400, seed=2)
    return make_demo_city(tmp_path_factory.mktemp("demo"), settings=wanted, progress=False)


@pytest.fixture
def parity_copy(parity_city: Path, tmp_path: Path) -> Path:
    for file in filter(Path.is_file, parity_city.iterdir()):
        shutil.copyfile(file, tmp_path / file.name)
    return tmp_path


def test_zone_transitions_are_the_published_file(parity_copy: Path, parity_city: Path) -> None:
    (parity_copy / COUNTS).unlink()
    assert write_zone_trans_mat(parity_copy) == 179
    assert (parity_copy / COUNTS).read_bytes() == (parity_city / COUNTS).read_bytes()


def test_zone_transitions_count_changes_step_by_step(demo: Path) -> None:
    ensure_zones(demo, 40)
    zones = [int(line) for line in (demo / PARTITION).read_text().split()]
    expected = np.zeros((max(zones) + 1, max(zones) + 1), dtype=np.int64)
    with (demo / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            passed = [zones[int(road)] for road in row["rid_list"].split(",")]
            for i in range(len(passed) - 1):
                if passed[i] != passed[i + 1]:
                    expected[passed[i], passed[i + 1]] += 1
    counts = np.load(demo / COUNTS, allow_pickle=False)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, expected)


def test_zones_are_balanced_connected_inside_and_repeatable(demo: Path) -> None:
    network = RoadNetwork.load(demo)
    zones = partition_roads(network, 40, seed=1)
    sizes = np.bincount(zones)
    assert len(sizes) == 40
    assert sizes.min() >= 1
    assert sizes.max() <= np.ceil(1.03 * np.ceil(network.num_roads / 40))
    origin = np.repeat(np.arange(network.num_roads), network.out_degree)
    inside = (zones[origin] == zones[network.reach_targets]).mean()
    assert inside > 0.6, "zones are neighbourhoods, not random sets"
    np.testing.assert_array_equal(zones, partition_roads(network, 40, seed=1))
    assert (zones != partition_roads(network, 40, seed=2)).any()


@pytest.mark.parametrize(("wanted", "made"), [(300, 60), (60, 60), (7, 7), (1, 1)])
def test_small_cities_have_fewer_zones(demo: Path, wanted: int, made: int) -> None:
    zones = partition_roads(RoadNetwork.load(demo), wanted)
    # 900 roads at 15 or more a zone
    assert abs(len(np.unique(zones)) - made) <= 1
    assert zones.max() + 1 == len(np.unique(zones))


def _write_islands(folder: Path, num_roads: int, pairs: list[tuple[int, int]]) -> None:
    geo = ["geo_id,type,coordinates,highway,length"]
    for road in range(num_roads):
        x = 116.0 + 0.001 * road
        geo.append(f'{road},LineString,"[[{x}, 39.9], [{x + 0.001}, 39.9]]",residential,80.0')
    rel = ["rel_id,type,origin_id,destination_id"]
    rel += [f"{number},geo,{a},{b}" for number, (a, b) in enumerate(pairs)]
    (folder / "roadmap.geo").write_text("\n".join(geo) + "\n")
    (folder / "roadmap.rel").write_text("\n".join(rel) + "\n")


@pytest.mark.parametrize("joined", [True, False])
def test_a_disconnected_network_gives_a_warning_and_zones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, joined: bool
) -> None:
    pairs = [(road, road + 1) for road in range(89) if road != 44] if joined else []
    _write_islands(tmp_path, 90, pairs)
    logger = logging.getLogger("hoser_distil.preprocess")
    logger.addHandler(caplog.handler)
    try:
        count = write_partition(tmp_path, 6)
    finally:
        logger.removeHandler(caplog.handler)
    parts = 2 if joined else 90
    assert f"The road network is disconnected ({parts} parts)" in caplog.text
    written = [int(line) for line in (tmp_path / PARTITION).read_text().split()]
    assert len(written) == 90
    assert sorted(set(written)) == list(range(count))


def test_only_what_is_missing_is_made(demo: Path) -> None:
    ensure_zones(demo, 30, force=True)
    partition, counts = (demo / PARTITION).read_bytes(), (demo / COUNTS).read_bytes()
    ensure_zones(demo, 50)
    assert (demo / PARTITION).read_bytes() == partition, "an existing partition is kept"
    (demo / COUNTS).unlink()
    ensure_zones(demo, 50)
    assert (demo / PARTITION).read_bytes() == partition
    assert (demo / COUNTS).read_bytes() == counts
    ensure_zones(demo, 50, force=True)
    zones = RoadNetwork.load(demo).require_zones()
    assert zones.num_zones == 50


def test_a_new_partition_takes_old_counts_away(parity_copy: Path) -> None:
    (parity_copy / COUNTS).write_bytes(b"damaged")
    write_partition(parity_copy, 10)
    assert not (parity_copy / COUNTS).exists()


def test_bad_trips_stop_or_are_skipped(demo: Path, tmp_path: Path) -> None:
    for name in ("roadmap.geo", "roadmap.rel", "train.csv"):
        shutil.copyfile(demo / name, tmp_path / name)
    with (tmp_path / "train.csv").open("a") as file:
        file.write('9999,0,0,"1,999999","2015-11-05T23:29:48Z,2015-11-05T23:29:58Z"\n')
    with pytest.raises(UserError, match=r"train\.csv:\d+: .*999999"):
        ensure_zones(tmp_path, 30)
    assert (tmp_path / PARTITION).exists()
    assert not (tmp_path / COUNTS).exists()
    ensure_zones(tmp_path, 30, on_bad_rows="skip")
    assert (tmp_path / COUNTS).exists()


@pytest.mark.parametrize(("zones", "seed"), [(0, 0), (-5, 0), (10, -1), (10, 2**40)])
def test_bad_arguments_leave_the_files_alone(parity_copy: Path, zones: int, seed: int) -> None:
    before = (parity_copy / PARTITION).read_bytes()
    with pytest.raises(UserError):
        write_partition(parity_copy, zones, seed)
    assert (parity_copy / PARTITION).read_bytes() == before
    assert (parity_copy / COUNTS).exists()


def test_several_processes_make_the_zones_once(demo: Path, tmp_path: Path) -> None:
    for name in ("roadmap.geo", "roadmap.rel", "train.csv"):
        shutil.copyfile(demo / name, tmp_path / name)
    workers = [call(ensure_zones, tmp_path, 30) for _ in range(3)]
    assert [worker.wait(TIMEOUT_S) for worker in workers] == [0, 0, 0]
    assert RoadNetwork.load(tmp_path).require_zones().num_zones == 30


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", module, *arguments], REPOSITORY)


def test_the_commands(parity_copy: Path, parity_city: Path) -> None:
    made = _run("data.preprocess.get_zone_trans_mat", "--data_dir", str(parity_copy))
    assert made.returncode == 0, made.stderr
    assert (parity_copy / COUNTS).read_bytes() == (parity_city / COUNTS).read_bytes()
    step = "data.preprocess.partition_road_network"
    command = [sys.executable, "-m", step, "--data_dir", str(parity_copy), "--zones", "8"]
    # For real: Python itself warns of a step that its package imports.
    made = run_for_real([*command, "--seed", "3"], REPOSITORY)
    assert made.returncode == 0, made.stderr
    assert "Warning" not in made.stderr
    assert made.stdout == ""
    made = _run("data.preprocess", "--data_dir", str(parity_copy))
    assert made.returncode == 0, made.stderr
    assert RoadNetwork.load(parity_copy).require_zones().num_zones == 8
    wrong = _run("data.preprocess", "--data_dir", str(parity_copy / "nowhere"))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
    assert len(wrong.stderr.splitlines()) == 1
