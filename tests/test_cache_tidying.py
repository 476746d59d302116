"""Caches of data that were edited go, and those in use stay."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data.cache_tidying import KEPT, clean, entries, tidy
from data.road_network import RoadNetwork
from data.trip_cache import open_trips
from runtime.errors import UserError
from runtime.files import FolderLock, replace_atomically
from tools.cache import main


@pytest.fixture
def city(tiny_city: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_city, tmp_path / "city", ignore=shutil.ignore_patterns(".cache"))
    return tmp_path / "city"


def test_caches_of_edited_trips_are_bounded_and_said(city: Path, messages: list[str]) -> None:
    network, trips = RoadNetwork.load(city), city / "train.csv"
    lines = trips.read_text().splitlines(keepends=True)
    for number in range(KEPT["trips"] + 2):
        trips.write_text("".join(lines[: len(lines) - number]))
        opened = open_trips(trips, network, "error", city / ".cache")
        for entry in entries(city / ".cache"):  # a day passes
            for file in entry.path.iterdir():
                os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 86_400))
    assert len(entries(city / ".cache")) == KEPT["trips"]
    assert opened.folder in [entry.path for entry in entries(city / ".cache")]
    assert sum("Removed the cache" in line for line in messages) == 2


def test_cleaning_leaves_what_is_newest_or_being_built(
    city: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = city / ".cache"
    network = RoadNetwork.load(city)
    kept = open_trips(city / "train.csv", network, "error", cache).folder
    old = cache / f"trips-train-{'0' * 16}"
    shutil.copytree(kept, old)
    for file in old.iterdir():
        os.utime(file, (0, 0))
    begun = [cache / f"teacher-train-{digit * 64}" for digit in "ab"]
    for folder in begun:
        folder.mkdir()
    left = cache / ".x.json.abcdefgh.tmp"
    left.touch()
    work = city / ".match"
    work.mkdir()
    (work / "job.json").touch()
    assert main(["--data_dir", str(city)]) == 0
    assert "unfinished" in capsys.readouterr().out and old.exists()
    with FolderLock(begun[0]), replace_atomically(cache / "y.json") as written:
        os.utime(written, (0, 0))  # as if the clock had leapt ahead
        assert main(["--data_dir", str(city), "--clean"]) == 0
        assert written.exists()
    assert kept.exists() and begun[0].exists()
    assert not (old.exists() or begun[1].exists() or left.exists() or work.exists())
    assert clean(cache) >= 0 and tidy(cache, "trips", "train") == 0


def test_what_somebody_keeps_in_a_cache_s_place_stays(city: Path) -> None:
    network, trips, cache = RoadNetwork.load(city), city / "train.csv", city / ".cache"
    folder = open_trips(trips, network, "error", cache).folder
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "starts.bin").write_text("mine")
    assert open_trips(trips, network, "error", cache).folder == folder
    (folder / "seconds.bin").write_bytes(b"damaged")
    (folder / "manifest.json").write_text("damaged")
    assert open_trips(trips, network, "error", cache).folder == folder
    shutil.copytree(folder, cache / f"trips-train-{'1' * 16}")
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    clean(cache)
    (mine,) = folder.iterdir()
    assert mine.name.startswith("starts.bin.2") and mine.read_text() == "mine"
    assert folder not in [entry.path for entry in entries(cache)]


def test_caches_elsewhere_are_those_that_are_named(
    city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {name: tmp_path / name for name in ("data", "teacher", "further")}
    for place in places.values():
        (place / f"teacher-train-{'a' * 64}").mkdir(parents=True)
    config = tmp_path / "my.yaml"
    config.write_text(
        f"data: {{cache_dir: {places['data']}}}\ndistill: {{cache_dir: {places['teacher']}}}\n"
    )
    named = ["--data_dir", str(city), "--config", str(config)]
    assert main([*named, "--cache_dir", str(places["further"])]) == 0
    assert capsys.readouterr().out.count("unfinished") == 3
    assert main([*named, "--clean"]) == 0
    assert [any(place.iterdir()) for place in places.values()] == [False, False, True]
    with pytest.raises(UserError, match="nowhere"):
        main(["--data_dir", str(city), "--cache_dir", str(tmp_path / "nowhere")])


def test_a_clock_set_back_costs_no_cache(city: Path) -> None:
    network, trips = RoadNetwork.load(city), city / "train.csv"
    lines = trips.read_text().splitlines(keepends=True)
    for number in range(KEPT["trips"] + 1):
        trips.write_text("".join(lines[: len(lines) - number]))
        opened = open_trips(trips, network, "error", city / ".cache")
        for file in opened.folder.iterdir():
            assert file.exists()
            os.utime(file, (4e9, 4e9))  # from now on the clock runs behind


def test_caches_are_listed_while_others_build_and_remove_theirs(tmp_path: Path) -> None:
    def build_and_remove() -> None:
        for number in range(10_000):
            folder = tmp_path / f"teacher-train-{number % 3:016x}"
            folder.mkdir(exist_ok=True)
            temporary = folder / ".journal.json.abcdefgh.tmp"
            temporary.touch()
            temporary.rename(folder / "journal.json")
            if number % 5 == 0:
                shutil.rmtree(folder)

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(build_and_remove)
        while not others.done():
            assert len(entries(tmp_path)) <= 3
        others.result()
