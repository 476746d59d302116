"""The teacher cache: same logits as the live teacher, resumable, keyed, verified, shared."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from critics import cache_builder, road_teacher
from critics.cache_builder import open_or_build
from critics.lmtad_teacher import LMTADTeacher
from critics.road_teacher import LMTADRoadTeacher
from critics.teacher_cache import CacheLayout, encode_values
from data.cache_files import JOURNAL, MANIFEST, VALUES
from data.road_network import RoadNetwork
from dataset import RowSpec, TripDataset
from tests.programs import TIMEOUT_S, Program, call
from tests.teacher_helpers import small_weights


@pytest.fixture(scope="module")
def network(parity_city: Path) -> RoadNetwork:
    return RoadNetwork.load(parity_city)


@pytest.fixture(scope="module")
def trip_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trips")


def load(
    network: RoadNetwork, cache: Path, max_len: int | None = None, top_k: int = 0
) -> TripDataset:
    return TripDataset.load(
        network.folder,
        "train",
        network,
        cache_dir=cache,
        max_len=max_len,
        candidate_top_k=top_k,
    )


def teacher_for(
    network: RoadNetwork, window: int | str = "full", prefix: bool = True, seed: int = 0
) -> LMTADRoadTeacher:
    weights = small_weights(network.num_roads, 12, prefix, seed=seed)
    tokens = np.arange(network.num_roads)
    return LMTADRoadTeacher(LMTADTeacher(weights), tokens, network, window)  # type: ignore[arg-type]


def shifted(logits: torch.Tensor) -> torch.Tensor:
    """Relative to each position's largest, as the cache stores them."""
    return logits - logits.amax(dim=-1, keepdim=True)


@pytest.mark.parametrize("window", [2, 4, "full"])
@pytest.mark.parametrize("top_k", [0, 2])
def test_cached_equals_live(
    network: RoadNetwork, trip_cache: Path, tmp_path: Path, window: int | str, top_k: int
) -> None:
    dataset = load(network, trip_cache, top_k=top_k)
    teacher = teacher_for(network, window)
    cache = open_or_build(tmp_path, dataset, teacher, progress=False)
    batch = dataset.batch([3, 0, 41, 79])
    live = teacher.batch_logits(batch, batch.position_mask)
    cached = cache.lookup(batch)
    assert torch.equal(torch.isinf(live), torch.isinf(cached))
    positions = batch.position_mask & (batch.candidate_len > 0)
    for tau in (1.0, 3.0):
        torch.testing.assert_close(
            torch.softmax(cached[positions] / tau, -1),
            torch.softmax(live[positions] / tau, -1),
            atol=2e-3,
            rtol=2e-3,
        )


def test_a_long_trip_does_not_pad_the_short_ones(
    network: RoadNetwork, trip_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load(network, trip_cache)
    teacher = teacher_for(network, 3, prefix=False)
    at_once = teacher.trip_logits(dataset, np.arange(30))
    monkeypatch.setattr(road_teacher, "MAX_PADDED_POSITIONS", 40)
    in_parts = teacher.trip_logits(dataset, np.arange(30))
    np.testing.assert_allclose(in_parts, at_once, atol=1e-4)


@pytest.mark.parametrize("top_k", [0, 2])
def test_cropped_rows_keep_their_whole_history(
    network: RoadNetwork, trip_cache: Path, tmp_path: Path, top_k: int
) -> None:
    dataset = load(network, trip_cache, max_len=4, top_k=top_k)
    teacher = teacher_for(network)
    cache = open_or_build(tmp_path, dataset, teacher, progress=False)
    whole = load(network, trip_cache)
    spec = dataset.evaluation_rows()
    assert spec.crop_start.any()
    chosen = RowSpec(spec.trip_id[:40], spec.crop_start[:40], spec.trace_len[:40])
    batch = dataset.features(dataset.rows(chosen), "cpu")
    cached = cache.lookup(batch)
    live = teacher.batch_logits(batch, batch.position_mask, dataset)
    for row in range(len(chosen)):
        trip = whole.batch([int(chosen.trip_id[row])])
        expected = shifted(cache.lookup(trip)[0])
        for t in range(int(chosen.trace_len[row])):
            count = int(batch.candidate_len[row, t])
            keep = torch.arange(count)
            if batch.candidate_position is not None:
                keep = batch.candidate_position[row, t, :count]
            full = expected[int(chosen.crop_start[row]) + t][keep]
            torch.testing.assert_close(cached[row, t, :count], full, atol=0, rtol=0)
            torch.testing.assert_close(
                torch.softmax(live[row, t, :count], -1),
                torch.softmax(full, -1),
                atol=2e-3,
                rtol=2e-3,
            )


def test_two_bytes_a_value(network: RoadNetwork, trip_cache: Path, tmp_path: Path) -> None:
    dataset = load(network, trip_cache)
    open_or_build(tmp_path, dataset, teacher_for(network), progress=False)
    (values,) = tmp_path.glob(f"*/{VALUES}")
    candidates = sum(
        len(network.candidates(int(road)))
        for index in range(len(dataset))
        for road in dataset.trip(index)[0][:-1]
    )
    assert values.stat().st_size == 2 * candidates == 2 * CacheLayout(dataset).num_values


class CountingTeacher(LMTADRoadTeacher):
    """Counts the trips it is asked about, and can fail after some."""

    asked = 0
    fail_after: int | None = None

    def trip_logits(self, dataset: TripDataset, trip_id: np.ndarray) -> np.ndarray:
        if self.fail_after is not None and self.asked >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += len(trip_id)
        return super().trip_logits(dataset, trip_id)


def counting(network: RoadNetwork, seed: int = 0) -> CountingTeacher:
    weights = small_weights(network.num_roads, 12, True, seed=seed)
    return CountingTeacher(LMTADTeacher(weights), np.arange(network.num_roads), network)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_builder, "POSITIONS_PER_CHUNK", 50)
    monkeypatch.setattr(cache_builder, "SECONDS_PER_COMMIT", 0.0)


@pytest.mark.usefixtures("small_chunks")
def test_resumes_where_it_was_stopped(
    network: RoadNetwork, trip_cache: Path, tmp_path: Path
) -> None:
    dataset = load(network, trip_cache)
    expected = open_or_build(tmp_path / "a", dataset, counting(network), progress=False)
    teacher = counting(network)
    teacher.fail_after = 30
    with pytest.raises(KeyboardInterrupt):
        open_or_build(tmp_path / "b", dataset, teacher, progress=False)
    assert 30 <= teacher.asked < 80
    rest = counting(network)
    resumed = open_or_build(tmp_path / "b", dataset, rest, progress=False)
    assert rest.asked == 80 - teacher.asked
    assert torch.equal(resumed.values, expected.values)
    again = counting(network)
    open_or_build(tmp_path / "b", dataset, again, progress=False)
    assert again.asked == 0


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "damage", ["values", "short", "manifest", "journal", "no_values", "unfinished_values"]
)
def test_damage_is_found_and_mended(
    network: RoadNetwork, trip_cache: Path, tmp_path: Path, damage: str
) -> None:
    dataset = load(network, trip_cache)
    expected = open_or_build(tmp_path / "a", dataset, counting(network), progress=False)
    wanted = expected.values.clone()
    teacher = counting(network)
    if damage in ("journal", "unfinished_values"):
        teacher.fail_after = 30
        with pytest.raises(KeyboardInterrupt):
            open_or_build(tmp_path / "b", dataset, teacher, progress=False)
    else:
        open_or_build(tmp_path / "b", dataset, teacher, progress=False)
    (folder,) = (tmp_path / "b").iterdir()
    if damage in ("values", "unfinished_values"):
        with (folder / VALUES).open("r+b") as file:
            file.seek(20)
            file.write(b"\xff\xff")
    elif damage == "short":
        os.truncate(folder / VALUES, 100)
    elif damage == "no_values":
        (folder / VALUES).unlink()
    else:
        name = MANIFEST if damage == "manifest" else JOURNAL
        (folder / name).write_text('{"key": 3, "chunks": [[1')
    mended = open_or_build(tmp_path / "b", dataset, counting(network), progress=False)
    assert torch.equal(mended.values, wanted)


def test_another_teacher_window_or_split_gets_its_own_cache(
    network: RoadNetwork, trip_cache: Path, tmp_path: Path
) -> None:
    dataset = load(network, trip_cache)
    val = TripDataset.load(network.folder, "val", network, cache_dir=trip_cache)
    for teacher in (
        teacher_for(network),
        teacher_for(network, seed=1),
        teacher_for(network, window=3),
        teacher_for(network, prefix=False),
    ):
        open_or_build(tmp_path, dataset, teacher, progress=False)
    open_or_build(tmp_path, val, teacher_for(network), progress=False)
    assert len(list(tmp_path.iterdir())) == 5
    moved = np.arange(network.num_roads)[::-1].copy()
    weights = small_weights(network.num_roads, 12, True)
    open_or_build(
        tmp_path, dataset, LMTADRoadTeacher(LMTADTeacher(weights), moved, network), progress=False
    )
    assert len(list(tmp_path.iterdir())) == 6


def build_in_process(folder: Path, city: Path, cache: Path, delay: float) -> None:
    """A builder that works slowly enough to meet another one, or to be killed."""
    cache_builder.POSITIONS_PER_CHUNK = 50  # as `small_chunks`: sums round by their company
    cache_builder.SECONDS_PER_COMMIT = 0.0
    torch.set_num_threads(1)
    network = RoadNetwork.load(city)
    dataset = TripDataset.load(city, "train", network, cache_dir=cache)

    class Slow(LMTADRoadTeacher):
        def trip_logits(self, dataset: TripDataset, trip_id: np.ndarray) -> np.ndarray:
            time.sleep(delay)
            return super().trip_logits(dataset, trip_id)

    weights = small_weights(network.num_roads, 12, True)
    tokens = np.arange(network.num_roads)
    open_or_build(folder, dataset, Slow(LMTADTeacher(weights), tokens, network), progress=False)


@pytest.mark.usefixtures("small_chunks")
def test_two_builders_and_a_killed_one(
    network: RoadNetwork, trip_cache: Path, tmp_path: Path
) -> None:
    dataset = load(network, trip_cache)
    expected = open_or_build(tmp_path / "a", dataset, counting(network), progress=False)

    def start(delay: float) -> Program:
        return call(build_in_process, tmp_path / "b", Path(network.folder), Path(trip_cache), delay)

    victim = start(0.1)
    for _ in range(600):
        journals = list((tmp_path / "b").glob(f"*/{JOURNAL}"))
        if journals:
            break
        time.sleep(0.05)
    victim.kill()
    victim.wait()
    builders = [start(0.0), start(0.0)]
    for process in builders:
        assert process.wait(TIMEOUT_S) == 0, process.communicate()
    final = open_or_build(tmp_path / "b", dataset, counting(network), progress=False)
    assert torch.equal(final.values, expected.values)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_values_are_relative_and_survive_float16(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, 20)
    logits = rng.normal(0, 20, counts.sum()).astype(np.float32) + 300
    values = encode_values(logits, counts).astype(np.float32)
    begin = 0
    for count in counts:
        row = slice(begin, begin + count)
        if count:
            relative = logits[row] - logits[row].max()
            np.testing.assert_allclose(values[row], relative, rtol=1e-3, atol=1e-4)
        begin += count


def test_non_finite_values_stay_recognisable() -> None:
    counts = np.array([2, 2, 2])
    logits = np.array([1.0, np.nan, np.inf, 3.0, 5.0, -1e9], dtype=np.float32)
    values = encode_values(logits, counts)
    assert not np.isfinite(values[:2]).all()
    assert not np.isfinite(values[2:4]).all()
    assert values[4] == 0 and np.isfinite(values[5])
