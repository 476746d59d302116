"""The pages that benches write: they say what the recorded figures say, and what is outstanding."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import BENCHES, PAGE, write_page
from bench._common import RESULTS
from bench._pages import fill
from bench.city_study.page import write_page as write_city
from bench.headlines import HEADLINES, MACHINE, headline_lines
from bench.real_city import PAGE as CITY
from bench.route_draws import PAGE as GENERATION
from bench.route_draws import write_page as write_draws
from bench.scale import PAGE as DISTRIBUTED
from bench.scale import Scale, gradient_seconds
from bench.scale import main as scale
from bench.teacher_drives import PAGE as DISTILLATION
from bench.teacher_drives import write_page as write_drives
from runtime.errors import UserError
from runtime.files import read_json

GPU_FIGURES: dict[str, Any] = {
    "machine": {"cores": 16, "processor": "x"},
    "training": [{"kind": "distilled", "steps_per_s": 123.4}],
    "cache_building": {"minutes_for_beijing": 9.0},
    "beam": {"trips_per_s": 2100.0},
}


def test_the_page_of_figures_is_that_of_the_recorded_ones(tmp_path: Path) -> None:
    written = tmp_path / "benchmarks.md"
    write_page(written)
    assert written.read_text() == PAGE.read_text(), "run python -m bench --page"


def test_headlines_say_what_is_recorded_and_what_is_not() -> None:
    assert {each.part for each in HEADLINES} <= set(BENCHES)
    recorded = dict(read_json(RESULTS / f"{MACHINE}.json"))
    text = "\n".join(headline_lines({MACHINE: recorded}))
    for each in HEADLINES:
        assert (f"**{each.about}**" in text) == (each.part in recorded)
        assert (f"(`{each.part}`)" in text) == (each.part not in recorded)
    assert "make bench-gpu" in text
    with_gpu = "\n".join(headline_lines({MACHINE: recorded, "a-gpu": {"gpu": GPU_FIGURES}}))
    assert "**a-gpu** trains 123 distilled steps" in with_gpu and "make bench-gpu" not in with_gpu


def test_the_plan_for_ten_machines_is_that_of_the_recorded_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "distributed.md"
    shutil.copyfile(DISTRIBUTED, copy)
    monkeypatch.setattr("bench.scale.PAGE", copy)
    monkeypatch.setattr("sys.argv", ["scale", "--page"])
    scale()
    assert copy.read_text() == DISTRIBUTED.read_text(), "run python -m bench.scale --page"


def test_costs_grow_with_trips_and_shrink_with_machines() -> None:
    measured = read_json(RESULTS / f"{MACHINE}.json")
    few, many = (Scale(trips, 10).rows(measured) for trips in (1e6, 1e9))
    assert [row[0] for row in few] == [row[0] for row in many]
    assert gradient_seconds(1, 10) == 0
    assert 0 < gradient_seconds(2, 10) < gradient_seconds(10, 10) < 2 * gradient_seconds(2, 10)


def test_the_study_of_the_real_city_is_the_recorded_one(tmp_path: Path) -> None:
    copy = tmp_path / "real-city.md"
    shutil.copyfile(CITY, copy)
    write_city(CITY.with_suffix(".json"), copy)
    assert copy.read_text() == CITY.read_text(), "run python -m bench.real_city --page"


def test_the_study_of_driving_teachers_is_the_recorded_one(tmp_path: Path) -> None:
    copy = tmp_path / "distillation.md"
    shutil.copyfile(DISTILLATION, copy)
    write_drives(copy)
    assert copy.read_text() == DISTILLATION.read_text(), "run python -m bench.teacher_drives --page"


def test_the_table_of_searches_is_the_recorded_one(tmp_path: Path) -> None:
    copy = tmp_path / "generation.md"
    shutil.copyfile(GENERATION, copy)
    write_draws(copy)
    assert copy.read_text() == GENERATION.read_text(), "run python -m bench.route_draws --page"


def test_a_page_without_places_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Nothing\n")
    with pytest.raises(UserError, match="has no place for tables"):
        fill(page, {})
    page.write_text("<!-- bench: what -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="asks for tables that there are not: what"):
        fill(page, {})
