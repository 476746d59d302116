"""Whole studies in this process: what they leave, how they go on, prune, fail and end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import training.resources
import tune_hoser
from config import Config, load_config
from critics.registry import require_teacher
from models.checkpoint import read_student_file
from runtime.errors import UserError
from tests.tune_helpers import TinyCity, summary_of, trial_names
from train_with_distill import train
from training.checkpoint import calibrated_at
from training.folder import RunFolder
from training.resources import ResourcePool
from tune_hoser import plan, tune
from tuning.report import StudyResult


@pytest.fixture(scope="module")
def city(parity_city: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyCity:
    return TinyCity.make(parity_city, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def pool() -> ResourcePool:
    """Data and teachers, loaded once for all studies here."""
    return ResourcePool()


@pytest.fixture(scope="module")
def finished(
    city: TinyCity, pool: ResourcePool, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Config, StudyResult]:
    """A whole study: three trials, two seeds."""
    folder = tmp_path_factory.mktemp("study")
    config = city.config(folder, optuna__plots=True, optuna__final_run__num_gene=20)
    return folder, config, tune(config, pool=pool)


Finished = tuple[Path, Config, StudyResult]


def test_a_study_leaves_its_trials_where_the_documents_say(finished: Finished) -> None:
    folder, _, result = finished
    assert result.finished and result.exit_code == 0
    assert trial_names(folder) == [
        "trial_000_vanilla_complete",
        "trial_001_distilled_complete",
        "trial_002_distilled_complete",
    ]
    for name in trial_names(folder):
        run = folder / "trials" / name
        assert sorted(p.name for p in run.iterdir()) == ["log", "model", "tensorboard_log"]
        assert (run / "model" / "best.pth").exists()
        assert list((run / "tensorboard_log").glob("events.*"))
        assert "Epoch 2" in (run / "log" / "train.log").read_text()
        # Most trials' students never generate.
        assert _is_finished(run / "model" / "best.pth") == (False, False)
    for name, is_distilled in (("distilled_seed42", True), ("vanilla_seed42", False)):
        assert _is_finished(result.folder / "models" / f"{name}.pth") == (is_distilled, True)


def _is_finished(student: Path) -> tuple[bool, bool]:
    """Whether its logits are calibrated, and whether it knows how travel times spread."""
    knows_spread = read_student_file(student).travel_times is not None
    return calibrated_at(student) is not None, knows_spread


def test_trials_have_seeds_parameters_and_values_of_their_own(finished: Finished) -> None:
    trials = finished[2].trials
    assert [trial.mode for trial in trials] == ["vanilla", "distilled", "distilled"]
    assert [trial.seed for trial in trials] == [42, 43, 44]
    assert trials[0].params == {}
    for trial in trials[1:]:
        assert 0.001 <= trial.params["lambda"] <= 0.1 and 1 <= trial.params["temperature"] <= 5
        assert trial.params["window"] in (2, 3)
    assert all(trial.values == [trial.accuracy] and trial.epochs == 2 for trial in trials)
    assert trials[1].params != trials[2].params


def test_a_trial_is_the_training_its_record_describes(
    finished: Finished, pool: ResourcePool, tmp_path: Path
) -> None:
    trial = finished[2].trials[1]
    assert trial.folder is not None
    saved = load_config(Path(trial.folder) / "model" / "config.yaml")
    assert (saved.training.seed, saved.distill.lambda_) == (43, trial.params["lambda"])
    again = train(saved, pool=pool, folder=RunFolder(tmp_path / "run"))
    assert again.best_val_acc == trial.accuracy


def test_summary_link_and_report(finished: Finished) -> None:
    folder, _, result = finished
    summary = summary_of(folder)
    assert summary["counts"] == {"complete": 3} and summary["finished"]
    assert summary["search_space"]["lambda"] == {"low": 0.001, "high": 0.1, "log": True}
    best = max(trial["metrics"]["val_next_step_acc"] for trial in summary["trials"])
    assert summary["best_trial"]["metrics"]["val_next_step_acc"] == best
    link = result.folder / "best_trial"
    assert not link.readlink().is_absolute() and (link / "model" / "best.pth").exists()
    assert link.resolve() == Path(summary["best_trial"]["folder"]).resolve()
    text = (result.folder / "report.md").read_text()
    for part in ("## Trials", "## Best parameters", "seed 42 | seed 43 | mean ± std", "| p |"):
        assert part in text


def test_final_runs_compare_both_models_on_the_same_seeds(finished: Finished) -> None:
    folder, _, result = finished
    assert result.final is not None and result.best is not None
    runs = {(run.mode, run.seed) for run in result.final.runs if run.metrics}
    assert runs == {(mode, seed) for mode in ("vanilla", "distilled") for seed in (42, 43)}
    accuracy = result.comparisons[0]
    assert accuracy.metric == "val_next_step_acc" and set(accuracy.vanilla.by_seed) == {42, 43}
    rows = {row.metric: row for row in result.comparisons}
    nll, before = rows["val_next_step_nll"], rows["val_next_step_nll_uncalibrated"]
    assert before.vanilla == nll.vanilla and before.distilled.mean > nll.distilled.mean
    vanilla = load_config(result.folder / "final_runs/vanilla_seed43/model/config.yaml")
    distilled = load_config(result.folder / "final_runs/distilled_seed43/model/config.yaml")
    assert vanilla.training.seed == distilled.training.seed == 43
    assert not vanilla.distilling and distilled.distill.temperature == pytest.approx(
        result.final.params["temperature"]
    )
    assert sorted(path.stem for path in (result.folder / "models").glob("*.pth")) == [
        "distilled_seed42",
        "distilled_seed43",
        "vanilla_seed42",
        "vanilla_seed43",
    ]
    assert summary_of(folder)["final"]["comparisons"][0]["p_value"] == accuracy.p_value


def test_phase_2_ends_in_its_models_compared_over_seeds(finished: Finished) -> None:
    (table,) = finished[2].folder.glob("eval/seed*/groups.md")
    text = table.read_text()
    assert "vanilla (n = 2)" in text and "distilled (n = 2)" in text and "2 paired" in text


def test_pictures_need_no_network(finished: Finished) -> None:
    folder = finished[2].folder
    names = {path.stem for path in folder.glob("*.html")}
    assert {"optimization_history", "intermediate_values", "timeline", "slice"} <= names
    assert {"parallel_coordinate", "contour"} <= names
    assert (folder / "plotly.min.js").stat().st_size > 1_000_000
    for page in folder.glob("*.html"):
        text = page.read_text()
        assert 'src="plotly.min.js"' in text and "cdn.plot.ly" not in text


def test_a_finished_study_trains_nothing_again(finished: Finished, pool: ResourcePool) -> None:
    folder, config, result = finished
    files = [*folder.rglob("best.pth"), *folder.rglob("final_run.json")]
    before = {file: file.stat().st_mtime_ns for file in files}
    for changes in ({}, {"n_trials": 0}):
        config.optuna.n_trials = changes.get("n_trials", config.optuna.n_trials)
        again = tune(config, pool=pool)
        assert [trial.accuracy for trial in again.trials] == [t.accuracy for t in result.trials]
        assert again.comparisons == result.comparisons
    config.optuna.n_trials = 3
    assert {file: file.stat().st_mtime_ns for file in files} == before


def test_a_study_grows_and_phase_2_alone_finishes_it(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    short = {"optuna__max_epochs": 1, "optuna__final_run__seeds": [42]}
    first = tune(city.config(tmp_path, **short, optuna__n_trials=1), phase2=False, pool=pool)
    assert len(first.trials) == 1 and first.final is None
    second = tune(city.config(tmp_path, **short, optuna__n_trials=2), phase2=False, pool=pool)
    assert [t.mode for t in second.trials] == ["vanilla", "distilled"]
    last = tune(city.config(tmp_path, **short, optuna__n_trials=0), pool=pool)
    assert len(last.trials) == 2 and last.final is not None and last.final.finished


def test_phase_2_trains_only_what_is_open(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    config = city.config(
        tmp_path,
        optuna__n_trials=2,
        optuna__max_epochs=1,
        optuna__final_run__max_epochs=1,
        optuna__final_run__seeds=[1],
    )
    result = tune(config, pool=pool)
    runs = result.folder / "final_runs"
    untouched = (runs / "vanilla_seed1" / "model" / "best.pth").stat().st_mtime_ns
    record = runs / "distilled_seed1" / "final_run.json"
    content = json.loads(record.read_text())
    metrics = content.pop("metrics")
    record.write_text(json.dumps(content))  # as a worker leaves it that was killed here
    config.optuna.final_run.seeds = [1, 2]
    again = tune(config, pool=pool)
    assert again.final is not None and again.final.finished
    assert json.loads(record.read_text())["metrics"] == metrics
    assert (runs / "vanilla_seed1" / "model" / "best.pth").stat().st_mtime_ns == untouched
    assert (runs / "distilled_seed2" / "final_run.json").exists()


def test_hyperband_stops_what_is_not_promising(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    config = city.config(
        tmp_path,
        optuna__n_trials=7,
        optuna__max_epochs=3,
        optuna__pruner__min_resource=1,
        optuna__pruner__reduction_factor=4,
    )
    result = tune(config, phase2=False, pool=pool)
    states = [trial.state for trial in result.trials]
    assert states[0] == "complete" and set(states) == {"complete", "pruned"}
    for trial in result.trials:
        assert trial.folder is not None and trial.folder.endswith(f"_{trial.state}")
        assert (Path(trial.folder) / "model" / "best.pth").exists()
        if trial.state == "pruned":
            assert trial.epochs < 3 and trial.accuracy is not None


def test_a_bad_trial_is_recorded_and_the_study_goes_on(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    broken = tmp_path / "teacher.pt"
    broken.write_bytes(b"not a teacher")
    config = city.config(
        tmp_path,
        distill__ckpt=str(broken),
        optuna__max_epochs=1,
        optuna__final_run__max_epochs=1,
    )
    result = tune(config, pool=pool)
    assert [trial.state for trial in result.trials] == ["complete", "failed", "failed"]
    assert "is not a weights-only file" in str(result.trials[1].failure)
    assert trial_names(tmp_path)[1:] == ["trial_001_distilled_failed", "trial_002_distilled_failed"]
    assert result.final is not None and set(result.final.metrics("vanilla")) == {42, 43}
    assert "is not a weights-only file" in (result.folder / "report.md").read_text()


def test_a_study_in_which_every_trial_fails_is_an_error(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    config = city.config(
        tmp_path,
        optuna__n_trials=2,
        optimizer_config__learning_rate=1e30,
        optimizer_config__warmup_ratio=0,
        optimizer_config__max_norm=0,
        training__max_nonfinite_steps=1,
    )
    with pytest.raises(UserError, match=r"All 2 trials failed; trial 0: .*non-finite"):
        tune(config, pool=pool)
    assert {trial["state"] for trial in summary_of(tmp_path)["trials"]} == {"failed"}


def test_a_mistake_ends_the_study_before_its_first_trial(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    config = city.config(tmp_path, distill__ckpt=str(tmp_path / "none.pt"))
    with pytest.raises(UserError, match="does not exist"):
        require_teacher(config)
    with pytest.raises(UserError, match="does not exist"):
        tune(config, pool=pool)
    with pytest.raises(UserError, match="has no trials yet"):
        tune(config, phase1=False, pool=pool)
    assert not (tmp_path / "trials").exists()


def test_other_data_under_the_same_study_is_refused(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    short = {"optuna__n_trials": 1, "optuna__max_epochs": 1}
    tune(city.config(tmp_path, **short), phase2=False, pool=pool)
    other = tmp_path / "city"
    other.mkdir()
    for file in city.data_dir.glob("*"):
        if file.is_file():
            (other / file.name).write_bytes(file.read_bytes())
    lines = (other / "train.csv").read_text().splitlines(keepends=True)
    (other / "train.csv").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"other things: train\.csv"):
        tune(city.config(tmp_path, data_dir=str(other), **short), pool=pool)


def test_several_objectives_give_a_front(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    config = city.config(
        tmp_path,
        optuna__objectives=["accuracy", "throughput", "latency"],
        optuna__n_trials=2,
        optuna__final_run__seeds=[42],
        optuna__plots=True,
    )
    result = tune(config, pool=pool)
    for trial in result.trials:
        accuracy, throughput, latency = trial.values
        assert accuracy == trial.accuracy and throughput > 0 and latency == trial.latency_ms
        assert trial.epochs == 2
    summary = summary_of(tmp_path)
    assert summary["pareto_front"] and summary["objectives"][2] == "latency"
    assert (result.folder / "pareto_front.html").exists()
    assert "latency" in (result.folder / "report.md").read_text()


@pytest.mark.parametrize("storage", ["memory", "journal://{folder}/study.journal"])
def test_other_stores(storage: str, city: TinyCity, pool: ResourcePool, tmp_path: Path) -> None:
    config = city.config(
        tmp_path,
        optuna__n_trials=2,
        optuna__max_epochs=1,
        optuna__storage=storage.format(folder=tmp_path),
    )
    result = tune(config, phase2=False, pool=pool)
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    again = tune(config, phase2=False, pool=pool)
    same = again.trials[1].accuracy == result.trials[1].accuracy
    assert same and len(again.trials) == 2
    earlier = list(tmp_path.glob("trials.*"))  # memory forgets, so its trials were made again
    assert bool(earlier) == (storage == "memory")


def test_trials_load_data_and_teacher_once(
    city: TinyCity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    for name in ("load_resources", "load_teacher"):
        original = getattr(training.resources, name)

        def spy(*arguments: Any, name: str = name, original: Any = original) -> Any:
            loads.append(name)
            return original(*arguments)

        monkeypatch.setattr(training.resources, name, spy)
    pool = ResourcePool()
    for turn in range(2):
        for distilled in (False, True):
            config = city.config(tmp_path, distill__enable=distilled, profiling__max_batches=1)
            train(config, pool=pool, folder=RunFolder(tmp_path / f"{distilled}{turn}"))
    assert sorted(loads) == ["load_resources", "load_teacher"]


def test_wandb_has_a_run_for_each_trial_in_the_study_s_group(
    city: TinyCity,
    pool: ResourcePool,
    tmp_path: Path,
    messages: list[str],
    no_accounts: None,
) -> None:
    config = city.config(
        tmp_path,
        optuna__n_trials=1,
        optuna__max_epochs=1,
        optuna__study_name="grouped",
        wandb__mode="offline",
        wandb__background_sync=True,
    )
    config.wandb.enable = True
    result = tune(config, phase2=False, pool=pool)
    # That of the trial and that of the study would have been uploaded.
    assert sum("no credentials to sync them with" in line for line in messages) == 2
    for folder, run in (
        (Path(str(result.trials[0].folder)), "trial_000_vanilla"),
        (result.folder, "grouped_summary"),
    ):
        (file,) = folder.glob("wandb/offline-run-*/*.wandb")
        deadline = time.monotonic() + 20  # WandB's own process writes
        while run.encode() not in file.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert run.encode() in file.read_bytes() and b"grouped" in file.read_bytes()


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    values = ["tune_hoser.py"]
    monkeypatch.setattr("sys.argv", values)
    yield values


def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    city: TinyCity,
    tmp_path: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from config import dump_config

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(dump_config(city.config(tmp_path)))
    arguments += ["--config", "tiny.yaml", "--dry_run", "--n_trials", "5", "--seed", "7"]
    assert tune_hoser.main() == 0
    text = capsys.readouterr().out
    assert "5 trials of up to 2 epochs, trial 0 without a teacher, seeds 7 +" in text
    assert "lambda 0.001 to 0.1 (log)" in text and "together" in text and "measured on" in text
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_plan_knows_what_is_done(finished: Finished, pool: ResourcePool) -> None:
    _, config, result = finished
    larger = config.model_copy(deep=True)
    larger.optuna.n_trials = 5
    larger.optuna.final_run.seeds = [42, 43, 44]
    found = plan(larger)
    assert (found.trials_left, found.final_left, found.final_total) == (2, 2, 6)
    epochs = sum(trial.wall_seconds for trial in result.trials) / 6
    assert found.search_seconds == pytest.approx(2 * 2 * epochs)


def test_the_study_s_arguments_stand_for_its_keys(city: TinyCity, tmp_path: Path) -> None:
    parser: Any = tune_hoser._parser()
    arguments = parser.parse_args(
        ["--study_name", "2024", "--storage", "sqlite:///x.db", "--n_trials", "0", "--seed", "5"]
    )
    settings = tune_hoser._config(arguments).optuna
    assert (settings.study_name, settings.storage) == ("2024", "sqlite:///x.db")
    assert (settings.n_trials, settings.base_seed, settings.sampler.seed) == (0, 5, 5)
