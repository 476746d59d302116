"""The pipeline over a folder of models: what it makes, what it skips, what it survives."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from config import dump_config, load_evaluation_config
from config.evaluation import EvaluationConfig
from pipeline.plan import Job, Plan, make_plan, searches_of
from python_pipeline import main, run_pipeline
from runtime.errors import UserError
from runtime.wandb_sync import BackgroundSync
from search.searches import label_of
from tests.programs import environment, server
from tests.training_helpers import tiny_config
from train_with_distill import TrainResult

ROOT = Path(__file__).parent.parent
SCRIPTS = ("run_gene_eval_pipeline.sh", "run_all_seeds.sh")
BASE = {"dataset": "parity", "data_dir": "city", "num_gene": 8, "bootstrap": 50, "beam_width": 2}


@pytest.fixture
def folder(parity_dir: Path, tmp_path: Path) -> Path:
    """An evaluation folder with the published student under two names."""
    shutil.copytree(parity_dir / "city", tmp_path / "city")
    (tmp_path / "models").mkdir()
    for name in ("distilled", "vanilla"):
        shutil.copy(parity_dir / "hoser_state.pth", tmp_path / "models" / f"{name}.pth")
    return tmp_path


def run(folder: Path, **changes: Any) -> dict[tuple[str, str], tuple[str, str]]:
    """What became of generation and evaluation, by model and OD source."""
    settings = {**BASE, "eval_dir": str(folder), **changes}
    results = run_pipeline(load_evaluation_config(None, settings))
    return {
        (each.job.model.name, each.job.od_source): (each.generation, each.evaluation)
        for each in results
    }


def test_whole_run_then_only_what_changed(folder: Path) -> None:
    done = run(folder)
    assert set(done) == {(m, s) for m in ("vanilla", "distilled") for s in ("train", "test")}
    assert set(done.values()) == {("done", "done")}
    results = folder / "eval" / "seed42"
    assert (results / "report.html").exists()
    comparisons = json.loads((results / "comparison.json").read_text())
    assert [each["od_source"] for each in comparisons] == ["train", "test"]
    assert comparisons[0]["models"] == ["vanilla", "distilled"]
    vanilla = results / "vanilla" / "testod_beam2"
    assert json.loads((vanilla / "results.json").read_text())["pairs"] >= 0

    report_time = (results / "report.html").stat().st_mtime_ns
    assert set(run(folder).values()) == {("up to date", "up to date")}
    assert (results / "report.html").stat().st_mtime_ns == report_time

    (vanilla / "results.json").write_text("{}")  # damaged: measured again, not generated again
    again = run(folder, report=False)
    assert again.pop(("vanilla", "test")) == ("up to date", "done")
    assert set(again.values()) == {("up to date", "up to date")}

    assert set(run(folder, grid_size=0.002, report=False).values()) == {("up to date", "done")}
    changed = run(folder, models=["vanilla"], od_sources=["test"], num_gene=9, report=False)
    assert changed == {("vanilla", "test"): ("done", "done")}
    forced = run(folder, models=["vanilla"], od_sources=["test"], report=False, force=True)
    assert forced == {("vanilla", "test"): ("done", "done")}


def test_searches_of_a_plan_have_beams_or_fitted_costs() -> None:
    asked = ["beam:16", "astar", "astar:fitted"]
    found = searches_of(EvaluationConfig(searches=asked, detour_cost=2.0))
    assert [label_of(search) for search in found] == ["beam16", "astar", "astar_fitted"]
    assert [search.detour_cost for search in found] == [2.0, 2.0, 0.0]
    (drawn,) = searches_of(EvaluationConfig(searches=["sample:fitted"], beam_width=2))
    assert label_of(drawn) == "sample_fitted" and drawn.beam_width is None
    for wrong in ("beam:fitted", "astar:dear", "walk"):
        with pytest.raises(UserError, match="astar:fitted"):
            searches_of(EvaluationConfig(searches=[wrong]))


@pytest.mark.parametrize(
    ("asked", "changes"),
    [
        (["beam", "beam:4"], {"beam_width": None}),
        (["astar", "astar:4"], {}),
        (["astar", "astar:fitted"], {"costs": "fitted"}),
        (["sample:4", "sample"], {"beam_width": 4}),
    ],
)
def test_two_spellings_of_a_search_are_one(
    folder: Path, asked: list[str], changes: dict[str, Any]
) -> None:
    settings = {**BASE, "eval_dir": str(folder), "od_sources": ["test"], **changes}
    plan = make_plan(load_evaluation_config(None, {**settings, "searches": asked}))
    assert [job.name for job in plan.jobs] == ["vanilla", "distilled"]
    assert not plan.compares_searches
    more = make_plan(load_evaluation_config(None, {**settings, "searches": [*asked, "beam:1"]}))
    assert len({job.generated_file for job in more.jobs}) == len(more.jobs) == 4
    assert more.compares_searches


def test_groups_searches_and_baselines_of_a_study(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.latency.PATIENCE_S", 0.2)
    for kind in ("vanilla", "distilled"):
        (folder / "models" / f"{kind}.pth").rename(folder / "models" / f"{kind}_seed1.pth")
        shutil.copy(
            folder / "models" / f"{kind}_seed1.pth", folder / "models" / f"{kind}_seed2.pth"
        )
    study = {
        "od_sources": ["test"],
        "searches": ["beam:1", "shortest_path"],
        "max_steps": 40,
        "baselines": ["markov_1", "fastest_path"],
        "groups": {"vanilla": "vanilla_*", "taught": "distilled_*"},
        "plots": ["svg"],
        "leakage": True,
    }
    done = run(folder, **study)
    assert len(done) == 6 and set(done.values()) == {("done", "done")}
    results, kinds = folder / "eval" / "seed42", ("vanilla", "taught")
    (groups,) = json.loads((results / "groups.json").read_text())
    searched = [f"{kind} {search}" for search in ("beam1", "shortest_path") for kind in kinds]
    assert list(groups["groups"]) == [*searched, "markov_1", "fastest_path"]
    assert groups["warnings"] and groups["groups"]["taught beam1"] == ["1", "2"]
    table = (results / "searches.md").read_text()
    assert table.count("| vanilla_seed1 |") == 2
    assert (results / "searches.tex").exists()
    page = (results / "report.html").read_text()
    for key in ("groups", "searches", "behaviour", "yardsticks", "privacy"):
        assert f'"key":"{key}"' in page
    yardsticks = (results / "yardsticks.md").read_text()
    assert " *" in yardsticks and " of 1" in yardsticks  # a best yardstick, measures won
    assert (results / "plots" / "measures_test.svg").exists()
    leaks = json.loads((results / "leakage.json").read_text())
    asked = ("vanilla_seed1 beam1", "distilled_seed1 beam1", "markov_1", "fastest_path")
    assert list(leaks) == [f"{name}, test" for name in asked]  # of one search
    assert leaks["markov_1, test"]["likelihood_auc"] is None
    assert 0 <= leaks["vanilla_seed1 beam1, test"]["likelihood_auc"] <= 1
    assert set(run(folder, **study).values()) == {("up to date", "up to date")}
    with pytest.raises(UserError, match="evaluate that seed first"):
        run(folder, **study, seeds=[42, 43], force=False)


def test_utility_is_a_section(folder: Path) -> None:
    quick = tiny_config(folder / "city", folder / "save", optimizer_config__max_epoch=1)
    (folder / "quick.yaml").write_text(dump_config(quick))
    study = {"od_sources": ["test"], "baselines": ["shortest_path"], "num_gene": 12}
    (folder / "models").rename(folder / "unused")  # a yardstick by itself
    run(folder, **study, utility=True, model_config_file="quick.yaml")
    results = folder / "eval" / "seed42"
    (table,) = json.loads((results / "utility.json").read_text())["tables"]
    assert [row[0] for row in table["rows"]][:2] == ["real trips", "shortest_path, test"]
    assert '"key":"utility"' in (results / "report.html").read_text()
    (shared,) = (folder / "utility" / "seed42").glob("real_trips_*")  # for every model
    assert (shared / "figures.json").exists()


def test_bad_rows_are_skipped_for_models_and_yardsticks_alike(
    folder: Path, messages: list[str]
) -> None:
    for split in ("train", "test"):
        with (folder / "city" / f"{split}.csv").open("a") as file:
            file.write("7,7,0,nowhere,never\n")
    only = {"models": ["vanilla"], "od_sources": ["test"], "baselines": ["markov_1"]}
    refused = run(folder, **only, skip_eval=True)
    assert {generation for generation, _ in refused.values()} == {"failed"}
    assert any("set on_bad_rows (" in line for line in messages)
    done = run(folder, **only, report=False, on_bad_rows="skip")
    assert len(done) == 2 and set(done.values()) == {("done", "done")}


def test_changed_model_or_dataset_is_generated_anew(folder: Path) -> None:
    only = {"models": ["vanilla"], "od_sources": ["test"], "report": False}
    run(folder, **only)
    with (folder / "city" / "test.csv").open("a") as file:
        rows = list(csv.reader((folder / "city" / "train.csv").open()))
        csv.writer(file).writerow(rows[1])
    assert run(folder, **only) == {("vanilla", "test"): ("done", "done")}


def test_trips_are_made_anew_after_train_csv_or_the_zones_changed(folder: Path) -> None:
    only = {"models": ["vanilla"], "od_sources": ["test"], "skip_eval": True}
    assert run(folder, **only) == {("vanilla", "test"): ("done", "not asked for")}
    train = folder / "city" / "train.csv"
    rows = train.read_text().splitlines(keepends=True)
    train.write_text("".join(rows[:-1]))  # another travel time's mean
    assert run(folder, **only) == {("vanilla", "test"): ("done", "not asked for")}
    zones = folder / "city" / "road_network_partition"
    lines = zones.read_text().split()
    lines[0], lines[-1] = lines[-1], lines[0]
    zones.write_text("\n".join(lines) + "\n")
    refused = {("vanilla", "test"): ("failed", "not asked for")}  # the student knows its zones
    assert run(folder, **only) == refused


def written_at_once(job: Job, plan: Plan, **how: Any) -> dict[str, float]:
    """In place of a generator, where only what is made anew is asked."""
    job.generated_file.parent.mkdir(parents=True, exist_ok=True)
    job.generated_file.write_text(job.title)
    return {}


def test_trips_that_ask_validation_trips_are_made_anew_after_these_changed(
    folder: Path, vanilla_run: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.steps.run_generator", written_at_once)
    shutil.copy(vanilla_run.checkpoint, folder / "models" / "knows_its_times.pth")
    only = {"od_sources": ["test"], "baselines": ["shortest_path"], "skip_eval": True}
    searches = ({"times": "drawn"}, {"times": "expected", "beam_width": 1})
    fitted = {"times": "expected", "search": "astar", "costs": "fitted"}

    def made_anew() -> list[set[str]]:
        found = [run(folder, **only, **search) for search in (*searches, fitted)]
        return [
            {model for (model, _), (made, _) in each.items() if made == "done"} for each in found
        ]

    assert made_anew()[0] == {"vanilla", "distilled", "knows_its_times", "shortest_path"}
    assert made_anew() == [set(), set(), set()]
    val = folder / "city" / "val.csv"
    val.write_text("".join(val.read_text().splitlines(keepends=True)[:-1]))
    # The published students do not say how their travel times spread.
    students = {"vanilla", "distilled"}
    assert made_anew() == [students, set(), students | {"knows_its_times"}]
    val.unlink()
    assert made_anew()[1] == set()


def test_figures_of_other_measures_are_not_up_to_date(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = {"models": ["vanilla"], "od_sources": ["test"], "report": False}
    run(folder, **only)
    monkeypatch.setattr("pipeline.steps.measures_version", lambda: "another")
    assert run(folder, **only) == {("vanilla", "test"): ("up to date", "done")}


def test_broken_model_does_not_stop_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "models" / "broken.pth").write_bytes(b"no checkpoint")
    arguments = ["--eval-dir", str(folder), "--dataset", "parity", "--data-dir", "city"]
    arguments += ["--num-gene", "5", "--od-source", "test", "--beam-width", "2"]
    monkeypatch.setattr("sys.argv", ["python_pipeline.py", *arguments, "--set", "bootstrap=20"])
    assert main() == 1
    shown = capsys.readouterr()
    assert "failed: broken on test OD pairs" in shown.err and "Traceback" not in shown.err
    for model in ("vanilla", "distilled"):
        assert f"{model} on test OD pairs" in shown.out
    assert "OD pairs of test" in shown.out and "Hausdorff (km)" in shown.out
    assert (folder / "eval" / "seed42" / "distilled" / "testod_beam2" / "results.json").exists()


def test_killed_generation_goes_on_where_it_stopped(folder: Path) -> None:
    only = {"models": ["vanilla"], "od_sources": ["test"], "skip_eval": True}
    run(folder, **only)
    file = folder / "gene" / "vanilla" / "seed42" / "testod_beam2.csv"
    ledger = file.with_suffix(".ledger.json")
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:4]) + lines[4][:20])  # as a kill would leave it
    ledger.write_text(ledger.read_text().replace('"done"', '"begun"'))
    assert run(folder, **only) == {("vanilla", "test"): ("done", "not asked for")}
    assert file.read_bytes() == whole
    performance = json.loads(file.with_suffix(".json").read_text())
    assert performance["resumed"] == 3


def test_finished_trips_that_were_changed_are_made_anew_not_gone_on_with(folder: Path) -> None:
    only = {"models": ["vanilla"], "od_sources": ["test"], "skip_eval": True, "times": "expected"}
    run(folder, **only)
    file = folder / "gene" / "vanilla" / "seed42" / "testod_beam2.csv"
    whole = file.read_text()
    for changed in (whole.replace("[", "[0, ", 1), whole.replace("[", "x", 1)[:-9] + "\n"):
        file.write_text(changed)
        assert run(folder, **only) == {("vanilla", "test"): ("done", "not asked for")}
        assert file.read_text() == whole
    assert json.loads(file.with_suffix(".json").read_text())["resumed"] == 0


def test_skip_gene_evaluates_what_is_there(folder: Path, parity_dir: Path) -> None:
    only = {"models": ["vanilla"], "od_sources": ["test"], "skip_gene": True}
    assert run(folder, **only) == {("vanilla", "test"): ("not asked for", "failed")}
    file = folder / "gene" / "vanilla" / "seed42" / "testod_beam2.csv"
    file.parent.mkdir(parents=True)
    shutil.copy(parity_dir / "generated.csv", file)
    assert run(folder, **only) == {("vanilla", "test"): ("not asked for", "done")}
    results = folder / "eval" / "seed42" / "vanilla" / "testod_beam2" / "results.json"
    assert json.loads(results.read_text())["pairs"] == 20


def test_wandb_runs_have_their_names_and_stay_offline(folder: Path, no_accounts: None) -> None:
    run(
        folder,
        models=["vanilla"],
        od_sources=["test"],
        beam_width=4,
        report=False,
        **{"wandb.enable": True, "wandb.background_sync": True},
    )
    runs = list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    content = b"".join(file.read_bytes() for file in runs)
    assert len(runs) == 2
    assert b"gene_vanilla_seed42_testod_beam4" in content
    assert b"eval_vanilla_seed42_testod" in content
    assert b"generated-trips" not in content  # artifacts only where asked for


def test_background_sync_neither_blocks_nor_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    broken = tmp_path / "offline-run-20200101_000000-abc"
    broken.mkdir()
    sync = BackgroundSync(tmp_path / "sync.log", enabled=True)
    started = time.perf_counter()
    sync.start(broken)
    sync.start(None)
    sync.report()
    assert time.perf_counter() - started < 15.0  # sending retries for minutes
    assert len(sync.processes) == 1
    for process in sync.processes:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"models": ["missing"]}, "no model missing.*distilled, vanilla"),
        ({"models_dir": "nowhere"}, "nowhere does not exist"),
        ({"models_dir": "city"}, "holds no .pth"),
        ({"eval_dir": "nowhere"}, "nowhere does not exist"),
        ({"data_dir": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_mistakes_say_what_is_there(folder: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        run(folder, **changes)


def test_names_follow_the_search(folder: Path) -> None:
    settings = {**BASE, "eval_dir": str(folder), "seed": 7, "beam_search": False}
    plan = make_plan(load_evaluation_config(None, settings))
    job = next(
        job for job in plan.jobs if job.model.name == "distilled" and job.od_source == "train"
    )
    assert job.gene_run == "gene_distilled_seed7_trainod_astar"
    assert job.eval_run == "eval_distilled_seed7_trainod"


def test_what_no_search_reads_is_said(folder: Path, messages: list[str]) -> None:
    only = {"models": ["vanilla"], "od_sources": ["test"], "skip_eval": True}
    run(folder, search="shortest_path", **only)
    assert sum("beam_width has no say" in line for line in messages) == 1
    messages.clear()
    run(folder, searches=["shortest_path", "beam"], **only)
    assert not [line for line in messages if "has no say" in line]


def test_shell_scripts_pass_their_flags_on(folder: Path) -> None:
    for name in (*SCRIPTS, "python_pipeline.py"):
        shutil.copy(ROOT / name, folder / name)  # where there is no .venv: `python3` is taken
    path = f"{server().folder}{os.pathsep}{os.environ['PATH']}"
    server().wait_until_ready()

    def shell(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, env = [f"./{script}", *arguments], environment(PATH=path)
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)

    one_seed, all_seeds = SCRIPTS
    flags = ["--models", "missing", "--eval-dir", ".", "--data-dir", "city"]
    one = shell(one_seed, *flags)
    assert one.returncode == 2 and "no model missing" in one.stderr
    several = shell(all_seeds, "--seeds", "1,2", *flags)
    assert several.returncode == 1
    assert several.stderr.count("no model missing") == 2
    assert "Failed seeds: 1 2" in several.stderr
    assert shell(all_seeds, "--seeds", "1 x").returncode == 2
