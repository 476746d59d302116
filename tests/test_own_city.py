"""A dataset of a map and points: mistakes cost nothing, and trips stand beside their own roads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runtime.errors import UserError
from tests.osm_helpers import OsmMap
from tools.own_city import main

WEST, SOUTH, STEP = -8.62, 41.15, 0.002


def town(size: int) -> OsmMap:
    """Streets of a square grid, west of Greenwich."""
    at = {(x, y): 10 * y + x + 1 for y in range(size) for x in range(size)}
    nodes = {node: (WEST + STEP * x, SOUTH + STEP * y) for (x, y), node in at.items()}
    street = {"highway": "residential"}
    ways = [
        ([at[place] for place in line], {**street, "name": f"{name} {number}"})
        for number in range(size)
        for name, line in (
            ("row", [(x, number) for x in range(size)]),
            ("column", [(number, y) for y in range(size)]),
        )
    ]
    return OsmMap(nodes, ways)


def drives(path: Path, west: float = WEST, columns: str = "vehicle,time,lat,lon") -> Path:
    """Points of cars that drive along rows, one after the other."""
    rows = [
        f"car{car},{10_000 * car + 1000 * row + 10 * n},{SOUTH + STEP * row},{west + n / 2000}"
        for car in range(4)
        for row in range(3)
        for n in range(9)
    ]
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def make(folder: Path, osm_map: Path, gps: Path, *options: str) -> None:
    """A dataset in `folder`."""
    more = ["--", "--quiet", "--processes", "1", *options]
    main(["--pbf", str(osm_map), "--gps", str(gps), "--out", str(folder), "--zones", "4", *more])


def contents(folder: Path) -> dict[str, bytes]:
    """All files that are not the program's own notes."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return town(6).write(tmp_path_factory.mktemp("large") / "town.osm")


@pytest.fixture(scope="module")
def small_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of a small town; not to be changed."""
    folder = tmp_path_factory.mktemp("small")
    make(folder / "city", town(5).write(folder / "town.osm"), drives(folder / "gps.csv"))
    return folder / "city"


@pytest.fixture
def city(small_city: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_city, tmp_path / "city"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--timezone", "Nowhere/At_all"], "is not a time zone"),
        (["--radius", "5000"], "--radius is 5000"),
        (["--sigmoid", "3"], "--sigmoid"),
        (["--columns", "vehicle=cab"], "no column 'cab'"),
        (["--data_dir", "elsewhere"], "--data_dir is elsewhere"),
    ],
)
def test_mistakes_in_options_cost_nothing(
    city: Path, large: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    before = contents(city)
    with pytest.raises(UserError, match=reason):
        make(city, large, drives(tmp_path / "gps.csv"), *options)
    assert contents(city) == before


def test_mistakes_in_files_cost_nothing(city: Path, large: Path, tmp_path: Path) -> None:
    before = contents(city)
    with pytest.raises(UserError, match=r"gps\.csv does not exist"):
        make(city, large, tmp_path / "gps.csv")
    with pytest.raises(UserError, match="no column for lat, lon"):
        make(city, large, drives(tmp_path / "gps.csv", columns="vehicle,time,north,east"))
    (tmp_path / "no.osm").write_text("<osm")
    with pytest.raises(UserError, match=r"no\.osm"):
        make(city, tmp_path / "no.osm", drives(tmp_path / "gps.csv"))
    assert contents(city) == before


def test_trips_of_others_stay_with_their_roads(city: Path, large: Path, tmp_path: Path) -> None:
    """Neither edited trips nor somebody's own road map are replaced without `--force`."""
    gps = drives(tmp_path / "gps.csv")
    (city / "val.csv").write_bytes((city / "val.csv").read_bytes() + b"\n")
    before = contents(city)
    with pytest.raises(UserError, match=r"val\.csv is in the way and was changed"):
        make(city, large, gps)
    assert contents(city) == before


def test_roads_of_others_stay(city: Path, large: Path, tmp_path: Path) -> None:
    (city / "roadmap.geo").write_bytes((city / "roadmap.geo").read_bytes() + b"\n")
    before = contents(city)
    with pytest.raises(UserError, match=r"roadmap\.geo that this program did not write"):
        make(city, large, drives(tmp_path / "gps.csv"))
    assert contents(city) == before


def test_trips_that_fail_leave_no_others_beside_new_roads(
    city: Path, large: Path, tmp_path: Path
) -> None:
    before = contents(city)
    with pytest.raises(UserError, match="No trip came out"):
        make(city, large, drives(tmp_path / "far.csv", west=WEST + 5))
    after = contents(city)
    assert after["roadmap.geo"] != before["roadmap.geo"]
    assert not {"train.csv", "val.csv", "test.csv", "match_report.json"} & set(after)
    make(city, large, drives(tmp_path / "gps.csv"))
    assert "train.csv" in contents(city)


def test_a_kill_at_any_moment_mixes_no_roads_and_trips(
    small_city: Path, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gps, names = drives(tmp_path / "gps.csv"), ("roadmap.geo", "roadmap.rel", "train.csv")
    make(tmp_path / "fresh", large, gps)
    whole = [
        {name: contents(folder)[name] for name in names}
        for folder in (small_city, tmp_path / "fresh")
    ]
    steps, survived, seen = [], 0, 0
    real_replace, real_unlink = Path.replace, Path.unlink

    def counted(path: Path) -> None:
        if path.name.startswith(("roadmap.", "train.", "val.", "test.", "match_report.")):
            steps.append(path)
            if len(steps) > survived:
                raise KeyboardInterrupt

    def replace(path: Path, target: Path) -> Path:
        counted(target)
        return real_replace(path, target)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            counted(path)
        real_unlink(path, missing_ok=missing_ok)

    while seen == survived:
        city = Path(shutil.copytree(small_city, tmp_path / str(survived)))
        steps.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            patch.setattr(Path, "unlink", unlink)
            try:
                make(city, large, gps)
            except KeyboardInterrupt:
                seen += 1
        found = contents(city)
        assert "train.csv" not in found or {n: found.get(n) for n in names} in whole, steps
        make(city, large, gps)
        assert {name: contents(city)[name] for name in names} == whole[1], steps
        survived += 1
    assert survived > 10
