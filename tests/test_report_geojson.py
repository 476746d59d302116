"""GeoJSON against RFC 7946, and the bundle of a run's artifacts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data.road_network import RoadNetwork
from metrics.generated import read_generated
from report.geojson import generated_features, road_features, write_feature_collection
from runtime.errors import UserError
from runtime.files import sha256_of_file
from tools.collect_distill_artifacts import collect


@pytest.fixture
def city(parity_city: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(parity_city, tmp_path / "city"))


@pytest.fixture
def run_dir(parity_dir: Path, city: Path, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "eval" / "now").mkdir(parents=True)
    (run / "wandb" / "offline-run-1" / "files").mkdir(parents=True)
    (run / "best.pth").write_bytes(b"weights")
    (run / "checkpoint_latest.pth").write_bytes(b"state")
    (run / "config.yaml").write_text(f"data_dir: {city}\n")
    (run / "metrics.json").write_text('{"epochs": []}')
    (run / "eval" / "now" / "results.json").write_text("{}")
    (run / "wandb" / "offline-run-1" / "run-1.wandb").write_bytes(b"log")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.yaml").write_text("secret")
    (run / "wandb" / "latest-run").symlink_to(secret)
    (run / "leak.yaml").symlink_to(secret / "key.yaml")
    shutil.copy(parity_dir / "generated.csv", run / "generated.csv")
    return run


def check_position(position: Any) -> None:
    assert isinstance(position, list) and 2 <= len(position) <= 3
    assert all(isinstance(number, int | float) for number in position)
    assert -180 <= position[0] <= 180 and -90 <= position[1] <= 90


def check_line(line: Any) -> None:
    assert isinstance(line, list) and len(line) >= 2
    for position in line:
        check_position(position)


def check_feature_collection(path: Path) -> list[dict[str, Any]]:
    """The rules of RFC 7946 for the kinds of objects we write."""
    document = json.loads(path.read_bytes().decode("utf-8"), parse_constant=pytest.fail)
    assert document["type"] == "FeatureCollection" and "crs" not in document
    assert not {"coordinates", "geometry", "properties"} & set(document)
    for feature in document["features"]:
        assert feature["type"] == "Feature"
        assert {"geometry", "properties"} <= set(feature)
        assert isinstance(feature.get("id", 0), str | int | float)
        assert feature["properties"] is None or isinstance(feature["properties"], dict)
        geometry = feature["geometry"]
        assert geometry["type"] in ("LineString", "MultiLineString")
        lines = geometry["coordinates"]
        for line in lines if geometry["type"] == "MultiLineString" else [lines]:
            check_line(line)
    return list(document["features"])


def test_geojson_keeps_to_the_rfc(parity_dir: Path, city: Path, tmp_path: Path) -> None:
    network = RoadNetwork.load(city)
    generated = read_generated(parity_dir / "generated.csv", network)
    paths = [tmp_path / "roads.geojson", tmp_path / "trips.geojson", tmp_path / "none.geojson"]
    assert write_feature_collection(paths[0], road_features(network)) == network.num_roads
    assert write_feature_collection(paths[1], generated_features(generated, network)) == 20
    assert write_feature_collection(paths[2], []) == 0
    roads, trips, nothing = (check_feature_collection(path) for path in paths)
    assert nothing == []
    assert roads[0]["geometry"]["coordinates"][0] == [116.3600086, 39.8802565]
    first = trips[0]
    assert first["geometry"]["type"] == "LineString"
    assert first["properties"]["start"] == "2015-11-05T23:29:48Z"
    assert first["properties"]["origin_road"] == 52
    start = int(network.vertex_offsets[52])
    expected = [network.vertex_lon[start], network.vertex_lat[start]]
    assert first["geometry"]["coordinates"][0] == pytest.approx(expected, abs=1e-7)


def test_unjoined_trips_become_several_lines(city: Path, tmp_path: Path) -> None:
    network = RoadNetwork.load(city)
    csv = tmp_path / "jump.csv"
    csv.write_text(
        "gene_trace_road_id,gene_trace_datetime\n"
        "\"[52, 3]\",\"['2015-11-05T10:00:00Z', '2015-11-05T10:01:00Z']\"\n"
    )
    write_feature_collection(
        tmp_path / "jump.geojson", generated_features(read_generated(csv, network), network)
    )
    (feature,) = check_feature_collection(tmp_path / "jump.geojson")
    assert feature["geometry"]["type"] == "MultiLineString"


def test_bundle_holds_the_run_and_nothing_from_elsewhere(run_dir: Path, tmp_path: Path) -> None:
    bundle = collect("first", run_dir, None, tmp_path / "backup")
    names = {file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if file.is_file()}
    assert names == {
        "manifest.json",
        "model/best.pth",
        "config/config.yaml",
        "training/metrics.json",
        "evaluation/eval/now/results.json",
        "wandb/wandb/offline-run-1/run-1.wandb",
        "generated/generated.csv",
        "geojson/roads.geojson",
        "geojson/generated.geojson",
        "geojson/real_test.geojson",
    }
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == sha256_of_file(bundle / name)
    for name in ("roads", "generated", "real_test"):
        assert check_feature_collection(bundle / "geojson" / f"{name}.geojson")


def test_bundle_leaves_out_the_trips_that_its_run_left_out(
    run_dir: Path, city: Path, tmp_path: Path
) -> None:
    whole = collect("whole", run_dir, None, tmp_path / "backup")
    with (city / "test.csv").open("a") as file:
        file.write("not a trip\n")
    with pytest.raises(UserError, match="on_bad_rows"):
        collect("refused", run_dir, None, tmp_path / "backup")
    with (run_dir / "config.yaml").open("a") as file:
        file.write("data: {on_bad_rows: skip}\n")
    bundle = collect("skipped", run_dir, None, tmp_path / "backup")
    real = Path("geojson") / "real_test.geojson"
    assert (bundle / real).read_text() == (whole / real).read_text()


def test_bundle_of_a_studys_run_is_as_any_other(run_dir: Path, tmp_path: Path) -> None:
    whole = collect("one", run_dir, None, tmp_path / "backup")
    (run_dir / "model").mkdir()
    (run_dir / "log").mkdir()
    for name in ("best.pth", "checkpoint_latest.pth", "config.yaml"):
        (run_dir / name).rename(run_dir / "model" / name)
    (run_dir / "metrics.json").rename(run_dir / "log" / "metrics.json")
    sorted_run = collect("two", run_dir, None, tmp_path / "backup")
    names = [
        sorted(json.loads((bundle / "manifest.json").read_text())["files"])
        for bundle in (whole, sorted_run)
    ]
    assert names[0] == names[1]


def test_bundle_says_that_its_student_is_damaged(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collect("damaged", run_dir, None, tmp_path / "backup")
    assert "best.pth" in caplog.text and "of no use" in caplog.text


def test_bundle_takes_no_device_for_trips(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no file"):
        collect("device", run_dir, "/dev/null", tmp_path / "backup")


def test_bundle_is_replaced_only_when_forced(run_dir: Path, tmp_path: Path) -> None:
    bundle = collect("again", run_dir, None, tmp_path / "backup")
    (bundle / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="--force"):
        collect("again", run_dir, None, tmp_path / "backup")
    assert (bundle / "mine.txt").exists()
    collect("again", run_dir, None, tmp_path / "backup", force=True, archive=True)
    assert not (bundle / "mine.txt").exists()
    left = sorted(file.name for file in (tmp_path / "backup").iterdir())
    assert left == ["again", "again.tar.gz"]


@pytest.mark.parametrize("name", ["../out", "a/b", "..", ".hidden", "", "a\0b", "x" * 300])
def test_bundle_cannot_leave_its_root(run_dir: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--run_name"):
        collect(name, run_dir, None, tmp_path / "backup")
    assert not (tmp_path / "out").exists()


def test_bundle_refuses_links_and_its_own_run(run_dir: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    (backup / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="link"):
        collect("link", run_dir, None, backup, force=True)
    with pytest.raises(UserError, match="in each other"):
        collect("inside", run_dir, None, run_dir)
    (run_dir / "best.pth").unlink()
    with pytest.raises(UserError, match="no model"):
        collect("empty", run_dir, None, backup)
    assert [file.name for file in backup.iterdir()] == ["link"]
