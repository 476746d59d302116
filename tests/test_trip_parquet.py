"""A dataset's trips in Parquet are those of the CSV, good rows and bad ones alike."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.road_network import RoadNetwork
from data.splits import split_file
from data.trip_csv import BadRows, TripChunk, read_trips
from dataset import TripDataset
from runtime.errors import UserError

LISTS = {"rid_list": pl.List(pl.Int32), "time_list": pl.List(pl.Datetime("ms"))}


@pytest.fixture(scope="module")
def network(tiny_city: Path) -> RoadNetwork:
    return RoadNetwork.load(tiny_city)


@pytest.fixture(scope="module")
def text(tiny_city: Path) -> pl.DataFrame:
    return pl.read_csv(tiny_city / "train.csv", infer_schema=False)


def _lists(text: pl.DataFrame) -> pl.DataFrame:
    seconds = pl.element().str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms")
    return text.with_columns(
        pl.col("rid_list").str.strip_chars("[]").str.split(", ").list.join(",").str.split(","),
        pl.col("time_list").str.split(",").list.eval(seconds),
    ).with_columns(pl.col("rid_list").list.eval(pl.element().str.strip_chars().cast(pl.Int32)))


def _read(path: Path, network: RoadNetwork) -> TripChunk:
    chunks = list(read_trips(path, network, "error"))
    return TripChunk(
        *(
            np.concatenate([getattr(chunk, name) for chunk in chunks])
            for name in ("road_ids", "times", "lengths")
        )
    )


def _same(a: TripChunk, b: TripChunk) -> bool:
    names = ("road_ids", "times", "lengths")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def test_every_form_of_columns_gives_the_same_trips(
    tiny_city: Path, network: RoadNetwork, text: pl.DataFrame, tmp_path: Path
) -> None:
    lists = _lists(text)
    of_time = pl.col("time_list").list
    zone = pl.element().dt.replace_time_zone("Asia/Shanghai")
    forms = {
        "text": text,
        "lists": lists,
        "text_roads": lists.with_columns(text["rid_list"]),
        "text_times": lists.with_columns(text["time_list"]),
        "lists_of_text": lists.with_columns(pl.col("rid_list").cast(pl.List(pl.String))),
        "seconds": lists.with_columns(of_time.eval(pl.element().dt.epoch("s"))),
        "seconds_beside_text": text.with_columns(
            lists.select(of_time.eval(pl.element().dt.epoch("s")))["time_list"]
        ),
        "with_a_zone": lists.with_columns(of_time.eval(zone)),
        "large_integers": lists.with_columns(pl.col("rid_list").cast(pl.List(pl.UInt64))),
    }
    expected = _read(tiny_city / "train.csv", network)
    for name, frame in forms.items():
        frame.write_parquet(tmp_path / f"{name}.parquet", row_group_size=17)
        assert _same(expected, _read(tmp_path / f"{name}.parquet", network)), name


def test_a_dataset_in_parquet_is_read_like_one_in_csv(
    tiny_city: Path, network: RoadNetwork, text: pl.DataFrame, tmp_path: Path
) -> None:
    for name in ("roadmap.geo", "roadmap.rel", "road_network_partition", "zone_trans_mat.npy"):
        shutil.copy(tiny_city / name, tmp_path / name)
    _lists(text).write_parquet(tmp_path / "train.parquet")
    assert split_file(tmp_path, "train").name == "train.parquet"
    ours = TripDataset.load(tmp_path, "train", RoadNetwork.load(tmp_path))
    theirs = TripDataset.load(tiny_city, "train", network)
    assert np.array_equal(ours.road_ids, theirs.road_ids)
    assert np.array_equal(ours.starts, theirs.starts)
    shutil.copy(tiny_city / "train.csv", tmp_path / "train.csv")
    with pytest.raises(UserError, match=r"both train\.csv and train\.parquet"):
        split_file(tmp_path, "train")
    with pytest.raises(UserError, match=r"no val\.csv or val\.parquet"):
        split_file(tmp_path, "val")


def _bad_rows(network: RoadNetwork) -> list[tuple[list[int] | None, list[datetime | None] | None]]:
    first = 0
    second = int(network.candidates(first)[0])
    apart = next(r for r in range(network.num_roads) if r not in network.candidates(first))
    noon, later = datetime(2015, 11, 5, 12), datetime(2015, 11, 5, 12, 1)
    return [
        ([first, second], [noon, later]),
        ([first, network.num_roads], [noon, later]),
        ([first, second], [noon]),
        ([first, second], [later, noon]),
        ([first, apart], [noon, later]),
        ([first], [noon]),
        ([first, second], [noon, datetime(1950, 1, 1)]),
    ]


def test_bad_rows_are_the_same_in_csv_and_parquet(network: RoadNetwork, tmp_path: Path) -> None:
    frame = pl.DataFrame(_bad_rows(network), schema=LISTS, orient="row")
    frame.write_parquet(tmp_path / "lists.parquet")
    as_text = frame.with_columns(
        pl.col("rid_list").cast(pl.List(pl.String)).list.join(","),
        pl.col("time_list")
        .list.eval(pl.element().dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .list.join(","),
    )
    as_text.write_parquet(tmp_path / "text.parquet")
    as_text.write_csv(tmp_path / "text.csv")
    reasons = []
    for name in ("text.csv", "text.parquet", "lists.parquet"):
        bad_rows = BadRows()
        chunks = list(read_trips(tmp_path / name, network, "skip", bad_rows))
        assert sum(len(chunk.lengths) for chunk in chunks) == 1
        reasons.append(dict(bad_rows.reasons))
        with pytest.raises(UserError, match=r":3: road|: row 2: road"):
            list(read_trips(tmp_path / name, network, "error"))
    assert reasons[0] == reasons[1] == reasons[2]
    assert sum(reasons[0].values()) == 6


def test_missing_values_are_bad_rows(network: RoadNetwork, tmp_path: Path) -> None:
    good, *_ = _bad_rows(network)
    rows = [(None, good[1]), (good[0], None), good, (good[0], [None, good[1][0]])]  # type: ignore[index]
    pl.DataFrame(rows, schema=LISTS, orient="row").write_parquet(tmp_path / "trips.parquet")
    bad_rows = BadRows()
    chunks = list(read_trips(tmp_path / "trips.parquet", network, "skip", bad_rows))
    assert sum(len(chunk.lengths) for chunk in chunks) == 1
    assert bad_rows.reasons == {"counts differ": 2, "unparsable time": 1}


def test_what_is_no_table_of_trips_is_refused_in_a_line(
    network: RoadNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "trips.parquet"
    tables: list[pl.DataFrame | bytes] = [
        b"",
        b"PAR1 and so on",
        pl.DataFrame({"rid_list": ["1,2"]}),
        pl.DataFrame({"rid_list": [1.5], "time_list": [["a"]]}),
        pl.DataFrame({"rid_list": [[1.5]], "time_list": [[1]]}),
    ]
    for table in tables:
        if isinstance(table, bytes):
            path.write_bytes(table)
        else:
            table.write_parquet(path)
        with pytest.raises(UserError, match=r"trips\.parquet"):
            list(read_trips(path, network, "skip"))
