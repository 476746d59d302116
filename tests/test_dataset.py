"""Trips: equal to the published batch, cached safely, and clear about bad rows."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.batch import Batch
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.errors import UserError
from tests.programs import TIMEOUT_S, call

HEADER = "mm_id,entity_id,traj_id,rid_list,time_list\n"


@pytest.fixture
def city(parity_city: Path, tmp_path: Path) -> Path:
    """A writable copy of the parity city."""
    folder = tmp_path / "city"
    shutil.copytree(parity_city, folder, copy_function=shutil.copyfile)
    return folder


@pytest.fixture(scope="module")
def network(parity_city: Path) -> RoadNetwork:
    return RoadNetwork.load(parity_city)


def row(roads: str, times: list[str]) -> str:
    return f'0,0,0,"{roads}","{",".join(times)}"\n'


def times(count: int, start: int = 0) -> list[str]:
    return [f"2015-11-05T10:{start + i:02d}:00Z" for i in range(count)]


def write_train(city: Path, *rows: str) -> None:
    (city / "train.csv").write_text(HEADER + "".join(rows))


def joined_roads(network: RoadNetwork, count: int, start: int = 0) -> list[int]:
    roads = [start]
    while len(roads) < count:
        roads.append(int(network.candidates(roads[-1])[-1]))
    return roads


def test_batch_equals_the_published(city: Path, network: RoadNetwork, parity_dir: Path) -> None:
    batch = TripDataset.load(city, "train", network).batch(range(8))
    expected = np.load(parity_dir / "hoser_batch.npz")
    for name in expected.files:
        value = getattr(batch, name)
        value = value.numpy() if isinstance(value, torch.Tensor) else np.array(value)
        assert value.dtype == expected[name].dtype, name
        np.testing.assert_allclose(value, expected[name], atol=1e-5, rtol=0, err_msg=name)


def test_geographic_angles_differ_only_in_the_angles(city: Path, parity_dir: Path) -> None:
    network = RoadNetwork.load(city, "geographic")
    batch = TripDataset.load(city, "train", network).batch(range(8))
    expected = np.load(parity_dir / "hoser_batch.npz")
    assert np.abs(batch.metric_angle.numpy() - expected["metric_angle"]).max() > 0.1
    np.testing.assert_allclose(batch.metric_dis.numpy(), expected["metric_dis"], atol=1e-5)


def test_validation_uses_the_training_statistics(city: Path, network: RoadNetwork) -> None:
    train = TripDataset.load(city, "train", network)
    val = TripDataset.load(city, "val", network)
    assert (val.time_mean, val.time_std) == (train.time_mean, train.time_std)


@pytest.mark.parametrize("roads", ["{}", "[{}]", " [ {} ] "])
def test_road_lists_with_and_without_brackets(city: Path, network: RoadNetwork, roads: str) -> None:
    trip = joined_roads(network, 3)
    write_train(city, row(roads.format(" , ".join(map(str, trip))), times(3)))
    found, seconds = TripDataset.load(city, "train", network).trip(0)
    assert found.tolist() == trip
    assert np.diff(seconds).tolist() == [60, 60]


BAD_ROWS = [
    ("1,x", times(2), "rid_list is no list of road ids (at 'x')."),
    ("1,,2", times(3), "rid_list is no list of road ids (at ',2')."),
    ("1,2,", times(3), "rid_list is no list of road ids (at the end of the field)."),
    ("__import__('os')", times(1), "rid_list is no list of road ids (at \"__import__('os')\")."),
    ("1,99999", times(2), "road 99999 is unknown; the network has 0 to 250."),
    ("0,-3", times(2), "rid_list is no list of road ids (at '-3')."),
    ("0", times(1), "the trip has 1 roads; it needs at least two."),
    ("", [], "the trip has 0 roads; it needs at least two."),
    ("0,3", times(3), "there are 2 roads but 3 times."),
    ("0,3", ["2015-11-05T10:01:00Z", "2015-11-05T10:00:00Z"], "time 2 is before time 1."),
    ("0,3", ["2015-11-05T10:01:00Z", "soon"], "time_list is no list of times"),
    ("0,3", ["2015-02-29T10:01:00Z"] * 2, "time_list is no list of times"),
    ("0,3", ["2015-11-05T24:01:00Z"] * 2, "time_list is no list of times"),
    ("0,0", times(2), "road 0 cannot be driven onto from road 0 (no row in roadmap.rel)."),
]


@pytest.mark.parametrize(("roads", "stamps", "reason"), BAD_ROWS, ids=[b[2] for b in BAD_ROWS])
def test_bad_rows(
    city: Path, network: RoadNetwork, roads: str, stamps: list[str], reason: str
) -> None:
    good = row(",".join(map(str, joined_roads(network, 4))), times(4))
    write_train(city, good, row(roads, stamps), good)
    with pytest.raises(UserError) as error:
        TripDataset.load(city, "train", network)
    assert str(error.value).startswith(f"{city / 'train.csv'}:3: ")
    assert reason in str(error.value)
    dataset = TripDataset.load(city, "train", network, on_bad_rows="skip")
    assert len(dataset) == 2
    with pytest.raises(UserError):  # the lenient cache does not serve the strict reader
        TripDataset.load(city, "train", network)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=200), as_field=st.booleans())
def test_no_text_crashes(
    tmp_path_factory: pytest.TempPathFactory, network: RoadNetwork, text: str, as_field: bool
) -> None:
    folder = tmp_path_factory.mktemp("city")
    content = f'0,0,0,"{text}","{text}"\n' if as_field else text
    (folder / "train.csv").write_text(HEADER + content, encoding="utf-8", errors="replace")
    for policy in ("error", "skip"):
        try:
            TripDataset.load(folder, "train", network, on_bad_rows=policy)  # type: ignore[arg-type]
        except UserError as error:
            assert str(folder) in str(error)


def test_nothing_is_evaluated(city: Path, network: RoadNetwork, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    write_train(city, row(f"__import__('os').system('touch {marker}')", times(1)))
    with pytest.raises(UserError):
        TripDataset.load(city, "train", network)
    assert not marker.exists()


def _cache_folder(city: Path) -> Path:
    return next(path for path in (city / ".cache").iterdir() if path.name.startswith("trips-train"))


@pytest.mark.parametrize("name", ["road_ids.bin", "seconds.bin", "lengths.bin", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_damaged_caches_are_rebuilt(
    city: Path, network: RoadNetwork, name: str, damage: str
) -> None:
    expected = TripDataset.load(city, "train", network)
    path = _cache_folder(city) / name
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 0x40
        path.write_bytes(raw)
    elif damage == "truncate":
        path.write_bytes(raw[:-3])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    found = TripDataset.load(city, "train", network)
    assert found.content_hash == expected.content_hash
    assert found.time_mean == expected.time_mean
    np.testing.assert_array_equal(found.road_ids, expected.road_ids)
    np.testing.assert_array_equal(found.seconds, expected.seconds)


def test_changed_trips_are_read_anew(city: Path, network: RoadNetwork) -> None:
    before = TripDataset.load(city, "train", network)
    write_train(city, row(",".join(map(str, joined_roads(network, 5))), times(5)))
    after = TripDataset.load(city, "train", network)
    assert len(after) == 1
    assert after.content_hash != before.content_hash


def tell_content_hash(folder: Path) -> None:
    print(TripDataset.load(folder, "train", RoadNetwork.load(folder)).content_hash)


def test_a_whole_cache_serves_where_nothing_can_be_written(
    city: Path, network: RoadNetwork, tmp_path: Path
) -> None:
    made = TripDataset.load(city, "train", network)
    moved = shutil.copytree(city, tmp_path / "moved")  # its remembered hash is of another place
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        found = TripDataset.load(moved, "train", network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found.content_hash == made.content_hash and len(found) == len(made)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another place with data"):
        TripDataset.load(city, "train", network, cache_dir=tmp_path / "file" / "cache")


def test_two_processes_may_build_the_cache_at_once(city: Path) -> None:
    loading = [call(tell_content_hash, city) for _ in range(2)]
    (first, errors), (second, _) = [program.communicate(TIMEOUT_S) for program in loading]
    assert first == second and first.strip(), errors
    manifest = json.loads((_cache_folder(city) / "manifest.json").read_text())
    assert manifest["sizes"]["lengths"] == 80


def test_large_splits_are_streamed(
    city: Path, network: RoadNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = TripDataset.load(city, "train", network)
    streamed = TripDataset.load(city, "train", network, ram_fraction=1e-9)
    assert held.in_memory and not streamed.in_memory
    for name, value in vars(held.batch([3, 1])).items():
        other = getattr(streamed.batch([3, 1]), name)
        same = torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
        assert same, name


def assert_same_positions(whole: Batch, part: Batch, start: int) -> None:
    """The positions of a one-trip batch equal those of the whole trip from `start` on."""
    length = int(part.trace_len[0])
    here = slice(start, start + length)
    for name in ("trace_road_id", "temporal_info", "candidate_len", "timestamp_label"):
        assert torch.equal(getattr(part, name)[0], getattr(whole, name)[0, here]), name
    width = part.candidate_road_id.shape[-1]
    for name in ("candidate_road_id", "metric_dis", "metric_angle"):
        assert torch.equal(getattr(part, name)[0], getattr(whole, name)[0, here, :width]), name
    assert torch.equal(part.road_label[0], whole.road_label[0, here])
    assert torch.equal(part.trace_distance_mat[0], whole.trace_distance_mat[0, here, here])
    assert torch.equal(part.destination_road_id, whole.destination_road_id)


def test_evaluation_covers_every_position_once(city: Path, network: RoadNetwork) -> None:
    dataset = TripDataset.load(city, "train", network, max_len=3)
    whole = TripDataset.load(city, "train", network)
    spec = dataset.evaluation_rows()
    assert int(spec.trace_len.sum()) == int(dataset.trace_lengths.sum())
    assert int(spec.trace_len.max()) == 3
    for index in range(12):
        one = np.array([index])
        part = dataset.features(dataset.rows(spec[one]), "cpu")
        trip = int(spec.trip_id[index])
        assert_same_positions(whole.batch([trip]), part, int(spec.crop_start[index]))


def test_top_k_keeps_the_nearest_and_remaps_labels(city: Path, network: RoadNetwork) -> None:
    full = TripDataset.load(city, "train", network).batch(range(20))
    kept = TripDataset.load(city, "train", network, candidate_top_k=2).batch(range(20))
    assert kept.candidate_position is not None
    lost = 0
    for b in range(20):
        for t in range(int(full.trace_len[b])):
            count = int(full.candidate_len[b, t])
            roads = full.candidate_road_id[b, t, :count].tolist()
            distance = full.metric_dis[b, t, :count].tolist()
            nearest = sorted(range(count), key=lambda c: (distance[c], c))[:2]
            expected = [roads[c] for c in sorted(nearest)]
            size = int(kept.candidate_len[b, t])
            assert kept.candidate_road_id[b, t, :size].tolist() == expected
            assert kept.candidate_position[b, t, :size].tolist() == sorted(nearest)
            wanted = roads[int(full.road_label[b, t])]
            label = int(kept.road_label[b, t])
            assert label == (expected.index(wanted) if wanted in expected else -100)
            lost += label == -100
    assert lost > 0


def test_top_k_above_every_degree_changes_nothing(city: Path, network: RoadNetwork) -> None:
    full = TripDataset.load(city, "train", network).batch(range(8))
    kept = TripDataset.load(city, "train", network, candidate_top_k=64).batch(range(8))
    assert torch.equal(full.candidate_road_id, kept.candidate_road_id)
    assert kept.candidate_position is None


def test_weekends_are_negative_for_the_whole_trip(city: Path, network: RoadNetwork) -> None:
    roads = ",".join(map(str, joined_roads(network, 3)))
    friday = ["2015-11-06T23:59:00Z", "2015-11-07T00:01:00Z", "2015-11-07T00:02:00Z"]
    sunday = ["2015-11-08T23:59:00Z", "2015-11-09T00:01:00Z", "2015-11-09T00:02:00Z"]
    write_train(city, row(roads, friday), row(roads, sunday))
    info = TripDataset.load(city, "train", network).batch([0, 1]).temporal_info
    minutes = torch.tensor([1439.0, 1.0]) / 1440
    torch.testing.assert_close(info[0], minutes)
    torch.testing.assert_close(info[1], -minutes)


def test_mistaken_calls(city: Path, network: RoadNetwork) -> None:
    dataset = TripDataset.load(city, "train", network)
    with pytest.raises(UserError, match="Trip 80 does not exist; train has the trips 0 to 79"):
        dataset.batch([80])
    with pytest.raises(UserError, match="at least one trip"):
        dataset.batch([])
    with pytest.raises(UserError, match="split 'dev' is unknown"):
        TripDataset.load(city, "dev", network)
    (city / "val.csv").unlink()
    with pytest.raises(UserError, match=r"has no val\.csv or val\.parquet"):
        TripDataset.load(city, "val", network)


def test_the_first_trips_alone(city: Path, network: RoadNetwork) -> None:
    whole = TripDataset.load(city, "train", network)
    few = TripDataset.load(city, "train", network, max_trips=7)
    assert len(few) == 7 and few.content_hash != whole.content_hash
    assert (few.time_mean, few.time_std) == (whole.time_mean, whole.time_std)
    assert torch.equal(few.batch(range(7)).trace_road_id, whole.batch(range(7)).trace_road_id)
    same = TripDataset.load(city, "train", network, max_trips=1000)
    assert same.content_hash == whole.content_hash


def test_wrong_field_counts_and_impossible_times_are_skipped_and_rows_keep_their_numbers(
    city: Path, network: RoadNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    roads = joined_roads(network, 3)
    good = row(",".join(map(str, roads)), times(3))
    lasting = row(",".join(map(str, roads)), [*times(2), "2099-01-01T00:00:00Z"])
    bad = ["0,0,0\n", good.strip() + ",more\n", lasting, row("0,1", ["2015-13-45T00:00:00Z"] * 2)]
    write_train(city, good, bad[0], bad[1], good, bad[2], bad[3], good, bad[0])
    with caplog.at_level("WARNING", logger="hoser_distil"):
        dataset = TripDataset.load(city, "train", network, on_bad_rows="skip")
    assert len(dataset) == 3
    assert dataset.file_rows(np.arange(3)).tolist() == [0, 3, 6]
    assert "skipped 5 bad rows (3 × wrong number of fields" in caplog.text
    again = TripDataset.load(city, "train", network, on_bad_rows="skip", max_trips=2)
    assert again.file_rows(np.arange(2)).tolist() == [0, 3]
    for line, message in ((bad[0], "has 3 fields"), (lasting, "longer than 68 years")):
        write_train(city, good, line)
        with pytest.raises(UserError, match=message):
            TripDataset.load(city, "train", network)
