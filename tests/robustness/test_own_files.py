"""Nothing is written over what the program did not write: names that clash, folders in use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from config import Config, load_evaluation_config
from data.demo_city import make_demo_city
from data.match.work_folder import open_work
from data.osm.export import export_osm
from data.preprocess import ensure_zones
from data.preprocess.__main__ import main as zones_main
from evaluation import evaluate
from evaluation import main as evaluation_main
from gene import Execution, generate
from metrics.reference import Settings
from pipeline.likelihood import likelihood_auc
from pipeline.plan import make_plan
from python_pipeline import run_pipeline
from report.claim import fresh_folder
from runtime.errors import UserError
from runtime.placing import placing
from runtime.written import RECORD_NAME
from search.student import open_city
from tests.robustness.programs import Programs, assert_refused
from tests.training_helpers import distilled, tiny_config
from tools.collect_distill_artifacts import collect
from train_with_distill import train
from training.folder import RunFolder
from tune_hoser import tune
from tuning.plots import write_plots

NO_INTERVALS = Settings(bootstrap=0)


def make_trips(config: Config, output: Path, resume: bool = False, seed: int = 0) -> Path:
    """A few trips without a student's help."""
    config, model = config.model_copy(deep=True), RunFolder.of(config).best
    config.training.seed = seed
    return generate(
        config,
        output=output,
        num_gene=6,
        search="shortest_path",
        model_path=model,
        execution=Execution(resume=resume),
    ).output


def test_outputs_with_a_dot_have_records_of_their_own(trained: Config, tmp_path: Path) -> None:
    for name in ("lam0.1", "lam0.5", "trips.csv"):
        make_trips(trained, tmp_path / name)
    names = {"lam0.1.json", "lam0.5.json", "trips.json"}
    assert {path.name for path in tmp_path.glob("*.json")} == names
    with pytest.raises(UserError, match=r"lam0\.5"):
        make_trips(trained, tmp_path / "lam0.5", seed=1, resume=True)
    with pytest.raises(UserError, match=r"trips\.json is in the way"):
        make_trips(trained, tmp_path / "trips")


@pytest.mark.parametrize("name", ["val.csv", "metrics.csv", "roadmap.geo", "config.yaml"])
def test_trips_are_not_written_over_other_files(trained: Config, tmp_path: Path, name: str) -> None:
    for file in (Path(trained.data_dir) / "val.csv", Path(trained.data_dir) / "roadmap.geo"):
        shutil.copy(file, tmp_path)
    shutil.copy(RunFolder.of(trained).metrics, tmp_path)
    shutil.copy(RunFolder.of(trained).config, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for resume in (False, True):
        with pytest.raises(UserError, match=name.split(".")[0]):
            make_trips(trained, tmp_path / name, resume)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_results_are_not_written_over_other_results(trained: Config, tmp_path: Path) -> None:
    first = make_trips(trained, tmp_path / "first.csv")
    second = make_trips(trained, tmp_path / "second.csv", seed=1)
    out = tmp_path / "out"
    where: dict[str, Any] = {"data_dir": trained.data_dir, "output_dir": out, "report": False}
    evaluate(first, settings=NO_INTERVALS, **where)
    evaluate(first, settings=NO_INTERVALS, **where)  # the same once more
    kept = (out / "results.json").read_bytes()
    for trips, settings in ((second, NO_INTERVALS), (first, Settings(bootstrap=0, grid_size=0.01))):
        with pytest.raises(UserError, match="holds the results of another evaluation"):
            evaluate(trips, settings=settings, **where)
    assert (out / "results.json").read_bytes() == kept
    evaluate(second, settings=NO_INTERVALS, replace=True, **where)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "report.html").write_text("mine")
    with pytest.raises(UserError, match=r"report\.html is in the way"):
        evaluate(first, settings=NO_INTERVALS, **{**where, "output_dir": tmp_path / "own"})


def test_results_of_other_training_trips_or_scenarios_are_not_written_over(
    trained: Config, tmp_path: Path
) -> None:
    city = tmp_path / "city"
    shutil.copytree(trained.data_dir, city, ignore=shutil.ignore_patterns(".cache"))
    trips = make_trips(trained, tmp_path / "trips.csv")
    own = tmp_path / "own.yaml"
    own.write_text("scenarios: {mornings: {description: early, hours: [[6, 12]]}}\n")

    def run(**changes: Any) -> None:
        settings = replace(NO_INTERVALS, **changes)
        evaluate(trips, city, settings=settings, output_dir=tmp_path / "out", report=False)

    run()
    for changes in ({"behaviour": False}, {"scenarios": str(own)}):
        with pytest.raises(UserError, match=f"{next(iter(changes))} differs"):
            run(**changes)
    lines = (city / "train.csv").read_text().splitlines(keepends=True)
    (city / "train.csv").write_text("".join(lines[: len(lines) // 2]))
    with pytest.raises(UserError, match=r"train\.csv is"):
        run()
    results = tmp_path / "out" / "results.json"
    known = json.loads(results.read_text())
    for name in ("behaviour", "scenarios"):  # as earlier versions wrote it
        del known["metadata"][name]
    del known["metadata"]["inputs"]["train"]
    results.write_text(json.dumps(known))
    run()


def test_comparisons_are_not_written_over_others(trained: Config, tmp_path: Path) -> None:
    names = ("a.csv", "b.csv", "comparison.json.csv")
    trips = [make_trips(trained, tmp_path / name, seed=i) for i, name in enumerate(names)]
    common = ["--data_dir", trained.data_dir, "--output_dir", str(tmp_path / "out")]
    common += ["--bootstrap", "0", "--no_report", "--generated_file"]
    assert evaluation_main([*common, *map(str, trips)]) == 0
    assert isinstance(json.loads((tmp_path / "out" / "comparison.json").read_text()), list)
    with pytest.raises(UserError, match="holds the comparison of"):
        evaluation_main([*common, *map(str, trips[:2])])


def test_folders_of_the_same_second_differ(tmp_path: Path) -> None:
    assert len({fresh_folder(tmp_path) for _ in range(5)}) == 5


BAD_NAMES: list[tuple[str, str]] = [("...pth", "folder's name"), ("comparison.json.pth", "rename")]


@pytest.mark.parametrize(("name", "reason"), BAD_NAMES)
def test_models_cannot_leave_or_break_the_folder_of_results(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).touch()
    with pytest.raises(UserError, match=reason):
        make_plan(load_evaluation_config(None, {"eval_dir": str(tmp_path)}))


def test_trips_cannot_leave_the_folder_of_results(trained: Config, tmp_path: Path) -> None:
    odd, plain = (make_trips(trained, tmp_path / name) for name in ("...csv", "plain.csv"))
    out = tmp_path / "deep" / "out"
    arguments = ["--data_dir", trained.data_dir, "--output_dir", str(out), "--bootstrap", "0"]
    with pytest.raises(UserError, match="folder's name"):
        evaluation_main([*arguments, "--generated_file", str(odd), str(plain)])
    assert not list((tmp_path / "deep").glob("*.json"))


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a/b"])
def test_a_dataset_cannot_leave_the_folder_of_trips(
    trained: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    published = shutil.copy(RunFolder.of(trained).best, tmp_path / "published.pth")
    with pytest.raises(UserError, match="folder's name"):
        changed = trained.model_copy(update={"dataset": name})
        generate(changed, model_path=published, num_gene=2)


Damage = Callable[[dict[str, object]], None]
UNFIT: list[tuple[str, Damage, str]] = [
    ("unfinished", lambda record: record.update(status="running"), "is unfinished"),
    (
        "another city",
        lambda record: record["inputs"].update(network="0" * 64),  # type: ignore[attr-defined]
        "network is 000000000000",
    ),
]


@pytest.mark.parametrize(("damage", "reason"), [each[1:] for each in UNFIT], ids=["begun", "city"])
def test_trips_that_do_not_belong_here_are_not_measured(
    trained: Config, tmp_path: Path, damage: Damage, reason: str
) -> None:
    trips = make_trips(trained, tmp_path / "trips.csv")
    record = json.loads(trips.with_suffix(".json").read_text())
    damage(record)
    trips.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=reason):
        evaluate(trips, trained.data_dir, settings=NO_INTERVALS, output_dir=tmp_path / "out")
    trips.with_suffix(".json").unlink()  # nothing is known of it then, as of published files
    evaluate(trips, trained.data_dir, settings=NO_INTERVALS, output_dir=tmp_path / "out")


def test_trips_changed_after_their_generation_are_said(
    trained: Config, tmp_path: Path, messages: list[str]
) -> None:
    trips = make_trips(trained, tmp_path / "trips.csv")
    evaluate(trips, trained.data_dir, settings=NO_INTERVALS, output_dir=tmp_path / "a")
    assert not any("was changed" in line for line in messages)
    trips.write_bytes(b"".join(trips.read_bytes().splitlines(keepends=True)[:-1]))
    evaluate(trips, trained.data_dir, settings=NO_INTERVALS, output_dir=tmp_path / "b")
    assert any("was changed after gene.py" in line for line in messages)


def test_trips_of_another_student_than_the_run_s_are_said(
    trained: Config, tmp_path: Path, messages: list[str]
) -> None:
    trips = make_trips(trained, tmp_path / "trips.csv")
    shutil.copytree(RunFolder.of(trained).path, tmp_path / "run")
    settings: dict[str, Any] = {"settings": NO_INTERVALS, "report": False}
    settings |= {"data_dir": trained.data_dir, "run_dir": tmp_path / "run"}

    def said() -> int:
        evaluate(trips, output_dir=tmp_path / "out", **settings)
        collect("b", tmp_path / "run", trips, tmp_path, data_dir=trained.data_dir, force=True)
        return sum("another student" in line for line in messages)

    assert said() == 0
    with (tmp_path / "run" / "best.pth").open("ab") as file:
        file.write(b"changed")
    assert said() == 2


def put(*places: Path) -> None:
    """Somebody's own file at each place."""
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"mine at {place.name}")


def assert_kept(*places: Path) -> None:
    """Each of them was moved aside, and something else is in its place."""
    for place in places:
        asides = list(place.parent.glob(f"{place.name}.2*"))
        assert [aside.read_text() for aside in asides] == [f"mine at {place.name}"], place
        assert place.read_bytes() != asides[0].read_bytes()


def test_a_student_without_a_state_is_moved_aside(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path / "save", optimizer_config__max_epoch=1)
    folder = RunFolder.of(config)
    put(folder.best)
    train(config)
    (moved,) = folder.path.parent.glob(f"{folder.path.name}.*")
    assert (moved / "best.pth").read_text() == "mine at best.pth"
    written = folder.best.read_bytes()
    train(config)  # its own is found again
    assert folder.best.read_bytes() == written and folder.latest.exists()
    put(folder.config)
    train(config)
    assert_kept(folder.config)


def test_own_files_in_an_evaluation_folder_are_moved_aside(
    trained: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.latency.PATIENCE_S", 0.1)
    (tmp_path / "models").mkdir()
    shutil.copy(RunFolder.of(trained).best, tmp_path / "models" / "vanilla.pth")
    trips = tmp_path / "gene" / "vanilla" / "seed42" / "testod_beam1.csv"
    comparison = tmp_path / "eval" / "seed42"
    results = comparison / "vanilla" / "testod_beam1"
    mine = [comparison / f"comparison.{kind}" for kind in ("json", "md", "png")]
    mine += [comparison / f"{name}.json" for name in ("groups", "searches", "yardsticks")]
    mine += [comparison / "leakage.json", trips.with_suffix(".latency.json")]
    mine += [results / name for name in ("results.json", "ledger.json", "trajectory_metrics.json")]
    put(*mine)
    published = make_trips(trained, tmp_path / "published.csv").read_bytes()
    trips.parent.mkdir(parents=True, exist_ok=True)
    trips.write_bytes(published)
    changes: dict[str, Any] = {"data_dir": trained.data_dir, "eval_dir": str(tmp_path)}
    changes |= {"od_sources": ["test"], "num_gene": 8, "bootstrap": 0, "max_steps": 40}
    changes |= {"searches": ["beam:1", "shortest_path"], "baselines": ["fastest_path"]}
    changes |= {"groups": "auto", "leakage": True, "report": False}

    def run(**more: Any) -> set[str]:
        done = run_pipeline(load_evaluation_config(None, {**changes, **more}))
        assert not [each.error for each in done if each.error]
        return {each.evaluation for each in done}

    assert run() == {"done"}
    assert_kept(*mine)
    (aside,) = trips.parent.glob(f"{trips.name}.2*")
    assert aside.read_bytes() == published != trips.read_bytes()
    listing = {path for path in tmp_path.rglob("*") if path.name != RECORD_NAME}
    assert run() == {"up to date"}
    put(results / "results.json", comparison / "comparison.md")
    assert run(force=True) == {"done"}
    for record in tmp_path.rglob(RECORD_NAME):
        record.unlink()  # as earlier versions left it: the ledgers vouch for the files
    assert run(grid_size=0.002) == {"done"}
    assert {path for path in tmp_path.rglob("*") if path.name != RECORD_NAME} == listing


def test_own_files_in_a_study_are_moved_aside(tiny_city: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"search_space__window": None, "final_run__enabled": False}
    settings |= {"n_trials": 1, "max_epochs": 1, "plots": False}
    settings |= {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "own"}
    settings |= {f"{name}_dir": str(tmp_path / name) for name in ("results", "trials")}
    changes = {f"optuna__{name}": value for name, value in settings.items()}
    config = tiny_config(
        tiny_city,
        tmp_path / "save",
        optimizer_config__max_epoch=1,
        **distilled(tiny_city, **changes),
    )
    results, trial = tmp_path / "results" / "own", tmp_path / "trials" / "trial_000_vanilla_running"
    mine = [results / "study_summary.json", results / "report.md"]
    put(
        *mine,
        results / "best_trial",
        trial / "model" / "config.yaml",
        trial / "log" / "metrics.json",
    )
    for _ in range(2):  # done already the second time
        assert tune(config).finished
        assert_kept(*mine)
    assert (results / "best_trial").is_symlink()
    (aside,) = results.glob("best_trial.2*")
    assert aside.read_text() == "mine at best_trial"
    done = trial.with_name("trial_000_vanilla_complete")
    assert_kept(done / "model" / "config.yaml", done / "log" / "metrics.json")


def test_own_files_in_the_place_of_a_study_s_pictures_are_moved_aside(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    mine = [tmp_path / name for name in ("timeline.html", "plotly.min.js")]
    put(*mine)
    with placing("tune_hoser.py", tmp_path):
        written = write_plots(study, ["accuracy"], tmp_path)
        assert mine[0] in written
        assert_kept(*mine)
        listing = sorted(tmp_path.iterdir())
        mine[1].write_bytes(mine[1].read_bytes()[:1000])  # as a full disk once left it
        write_plots(study, ["accuracy"], tmp_path)
    assert mine[1].stat().st_size > 1_000_000
    assert sorted(path for path in tmp_path.iterdir() if path in listing) == listing


def test_own_files_in_the_place_of_a_matching_s_work_are_moved_aside(tmp_path: Path) -> None:
    work, notes = tmp_path / ".match", tmp_path / ".match" / "notes.txt"
    put(notes)
    assert open_work(tmp_path, "first") == work and not notes.exists()
    (aside,) = tmp_path.glob(".match.2*")
    assert (aside / "notes.txt").read_text() == "mine at notes.txt"
    (work / "points-0.bin").touch()
    open_work(tmp_path, "second")
    (work / "job.json").rename(work / ".job.json.12345678.tmp")  # killed before it had its name
    open_work(tmp_path, "third")
    assert [path.name for path in work.iterdir()] == ["job.json"]
    shutil.rmtree(work)
    put(work)
    open_work(tmp_path, "fourth")
    kept = {path for path in tmp_path.glob(".match.2*") if path.is_file()}
    assert [path.read_text() for path in kept] == ["mine at .match"]
    assert len(list(tmp_path.iterdir())) == 3


def test_own_zones_and_a_city_s_record_are_not_replaced(tiny_city: Path, tmp_path: Path) -> None:
    city = tmp_path / "city"
    shutil.copytree(tiny_city, city, ignore=shutil.ignore_patterns(".*", "zone*"))
    (city / "road_network_partition").unlink(missing_ok=True)
    put(city / "zone_trans_mat.npy", city / "zones.json")
    ensure_zones(city, 12)
    assert_kept(city / "zone_trans_mat.npy", city / "zones.json")
    ensure_zones(city, 12, force=True)
    assert_kept(city / "zone_trans_mat.npy")
    put(tmp_path / "demo" / "demo_city.json")
    with pytest.raises(UserError, match=r"demo_city\.json is in the way"):
        make_demo_city(tmp_path / "demo", 200, 60, progress=False)


def test_zones_that_are_kept_are_those_of_the_dataset(tiny_city: Path, tmp_path: Path) -> None:
    city = tmp_path / "city"
    shutil.copytree(tiny_city, city, ignore=shutil.ignore_patterns(".cache"))
    zones_main(["--data_dir", str(city)])
    lines = (city / "roadmap.rel").read_text().splitlines(keepends=True)
    (city / "roadmap.rel").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match="made for another road network"):
        zones_main(["--data_dir", str(city)])


MINE: list[tuple[str, str, tuple[str, ...]]] = [
    ("match_report.json", "data.match", ("--gps", "{here}/points.csv", "--data_dir", "{out}")),
    ("roadmap.json", "data.osm", ("--pbf", "{here}/map.osm", "--out", "{out}")),
    (
        "plots/mine.png",
        "evaluation.py",
        ("--generated_file", "{here}/trips.csv", "--data_dir", "{city}", "--output_dir", "{out}"),
    ),
]


@pytest.mark.parametrize(("name", "program", "words"), MINE, ids=[each[1] for each in MINE])
def test_what_stands_beside_results_is_not_replaced(
    programs: Programs,
    trained: Config,
    tmp_path: Path,
    name: str,
    program: str,
    words: tuple[str, ...],
) -> None:
    city, out = Path(trained.data_dir), tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    if program == "data.match":
        for each in ("roadmap.geo", "roadmap.rel"):
            shutil.copy(city / each, out)
        (tmp_path / "points.csv").write_text("time,lat,lon\n1,1,1\n")
    elif program == "data.osm":
        export_osm(city, tmp_path / "map.osm")
    else:
        make_trips(trained, tmp_path / "trips.csv")
    places = {"here": tmp_path, "out": out, "city": city}
    assert_refused(programs.run(program, *(word.format(**places) for word in words)), str(out))
    assert (out / name).read_text() == "mine"


def test_a_student_of_other_trips_is_no_witness(
    trained: Config, tmp_path: Path, messages: list[str]
) -> None:
    city = tmp_path / "city"
    shutil.copytree(trained.data_dir, city, ignore=shutil.ignore_patterns(".cache"))
    lines = (city / "train.csv").read_text().splitlines(keepends=True)
    (city / "train.csv").write_text("".join(lines[: len(lines) // 2]))
    likelihood_auc(open_city(Config(data_dir=str(city)), RunFolder.of(trained).best))
    assert any("was trained on other trips" in line for line in messages)
