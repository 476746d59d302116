"""The study of a real city: that it runs through, goes on after a kill, and counts right."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from bench import students
from bench.city_study import page, questions
from bench.city_study.plain_training import PlainTraining
from bench.city_study.settings import FOLLOWED, LONG, PLAIN, StudySettings
from bench.city_study.steps import Cost, Diary, Forecast, Outcome, Step, carry_out
from bench.city_study.summary import recorded
from bench.real_city import main
from config import dump_config, load_config
from data.demo_city import DemoCitySettings, make_demo_city
from data.road_network import RoadNetwork
from metrics.trips import read_real_trips
from models.checkpoint import load_student_state
from runtime.files import FolderLock, read_json, write_json
from tests.training_helpers import NARROW, tiny_config
from train_with_distill import train
from training.folder import RunFolder
from training.resources import ResourcePool

PAGE = "# A city\n\n<!-- bench: {} -->\n<!-- end -->\n\nText that stays.\n"


@pytest.mark.slow
def test_a_study_runs_through_and_is_not_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = tmp_path / "narrow.yaml"  # students that learn as well what is asked here
    narrow.write_text(dump_config(load_config(students.DEMO, NARROW)))
    monkeypatch.setattr(students, "DEMO", narrow)
    settings = DemoCitySettings(200, 260, val=24, test=110)
    city = make_demo_city(tmp_path / "city", settings=settings, progress=False)
    before = sorted(city.rglob("*"))
    study = tmp_path / "study"
    arguments = ["--data_dir", str(city), "--out", str(study), "--quick"]
    arguments += ["--kinds", *FOLLOWED, LONG, PLAIN, "--threads", "1"]
    assert main([*arguments, "--dry_run"]) == 0
    assert not (study / "steps").exists()
    assert main(arguments) == 0
    assert sorted(city.rglob("*")) == before  # the dataset is left alone
    summary = read_json(study / "summary.json")
    assert not summary["steps"]["missing"]
    (found,) = summary["sizes"].values()
    assert set(found["choices"]["groups"]) == {*FOLLOWED, LONG, PLAIN}
    assert found["base"] in (FOLLOWED[0], LONG)
    for compared in found["trips"].values():
        assert {"markov_1", "shortest_path", *FOLLOWED} <= set(compared["groups"])
    assert set(found["leakage"]) == set(found["utility"]) == set(FOLLOWED)
    assert found["scores"]["rows"]
    record = tmp_path / "record.json"
    write_json(record, recorded(summary, None))
    for name in page.TABLES:
        file = tmp_path / f"{name}.md"
        file.write_text(PAGE.format(name))
        page.write_page(record, file)
        text = file.read_text()
        assert "Not measured yet" not in text and "Text that stays." in text
        assert len(text.splitlines()) > 6
    capsys.readouterr()
    stamps = {file: file.stat().st_mtime_ns for file in study.rglob("step.json")}
    assert main(arguments) == 0
    assert {file: file.stat().st_mtime_ns for file in study.rglob("step.json")} == stamps
    assert f"{len(stamps)} of {len(stamps)} are done" in capsys.readouterr().out


def test_the_record_keeps_what_other_runs_found_of_other_sizes() -> None:
    def run(date: str, sizes: list[str], roads: int = 5) -> dict[str, object]:
        city = {"name": "a", "roads": roads, "train": 9, "val": len(sizes), "test": 3}
        names = ("settings", "steps", "seconds", "teacher", "questions")
        found = {size: {"choices": {"groups": [date] * (size != "7")}} for size in sizes}
        return {"city": city, "machine": date, "sizes": found, **dict.fromkeys(names)}

    first = recorded(run("monday", ["all", "1000"]), None)
    nothing_yet = recorded(run("tuesday", ["7"]), {**first, "sizes": {"7": "monday"}})
    assert nothing_yet["sizes"] == {"7": "monday"}
    both = recorded(run("tuesday", ["3000", "1000"]), first)
    dates = [(size, each["run"]["machine"]) for size, each in both["sizes"].items()]
    assert dates == [("1000", "tuesday"), ("3000", "tuesday"), ("all", "monday")]
    groups = [each["choices"]["groups"] for each in both["sizes"].values()]
    assert groups == [["tuesday"], ["tuesday"], ["monday"]]
    elsewhere = recorded(run("wednesday", ["10"], roads=6), both)
    assert list(elsewhere["sizes"]) == ["10"]


class _Killed(BaseException):
    """What no handler of errors sees, as little as a kill."""


def _step(name: str, log: list[str], needs: tuple[str, ...] = (), **inputs: object) -> Step:
    def do(folder: Path, resumed: bool) -> Outcome:
        log.append(f"{name} again" if resumed else name)
        if inputs.get("killed") and len(log) < 3:
            (folder / "half").touch()
            raise _Killed
        if inputs.get("fails"):
            raise RuntimeError("no")
        return Outcome({"had half": (folder / "half").exists()})

    kept = {key: value for key, value in inputs.items() if key != "fails"}
    return Step(name, Cost("some", 2.0, 5.0), do, kept, needs)


def test_a_step_is_done_once_whatever_kills_the_process(tmp_path: Path) -> None:
    log: list[str] = []
    diary = Diary(tmp_path)
    steps = [_step("a", log), _step("b", log, ("a",), killed=True), _step("c", log, ("b",))]
    with pytest.raises(_Killed):
        carry_out(diary, steps)
    assert Forecast.of(diary, steps).missing.keys() == {"b", "c"}
    assert carry_out(diary, steps) == []
    assert log == ["a", "b", "b again", "c"]
    assert diary.result("b")["had half"]
    carry_out(diary, steps)
    assert len(log) == 4
    # Other settings of one step: it and what follows from it are done anew, from nothing.
    other = [_step("a", log), _step("b", log, ("a",), killed=True, more=1), steps[2]]
    carry_out(diary, other)
    assert log[4:] == ["b", "c"] and not diary.result("b")["had half"]
    # What is done anew and comes out the same leaves what needs it alone.
    carry_out(diary, [_step("a", log, more=1), *other[1:]])
    assert log[6:] == ["a"]


def test_several_processes_divide_the_steps(tmp_path: Path) -> None:
    """What another one is at is left to it; what needs it waits until it is done."""
    log: list[str] = []
    diary = Diary(tmp_path)
    steps = [_step("a", log), _step("b", log, ("a",)), _step("c", log)]
    elsewhere = FolderLock(tmp_path, name=".a.lock")

    def give_back(folder: Path, resumed: bool) -> Outcome:
        assert log == []
        elsewhere.release()
        return steps[2].do(folder, resumed)

    elsewhere.acquire()
    assert carry_out(diary, [*steps[:2], replace(steps[2], do=give_back)]) == []
    assert log == ["c", "a", "b"]


def test_a_failed_step_stops_only_those_that_need_it(tmp_path: Path) -> None:
    log: list[str] = []
    steps = [_step("a", log, fails=True), _step("b", log, ("a",)), _step("c", log)]
    assert carry_out(Diary(tmp_path), steps) == ["a", "b"]
    assert log == ["a", "c"]
    forecast = Forecast.of(Diary(tmp_path), steps)
    assert forecast.missing == dict.fromkeys(("a", "b"), forecast.done["c"])


def test_the_plain_formulas_learn_what_the_fast_student_learns(
    tiny_city: Path, tmp_path: Path
) -> None:
    """Same first weights, trips and steps; a run that stopped goes on from its last epoch."""
    config = tiny_config(
        tiny_city, tmp_path / "save", optimizer_config__max_epoch=2, distill__enable=False
    )
    pool = ResourcePool()
    fast = train(config, pool=pool, folder=RunFolder(tmp_path / "fast"))
    curve = [epoch["val_next_step_acc"] for epoch in fast.history]
    stopped = PlainTraining(config, pool.get(config), tmp_path / "plain")
    stopped.epochs = 1
    stopped.run()
    found = PlainTraining(config, pool.get(config), tmp_path / "plain").run()
    assert found["learning_curve"] == pytest.approx(curve, abs=0.01)
    ours, theirs = (load_student_state(tmp_path / name / "best.pth") for name in ("fast", "plain"))
    assert found["epoch"] == fast.best_epoch
    for name, value in ours.items():
        if value.is_floating_point() and "v_proj" not in name:  # ours is calibrated at its end
            torch.testing.assert_close(value, theirs[name], atol=2e-3, rtol=2e-2, msg=name)


def test_questions_are_answered_as_by_counting_trip_by_trip(tiny_city: Path) -> None:
    network = RoadNetwork.load(tiny_city)
    train, test = (read_real_trips(tiny_city, split, network) for split in ("train", "test"))
    chosen = train.select(np.arange(30))
    taken: dict[int, Counter[int]] = {}
    for trip in range(30):
        roads = chosen.trip(trip)[0].tolist()
        for here, there in itertools.pairwise(roads):
            taken.setdefault(here, Counter())[there] += 1
    right = positions = 0
    for trip in range(len(test)):
        roads = test.trip(trip)[0].tolist()
        for here, there in itertools.pairwise(roads):
            positions += 1
            known = taken.get(here)
            most = max(known.values()) if known else 0
            best = min(r for r, n in known.items() if n == most) if known else None
            right += there == (network.candidates(here)[0] if best is None else best)
    val = read_real_trips(network.folder, "val", network)
    easy = questions.how_easy(network, train, val, test, [30, len(train)])
    assert easy["positions"] == positions
    assert easy["yardsticks"][0]["accuracy"] == pytest.approx(right / positions)
    accuracy = {(r["training trips"], r["knows"]): r["accuracy"] for r in easy["yardsticks"]}
    assert accuracy[30, "road"] <= accuracy[len(train), "road"] + 0.05
    assert accuracy[30, "road, and where ways lead"] > accuracy[30, "road"] + 0.05
    assert 0 <= easy["agreement"]["agreement"] <= easy["agreement"]["ceiling"] <= 1
    traces = questions.matching(network, train, test)
    seconds = sum(int(test.trip(trip)[1][-1] - test.trip(trip)[1][0]) for trip in range(len(test)))
    assert traces["roads a minute"] == pytest.approx(60 * positions / seconds)
    assert all(0 <= row["the shortest way"] <= 1 for row in traces["stretches"])


def test_a_way_round_is_told_from_the_shortest_way(tiny_city: Path) -> None:
    """Stretches of shortest routes are shortest; of a walk's, as networkx says."""
    network = RoadNetwork.load(tiny_city)
    graph = nx.DiGraph()
    for road in range(network.num_roads):
        for onward in network.candidates(road).tolist():
            graph.add_edge(road, onward, metres=float(network.length_m[onward]))
    trips = read_real_trips(tiny_city, "train", network)
    steps = 4
    found = questions.Stretches.of(network, trips, 1, steps)
    seen = 0
    for trip in range(len(trips)):
        roads = trips.trip(trip)[0].tolist()
        for first in range(0, len(roads) - steps, steps):
            least = nx.shortest_path_length(graph, roads[first], roads[first + steps], "metres")
            driven = sum(float(network.length_m[r]) for r in roads[first + 1 : first + steps + 1])
            assert found.trip[seen] == trip
            assert found.ratio[seen] == pytest.approx(driven / max(least, 1.0), rel=1e-5)
            seen += 1
    assert seen == len(found.ratio) and found.figures()["the shortest way"] > 0.3


def test_the_whole_study_has_every_kind_search_and_size() -> None:
    whole = StudySettings(Path("a"), Path("b"))
    assert (whole.sizes, whole.seeds) == ((1000, 3000, 10_000, None), 5)
    assert [whole.epochs(size) for size in (1000, 3000, 10_000, 60_000)] == [60, 20, 6, 2]
