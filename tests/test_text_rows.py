"""Large CSV files are read by polars, and say what the exact reader says of every file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.choices import OnBadRows
from data.csv_reading import read_columns
from data.road_network import RoadNetwork
from data.text_rows import Place, packed, read_text
from metrics.generated import read_generated
from runtime.errors import UserError

NEVER = 1 << 60
REGULAR = st.lists(st.sampled_from(["1", '"1,2"', "[3]", " x", "é"]), min_size=3, max_size=3)
PIECES = ['"', '""', ",", "\n", "\r", "\r\n", "1", '"1,2"', " ", "é", "\0", "\ufeff"]
ODD = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
LINES = st.lists(st.one_of(REGULAR.map(",".join), REGULAR.map(",".join), ODD), max_size=6)

Found = tuple[list[tuple[Place, list[str]]], list[tuple[Place, str]], str]


def _read(path: Path, polars_from_bytes: int) -> Found:
    """All rows, what was refused, and the error that ended it."""
    rows: list[tuple[Place, list[str]]] = []
    refused: list[tuple[Place, str]] = []
    try:
        for piece in read_text(
            path, ["t", "r"], ["a"], lambda *bad: refused.append(bad), polars_from_bytes
        ):
            columns = [list(column) for column in piece.columns]
            rows += zip(piece.places, map(list, zip(*columns, strict=True)), strict=True)
    except UserError as error:
        return rows, refused, str(error)
    return rows, refused, ""


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=LINES,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.booleans(),
    block=st.sampled_from([3, 20, 1 << 20]),
)
def test_polars_finds_what_the_exact_reader_finds(
    tmp_path: Path, lines: list[str], end: str, last: bool, block: int
) -> None:
    path = tmp_path / "trips.csv"
    text = end.join(["a,r,t", *lines]) + (end if last else "")
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.text_rows._BLOCK_BYTES", block)
        assert _read(path, 0) == _read(path, NEVER)


def test_a_regular_file_goes_through_polars_and_one_bad_row_changes_only_the_rest(
    tmp_path: Path,
) -> None:
    path = tmp_path / "trips.csv"
    good = [f'{i},"{i},{i + 1}","x"' for i in range(9_000)]
    path.write_text("\n".join(["a,r,t", *good]) + "\n")
    pieces = list(read_text(path, ["r", "t"], polars_from_bytes=0))
    assert all(isinstance(column, pl.Series) for piece in pieces for column in piece.columns)
    places = [place for piece in pieces for place in piece.places]
    assert places == [Place(i, i + 2) for i in range(9_000)]

    path.write_text("\n".join(["a,r,t", *good[:8_500], "1,2,3,4", "", *good[8_500:]]))
    with pytest.raises(UserError, match=r"trips.csv:8502: the row has 4 fields, the header has 3"):
        list(read_text(path, ["r", "t"], polars_from_bytes=0))
    rows, refused, _ = _read(path, 0)
    assert [place for place, _ in refused] == [Place(8_500, 8_502)]
    assert rows[8_500][0] == Place(8_501, 8_504)
    assert [fields[1] for _, fields in rows] == [row.fields[1] for row in _good_rows(path)]


def _good_rows(path: Path) -> list:  # type: ignore[type-arg]
    return list(read_columns(path, ["t", "r"], on_wrong_count=lambda *_: None))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")), min_size=1))
def test_columns_of_either_kind_are_packed_alike(fields: list[str]) -> None:
    plain, of_polars = packed(fields), packed(pl.Series(fields))
    assert plain.content.tolist() == of_polars.content.tolist()
    assert plain.offsets.tolist() == of_polars.offsets.tolist()


EXTRAS = ["1", "0", "2.5", "-1e3", "True", "false", " 7 ", "nan", "inf", "", "x", "1_0", "٣", "+5"]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.lists(st.sampled_from(EXTRAS), min_size=3, max_size=3), min_size=1))
def test_generated_trips_read_by_polars_are_those_read_exactly(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[list[str]]
) -> None:
    network = RoadNetwork.load(tiny_city)
    path = tmp_path / "generated.csv"
    first = network.reach_targets[0]
    roads = f'"[{first}]"', f'"[np.int64({first})]"', f'"[{network.num_roads}]"'
    lines = [
        f"{roads[i % 3 if i > 3 else 0]},\"['2015-11-05T23:29:48Z']\",{','.join(row)}"
        for i, row in enumerate(rows)
    ]
    header = "gene_trace_road_id,gene_trace_datetime,destination,reached,log_prob"
    path.write_text("\n".join([header, *lines]) + "\n")
    found = []
    for polars_from_bytes in (0, NEVER):
        reader = partial(read_text, polars_from_bytes=polars_from_bytes)
        monkeypatch.setattr("metrics.generated.read_text", reader)
        for policy in get_args(OnBadRows):
            found.append(_plain(path, network, policy))
    assert found[:2] == found[2:]


def _plain(path: Path, network: RoadNetwork, on_bad_rows: OnBadRows) -> object:
    """Everything that was read, in a form that compares."""
    try:
        trips = read_generated(path, network, on_bad_rows)
    except UserError as error:
        return str(error)
    arrays = (trips.trips.road_ids, trips.unjoined, trips.reached, trips.log_prob)
    return trips.skipped, [None if array is None else array.tolist() for array in arrays]
