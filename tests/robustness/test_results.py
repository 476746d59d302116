"""One writer for results, one record of what they are made from."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Config
from data.generation_record import check_record
from data.road_network import RoadNetwork
from evaluation import evaluate
from gene import generate
from metrics.reference import Settings
from report.inputs import unique_names
from runtime.errors import UserError
from runtime.files import before_replacing, read_json, replace_atomically, write_json
from runtime.inputs import Inputs
from runtime.placing import clear, make_way, placing
from runtime.results import Results
from runtime.written import RECORD_NAME
from tests.robustness.programs import Programs, assert_refused, assert_succeeded
from training.checkpoint import load_run
from training.folder import RunFolder

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
PARTS = [field.name for field in fields(Inputs)]


def write(path: Path, text: str, force: bool = False) -> None:
    with Results.file(path, "tests", force).written():
        path.write_text(text)


def test_only_what_was_written_here_is_replaced(tmp_path: Path) -> None:
    ours, mine = tmp_path / "ours", tmp_path / "mine"
    write(ours, "1")
    write(ours, "2")
    mine.write_text("mine")
    with pytest.raises(UserError, match="mine is in the way and is not of this program"):
        write(mine, "3")
    ours.write_text("edited")
    with pytest.raises(UserError, match="was changed since"):
        write(ours, "3")
    assert (ours.read_text(), mine.read_text()) == ("edited", "mine")
    write(mine, "3", force=True)
    write(mine, "4")
    with pytest.raises(UserError, match="is a folder"):
        Results.file(tmp_path, "tests").check()


def test_a_failed_or_killed_run_owns_only_what_it_wrote(tmp_path: Path) -> None:
    for name, before in (("new", None), ("foreign", "mine")):
        path = tmp_path / name
        if before is not None:
            path.write_text(before)
        with pytest.raises(OSError, match="failed"), Results.file(path, "t", force=True).written():
            raise OSError("failed")
    with pytest.raises(UserError, match="in the way"):
        write(tmp_path / "foreign", "x")
    writing = Results.file(tmp_path / "killed", "t").written()
    writing.__enter__()  # and never left
    (tmp_path / "killed").write_text("whole")
    write(tmp_path / "killed", "again")
    (tmp_path / RECORD_NAME).write_text("{")  # nothing is known any more: nothing is replaced
    with pytest.raises(UserError, match="in the way"):
        write(tmp_path / "killed", "x")


def _write_many(folder: Path, number: int) -> None:
    for step in range(5):
        write(folder / f"{number}-{step}", "x")


def test_runs_at_once_keep_one_record(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_write_many, args=(tmp_path, n)) for n in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(json.loads((tmp_path / RECORD_NAME).read_text())) == 20


def test_links_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for name in ("kept", "new"):
        (tmp_path / name).symlink_to(tmp_path / "far" / name)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("kept", "new", "kept"):
        write_json(tmp_path / name, name)
        assert (tmp_path / name).is_symlink() and read_json(tmp_path / "far" / name) == name
    with pytest.raises(UserError, match="circle is no file"):
        write_json(tmp_path / "circle", 1)
    assert (tmp_path / "circle").is_symlink()


def test_devices_are_not_replaced() -> None:
    with (
        pytest.raises(UserError, match="/dev/null is no file"),
        replace_atomically("/dev/null") as temporary,
    ):
        temporary.write_text("x")


def place(folder: Path, name: str, text: str, force: bool = False) -> None:
    with placing("tests", folder, force=force):
        write_json(folder / name, text)


def kept(folder: Path, name: str) -> list[str]:
    """What was moved aside."""
    return sorted(path.read_text() for path in folder.glob(f"{name}.2*"))


def test_what_others_put_among_a_program_s_files_is_moved_aside(
    tmp_path: Path, messages: list[str]
) -> None:
    (tmp_path / "deep").mkdir()
    mine = tmp_path / "deep" / "figures.json"
    mine.write_text("mine")
    for text in ("1", "2"):
        place(tmp_path, "deep/figures.json", text)
    assert kept(tmp_path, "deep/figures.json") == ["mine"]
    assert sum("it is kept as" in line for line in messages) == 1
    mine.write_text("edited")
    place(tmp_path, "deep/figures.json", "3", force=True)
    place(tmp_path, "deep/figures.json", "4")
    assert kept(tmp_path, "deep/figures.json") == ["mine"]
    mine.write_text("edited")
    with placing("outer", tmp_path), placing("inner", tmp_path, force=True):
        write_json(mine, "5")
    assert kept(tmp_path, "deep/figures.json") == ["edited", "mine"]
    mine.write_text("edited again")
    make_way(mine)  # of a link of ours
    mine.write_text("and again")
    clear(mine)
    clear(mine)  # nothing there
    assert kept(tmp_path, "deep/figures.json") == ["and again", "edited", "edited again", "mine"]
    mine.symlink_to(tmp_path / "far")
    (tmp_path / "far").write_text("mine")
    place(tmp_path, "deep/figures.json", "6")
    assert kept(tmp_path, "far") == ["mine"] and read_json(tmp_path / "far") == "6"


def test_a_program_that_was_killed_knows_its_files_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, real: Path, finished: Path) -> None:
        raise KeyboardInterrupt

    for name in ("one", "two"):
        place(tmp_path, name, "old")
        for text in ("never there", "neither"):
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr("runtime.files.before_replacing", [*before_replacing, killed])
                place(tmp_path, name, text)
        place(tmp_path, name, "new")
        assert read_json(tmp_path / name) == "new" and not kept(tmp_path, name)


@given(st.dictionaries(st.sampled_from(PARTS), HASHES))
def test_inputs_survive_their_record(parts: dict[str, str]) -> None:
    inputs = Inputs(**parts)
    for place in ("inputs", "identity", "request", "metadata", "data"):
        assert Inputs.read(json.loads(json.dumps({place: inputs.to_json()}))) == inputs
    assert inputs.differences(inputs) == []


@given(st.recursive(st.none() | st.text() | st.integers(), lambda s: st.dictionaries(st.text(), s)))
def test_records_of_anything_say_nothing_wrong(record: object) -> None:
    assert Inputs.read(record).differences(Inputs()) == []


def test_older_records_are_understood() -> None:
    checkpoint = {"identity": {"mode": "vanilla", "road network": "r", "train.csv": "t"}}
    assert Inputs.read(checkpoint) == Inputs(network="r", train="t")
    assert Inputs.read({"metadata": {"network_hash": "r"}}) == Inputs(network="r")
    teacher = Inputs.read({"identity": {"teacher": {"kind": "a"}}}).teacher
    assert teacher is not None and len(teacher) == 64
    with pytest.raises(UserError, match=r"network is r there and q here.*Advice"):
        Inputs.read(checkpoint).refuse_others(Inputs(network="q"), "x", "Advice.")


def test_every_output_says_what_it_is_made_from(trained: Config, tmp_path: Path) -> None:
    run = RunFolder.of(trained)
    network = RoadNetwork.load(trained.data_dir).content_hash
    made = generate(trained, model_path=run.best, output=tmp_path / "trips.csv", num_gene=12)
    evaluate(made.output, trained.data_dir, settings=Settings(bootstrap=0), output_dir=tmp_path)
    places = (run.metrics, made.performance, tmp_path / "results.json")
    records = [json.loads(place.read_text()) for place in places]
    found = [Inputs.read(each.get("run", each)) for each in records]
    found.append(load_run(run.latest).inputs)
    assert [each.network for each in found] == [network] * 4
    assert found[0].train == found[1].train == found[3].train is not None
    assert found[2].trips_file is not None and found[2].test is not None


def test_a_yardstick_of_another_city_is_refused(
    programs: Programs, trained: Config, tmp_path: Path
) -> None:
    city = tmp_path / "city"
    shutil.copytree(trained.data_dir, city, ignore=shutil.ignore_patterns(".cache"))
    out = tmp_path / "out"
    command = ("tools.baselines", "--data_dir", city, "--only", "shortest_path", "--num_gene", "9")
    (out / "mine").mkdir(parents=True)
    (out / "mine" / "shortest_path.csv").write_text("mine")
    assert_refused(programs.run(*command, "--output_dir", out / "mine"), "shortest_path.csv")
    assert (out / "mine" / "shortest_path.csv").read_text() == "mine"
    for _ in range(2):
        assert_succeeded(programs.run(*command, "--output_dir", out))
    network = RoadNetwork.load(city)
    check_record(out / "shortest_path.csv", network)
    with pytest.raises(UserError, match="was made from other things: network"):
        check_record(out / "shortest_path.csv", replace(network, content_hash="0" * 64))


def test_files_of_one_name_are_told_apart() -> None:
    files = [Path("a/trips.csv"), Path("b/trips.csv"), Path("plots.csv")]
    assert list(unique_names(files)) == ["trips", "trips_2", "plots_2"]
