"""Map matching: known trips come back from noisy points; nothing a user gives ends in a trace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.demo_city import make_demo_city
from data.demo_city.gps import GpsSettings, simulate_points
from data.match.__main__ import main as match
from data.match.point_columns import Columns
from data.match.point_files import PointFiles
from data.road_network import RoadNetwork
from data.trip_csv import read_trips
from runtime.errors import UserError

ROADS, TRIPS = 250, 120


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo city, whose trips are known."""
    folder = tmp_path_factory.mktemp("city")
    return make_demo_city(folder, ROADS, TRIPS, seed=3, progress=False)


def points_of(city: Path, interval_s: float, noise_m: float) -> pl.DataFrame:
    """Points of the city's trips."""
    return simulate_points(city, GpsSettings(interval_s, noise_m, outage_share=0.05, seed=1))


def empty_copy(city: Path, folder: Path) -> Path:
    """The city's road map without trips."""
    folder.mkdir()
    for name in ("roadmap.geo", "roadmap.rel"):
        (folder / name).write_bytes((city / name).read_bytes())
    return folder


def run(points: pl.DataFrame, folder: Path, *options: str) -> dict[str, Any]:
    """Matches points in a folder; the report."""
    path = folder / "points.parquet"
    points.write_parquet(path)
    match(["--gps", str(path), "--data_dir", str(folder), "--quiet", "--processes", "1", *options])
    return json.loads((folder / "match_report.json").read_text())


def trips_of(folder: Path) -> list[tuple[list[int], list[int]]]:
    """All trips of a dataset folder: roads and times."""
    network = RoadNetwork.load(folder, with_zones=False)
    trips = []
    for split in ("train", "val", "test"):
        for chunk in read_trips(folder / f"{split}.csv", network, "error"):
            for end, size in zip(np.cumsum(chunk.lengths), chunk.lengths):
                steps = slice(end - size, end)
                trips.append((chunk.road_ids[steps].tolist(), chunk.times[steps].tolist()))
    return trips


@pytest.fixture(scope="module")
def matched(city: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The city's trips as points every 15 s, matched."""
    folder = empty_copy(city, tmp_path_factory.mktemp("matched") / "city")
    return folder, run(points_of(city, 15, 6), folder)


def test_trips_come_back(city: Path, matched: tuple[Path, dict[str, Any]]) -> None:
    """Nine of ten trips road by road; their times within a few seconds."""
    true = {tuple(roads): times for roads, times in trips_of(city)}
    found = trips_of(matched[0])
    exact = [(roads, times) for roads, times in found if tuple(roads) in true]
    assert len(exact) >= 0.9 * TRIPS
    # The first road is entered before the first point.
    late = [np.subtract(times, true[tuple(roads)])[1:] for roads, times in exact]
    assert np.median(np.abs(np.concatenate(late))) <= 3


def test_splits_are_by_time(matched: tuple[Path, dict[str, Any]]) -> None:
    """Training trips are the earliest, and a tenth and a fifth are held out."""
    folder, report = matched
    sizes = report["trips_in"]
    total = sum(sizes.values())
    assert abs(sizes["train"] - 0.7 * total) <= 1
    assert abs(sizes["val"] - 0.1 * total) <= 1
    starts = [
        sorted(pl.read_csv(folder / f"{split}.csv")["time_list"].str.head(20).to_list())
        for split in ("train", "val", "test")
    ]
    assert starts[0][-1] <= starts[1][0]
    assert starts[1][-1] <= starts[2][0]


def test_work_is_gone_on_with_after_a_kill(
    city: Path,
    matched: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that ends between pieces and is started again gives the same files."""
    from data.match import pieces, session

    monkeypatch.setattr(pieces, "POINTS_PER_PIECE", 500)
    folder = empty_copy(city, tmp_path / "city")
    points = points_of(city, 15, 6)
    run(points, folder)
    whole = (folder / "train.csv").read_bytes()
    (folder / "train.csv").unlink()
    done = []
    real = session.match_piece

    def dies(*arguments: object) -> object:
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "match_piece", dies)
    path = folder / "points.parquet"
    options = ["--gps", str(path), "--data_dir", str(folder), "--quiet", "--processes", "1"]
    with pytest.raises(KeyboardInterrupt):
        match(options)
    assert not (folder / "train.csv").exists()
    before = len(done)
    match(options)
    assert (folder / "train.csv").read_bytes() == whole
    assert len(done) - before > 1


def test_forms_of_output(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet holds the trips of the CSV; local time is written; points tell their road.

    Also after a kill while the parts of a file were joined, whatever parts that left.
    """

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    folder = empty_copy(city, tmp_path / "city")
    points = points_of(city, 30, 5)
    run(points, folder)
    plain = trips_of(folder)
    options = ("--format", "parquet", "--timezone", "Asia/Shanghai", "--keep_points")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("data.match.trip_output.join_parquet", dies)
        run(points, folder, *options)
    (part,) = (folder / ".match" / "out-train").glob("*.parquet")
    shutil.copy(part, part.with_name(f"{9:012d}.parquet"))
    match(["--gps", str(folder / "points.parquet"), "--data_dir", str(folder), "--quiet", *options])
    report = json.loads((folder / "match_report.json").read_text())
    trips = pl.concat(pl.read_parquet(folder / f"{s}.parquet") for s in ("train", "val", "test"))
    assert trips["rid_list"].to_list() == [roads for roads, _ in plain]
    shifted = trips["time_list"].explode().dt.epoch("s") - 8 * 3600
    assert shifted.to_list() == [time for _, times in plain for time in times]
    places = pl.read_parquet(folder / "matched_points.parquet")
    assert (places["road"] >= 0).sum() == report["counts"]["points: matched"]
    distances = places.filter(pl.col("road") >= 0)["distance_m"].to_numpy()
    assert np.median(distances) < 8


def test_cleaning_counts_by_reason(city: Path, tmp_path: Path) -> None:
    """Duplicates, jumps, nonsense and another city's points fall out; the trips stay."""
    folder = empty_copy(city, tmp_path / "city")
    points = points_of(city, 15, 5).with_columns(pl.col("lat").cast(pl.Float64))
    bad = points.gather_every(50)
    spoiled = pl.concat(
        [
            points,
            bad,
            bad.with_columns(pl.col("lat") + 1.0, pl.col("time") + pl.duration(milliseconds=1500)),
            bad.with_columns(pl.lit(None, dtype=pl.Float64).alias("lat")),
        ]
    ).reverse()
    counts = run(spoiled, folder)["counts"]
    assert counts["points: two at one time"] >= len(bad)
    assert counts["points: a jump"] >= 0.9 * len(bad)
    assert counts["points: no time or place"] == len(bad)
    assert counts["trips"] >= 0.9 * TRIPS


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (pl.DataFrame({"when": [1], "lat": [1.0], "lon": [1.0]}), "no column for time"),
        (pl.DataFrame({"time": [0, 9], "lat": [0.5, 0.5], "lon": [-30.0, -30.0]}), "No trip"),
        (pl.DataFrame({"time": [1], "lat": ["x"], "lon": ["y"]}), "No trip"),
        (
            pl.DataFrame(schema={"time": pl.Int64, "lat": pl.Float64, "lon": pl.Float64}),
            "no points",
        ),
    ],
)
def test_mistakes_are_one_line(
    city: Path, tmp_path: Path, points: pl.DataFrame, message: str
) -> None:
    """What cannot be matched says why."""
    folder = empty_copy(city, tmp_path / "city")
    with pytest.raises(UserError, match=message):
        run(points, folder)


def test_many_points_in_one_place(city: Path, tmp_path: Path) -> None:
    """A parked car is no trip, however many points it sends."""
    folder = empty_copy(city, tmp_path / "city")
    network = RoadNetwork.load(city, with_zones=False)
    parked = pl.DataFrame(
        {
            "vehicle": "parked",
            "time": np.arange(20_000),
            "lat": network.center_lat[0],
            "lon": network.center_lon[0],
        }
    )
    moving = points_of(city, 15, 5).select(
        pl.col("vehicle").cast(pl.String),
        pl.col("time").dt.epoch("s"),
        "lat",
        "lon",
    )
    counts = run(pl.concat([parked, moving]), folder)["counts"]
    assert counts["points: parked between trips"] > 19_000


def test_forms_of_input(tmp_path: Path) -> None:
    """Dates, texts, numbers of any unit, CSV without names and GPX say the same."""
    lat, lon = [48.1, 48.2], [16.1, 16.2]
    (tmp_path / "a.csv").write_text(
        "id,timestamp,latitude,longitude\n"
        "7,2020-01-01T00:00:00Z,48.1,16.1\n7,2020-01-01 01:00:10+01:00,48.2,16.2\n"
    )
    (tmp_path / "b.csv").write_text("id,t,y,x\n7,1577836800000,48.1,16.1\n7,1577836810,48.2,16.2\n")
    gpx = tmp_path / "c.gpx"
    gpx.write_text(
        '<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>'
        '<trkpt lat="48.1" lon="16.1"><time>2020-01-01T00:00:00Z</time></trkpt>'
        '<trkpt lat="48.2" lon="16.2"><time>2020-01-01T00:00:10Z</time></trkpt>'
        "</trkseg></trk></gpx>"
    )
    bare = tmp_path / "d.csv"
    bare.write_text("7,2020-01-01 00:00:00,16.1,48.1\n7,2020-01-01 00:00:10,16.2,48.2\n")
    numbered = Columns.parse("vehicle=1,time=2,lon=3,lat=4")
    for path, columns in (
        (tmp_path / "a.csv", Columns({})),
        (tmp_path / "b.csv", Columns({})),
        (gpx, Columns({})),
        (bare, numbered),
    ):
        points = pl.concat(PointFiles.find(path, columns).batches())
        assert points["time_s"].to_list() == [1577836800.0, 1577836810.0], path
        assert points["lat"].to_list() == lat
        assert points["lon"].to_list() == lon


def test_trips_of_others_are_not_replaced(city: Path, tmp_path: Path) -> None:
    """A folder with trips from elsewhere is left alone, and so are trips that were edited."""
    points = tmp_path / "points.csv"
    points.write_text("time,lat,lon\n1,1,1\n")
    with pytest.raises(UserError, match="--force"):
        match(["--gps", str(points), "--data_dir", str(city), "--quiet"])
    folder = empty_copy(city, tmp_path / "city")
    run(points_of(city, 60, 5), folder)
    (folder / "road_network_partition").write_text("somebody's own")
    run(points_of(city, 60, 6), folder)
    assert (folder / "road_network_partition").read_text() == "somebody's own"
    edited = (folder / "val.csv").read_text().splitlines()[:-1]
    (folder / "val.csv").write_text("\n".join(edited))
    with pytest.raises(UserError, match=r"val\.csv is in the way and was changed"):
        run(points_of(city, 60, 6), folder)
    assert (folder / "val.csv").read_text().splitlines() == edited
    run(points_of(city, 60, 6), folder, "--force")


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_killed_run_leaves_no_splits_of_two_matches(
    city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """Without all three new files there are no training trips, until the work is gone on with."""
    folder = empty_copy(city, tmp_path / "city")
    run(points_of(city, 60, 5), folder)
    done: list[Path] = []
    real = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.suffix == ".csv":
            done.append(target)
            if len(done) > survived:
                raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run(points_of(city, 60, 9), folder)
    assert not (folder / "train.csv").exists()
    run(points_of(city, 60, 9), folder)
    fresh = empty_copy(city, tmp_path / "fresh")
    run(points_of(city, 60, 9), fresh)
    for split in ("train", "val", "test"):
        assert (folder / f"{split}.csv").read_bytes() == (fresh / f"{split}.csv").read_bytes()


def test_damaged_work_begins_anew(
    city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of the files of a killed run, the trips are those of a whole one."""
    from data.match import session

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    points = points_of(city, 60, 5)
    whole = empty_copy(city, tmp_path / "whole")
    run(points, whole)
    mine = tmp_path / "mine.txt"
    mine.touch()
    for number, (name, harm) in enumerate(
        {
            "job.json": b"{",
            "pieces.json": b"[]",
            "points-0000.bin": b"few",
            "sigma.json": b'"x"',
            "trips-0000.npz": b"PK",
        }.items()
    ):
        folder = empty_copy(city, tmp_path / str(number))
        with monkeypatch.context() as patch:
            patch.setattr(session, "write_trips", dies)
            with pytest.raises(KeyboardInterrupt):
                run(points, folder)
        assert (folder / ".match" / name).exists(), name
        (folder / ".match" / name).write_bytes(harm)
        run(points, folder)
        assert (folder / "train.csv").read_bytes() == (whole / "train.csv").read_bytes(), name
    (folder / ".match").symlink_to(tmp_path)
    run(points, folder)
    assert mine.exists() and not (folder / ".match").exists()


def times_of(folder: Path, *columns: list[str]) -> list[list[float | None]]:
    """What is read of times in CSV files, one file a list."""
    folder.mkdir()
    for number, times in enumerate(columns):
        rows = "".join(f'"{time}",1,1\n' for time in times)
        (folder / f"{number}.csv").write_text(f"time,lat,lon\n{rows}")
    batches = PointFiles.find(folder, Columns({})).batches()
    return [batch["time_s"].to_list() for batch in batches]


def test_numbers_of_many_digits_are_no_dates(tmp_path: Path) -> None:
    """Milliseconds have the digits of a date, but not as many."""
    texts = ["1710121510300", "20240311014510", "20240311 014510", "1710121510300123"]
    expected = [1710121510.3, 1710121510, 1710121510, 1710121510.3]
    (seconds,) = times_of(tmp_path / "gps", texts)
    assert seconds == pytest.approx(expected, abs=1e-3)


def test_short_years_are_not_read_as_those_of_the_romans(tmp_path: Path) -> None:
    assert times_of(tmp_path / "gps", ["24-03-11 01:45:10", "11.03.24 01:45:10"]) == [[None, None]]


@pytest.mark.parametrize(
    ("telling", "march", "april"),
    [
        ("13/02/2024 10:00:00", "11/03/2024", "3/4/2024"),
        ("2/13/2024 10:00", "3/11/2024", "04/3/2024"),
    ],
)
def test_one_date_tells_whether_day_or_month_comes_first(
    tmp_path: Path, telling: str, march: str, april: str
) -> None:
    """It may be in any file of the run, and whatever else is there."""
    files = [f"{march} 01:45:10"], ["2024-03-11 01:45:10", telling], [f"{april} 00:00:00.5", ""]
    first, second, third = times_of(tmp_path / "gps", *files)
    assert first == [1710121510]
    assert second == [1710121510, 1707818400]
    assert third == [1712102400.5, None]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([["05/02/2024 10:00:00", "12/02/2024 10:00:00"]], "'05/02/2024 10:00:00'"),
        ([["13/02/2024 10:00:00"], ["02/13/2024 10:00:00"]], "'13/02.*as well as '02/13"),
    ],
)
def test_dates_that_may_be_either_are_refused(
    tmp_path: Path, files: list[list[str]], found: str
) -> None:
    with pytest.raises(UserError, match=f"{found}.*write ISO dates"):
        times_of(tmp_path / "gps", *files)


def test_many_points_without_a_time_are_said(
    city: Path, tmp_path: Path, messages: list[str]
) -> None:
    folder = empty_copy(city, tmp_path / "city")
    points = points_of(city, 30, 5).with_columns(pl.col("time").dt.strftime("%FT%TZ"))
    run(points, folder)
    assert not any("left out for want" in message for message in messages)
    odd = pl.when(pl.int_range(pl.len()) % 10 == 3).then(pl.lit("noon")).otherwise("time")
    run(points.with_columns(odd.alias("time")), folder)
    (said,) = [message for message in messages if "left out for want" in message]
    assert "10 %" in said and "points.parquet has 'noon' for time in its column 'time'" in said


def test_files_of_one_name_are_different_vehicles(tmp_path: Path) -> None:
    """Each is named by its path in the folder; a file that is named itself by its name."""
    gpx = '<gpx><trkpt lat="1" lon="1"><time>2024-03-11T00:00:00Z</time></trkpt></gpx>'
    for name, text in (
        ("car0/2024.03.11.csv", "time,lat,lon\n1,1,1\n"),
        ("car1/2024.03.11.CSV", "time,lat,lon\n1,1,1\n"),
        ("car1/more/day.gpx", gpx),
        ("car2.csv", "time,lat,lon\n1,1,1\n"),
    ):
        (tmp_path / "gps" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "gps" / name).write_text(text)

    def vehicles(path: Path) -> list[str]:
        batches = PointFiles.find(path, Columns({})).batches()
        return pl.concat(batches)["vehicle"].to_list()

    found = vehicles(tmp_path / "gps")
    assert found == ["car0/2024.03.11", "car1/2024.03.11", "car1/more/day", "car2"]
    assert vehicles(tmp_path / "gps" / "car0" / "2024.03.11.csv") == ["2024.03.11"]


def test_numbers_of_passengers_are_the_same_in_every_format(tmp_path: Path) -> None:
    """As text, as in CSV files, and as numbers; words are read, too."""
    numbers = [0.0, 1.0, 2.0, -1.0, 0.5, None, float("nan")]
    texts = ["0", "1.0", " 2", "-1", "0.5", "", "nan"]
    words = ["false", "True", "hired", "vacant", "y", None, "0.0"]
    same = [0, 1, 1, 0, 1, -1, -1]
    cases = [(numbers, same), (texts, same), (words, [0, 1, 1, 0, 1, -1, 0])]
    for number, (values, expected) in enumerate(cases):
        path = tmp_path / f"{number}.parquet"
        pl.DataFrame({"time": 1, "lat": 1.0, "lon": 1.0, "occupied": values}).write_parquet(path)
        (points,) = PointFiles.find(path, Columns({})).batches()
        assert points["occupied"].to_list() == expected, values


def test_iso_texts_name_their_zone(tmp_path: Path) -> None:
    """What they name goes before the zone of times that name none."""
    texts = ["2024-01-01T12:00:05Z ", "2024-01-01 12:00:05 UTC", "2024-01-01T14:00:05+02:00"]
    (tmp_path / "gps.csv").write_text("\n".join(["time,lat,lon", *(f"{t},1,1" for t in texts)]))
    (tmp_path / "gps.csv").open("a").write("\n2024-01-01T14:00+02:00,1,1\n2024-01-01 21:00,1,1\n")
    (points,) = PointFiles.find(tmp_path / "gps.csv", Columns({}), "Asia/Tokyo").batches()
    assert points["time_s"].to_list() == [*[1704110405.0] * 3, *[1704110400.0] * 2]


def test_no_trip_for_want_of_what_is_said(city: Path, tmp_path: Path) -> None:
    """The column that is to blame is named, not the map."""
    folder = empty_copy(city, tmp_path / "city")
    points = points_of(city, 30, 5)
    for spoiled, options, reason in (
        (
            points.with_columns(pl.col("time").dt.strftime("%T")),
            (),
            r"'\d\d:\d\d:\d\d' for time in",
        ),
        (points.with_columns(lat=pl.lit("N 39")), (), "'N 39' for lat in its column 'lat'"),
        (points.drop("vehicle").with_row_index("id"), (), "column 'id' tells .* vehicles apart"),
        (points.with_columns(occupied=0), (), "--vacant keep"),
        (points, ("--max_gap", "3"), "--max_gap"),
        (points.with_columns(pl.col("lat") + 5), (), "lat and lon the right way round"),
    ):
        with pytest.raises(UserError, match=f"No trip came out.*{reason}"):
            run(spoiled, folder, *options)


def test_columns_that_are_taken_are_said(tmp_path: Path, messages: list[str]) -> None:
    """Once, not for every file; a bus's direction is no heading unless it is named as one."""
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("Cab,when,t,y,x,direction\n7,1,2,1,1,90\n")
    (points, _) = PointFiles.find(tmp_path, Columns.parse("time=when")).batches()
    assert points["heading"].to_list() == [None]
    assert [message for message in messages if " is " in message] == [
        f"In {tmp_path / 'a.csv'} vehicle is 'Cab', time is 'when', lat is 'y', lon is 'x'; "
        "no column is occupied, trip, heading."
    ]
    (points, _) = PointFiles.find(tmp_path, Columns.parse("heading=direction")).batches()
    assert points["heading"].to_list() == [90.0]


@pytest.mark.parametrize("zone", ["localtime", "Nowhere/At_all", "posixrules", ""])
@pytest.mark.parametrize("option", ["--timezone", "--points_timezone"])
def test_zones_that_cannot_be_reckoned_with_are_refused_at_once(
    tmp_path: Path, option: str, zone: str
) -> None:
    with pytest.raises(UserError, match=f"^{option} '{zone}' is not a time zone"):
        match(["--gps", str(tmp_path), "--data_dir", str(tmp_path), option, zone])
