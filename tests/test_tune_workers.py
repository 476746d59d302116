"""Studies with processes of their own: several at once, killed, interrupted, on a server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import UserError
from tests.tune_helpers import (
    TinyCity,
    epochs_done,
    start_worker,
    summary_of,
    trial_names,
    wait_until,
)
from train_with_distill import train
from training.folder import RunFolder
from training.resources import ResourcePool
from tune_hoser import tune
from tuning.records import TrialRecord
from tuning.study import open_study
from tuning.trials import run_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def city(parity_city: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyCity:
    return TinyCity.make(parity_city, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def pool() -> ResourcePool:
    return ResourcePool()


def check_shared(trials: list[TrialRecord], folder: Path, num_trials: int) -> None:
    """Every planned trial is there once, and the first alone is vanilla."""
    assert [trial.number for trial in trials] == list(range(num_trials))
    assert [trial.mode for trial in trials] == ["vanilla"] + ["distilled"] * (num_trials - 1)
    assert {trial.state for trial in trials} == {"complete"}
    draws = [(t.params["lambda"], t.params["temperature"]) for t in trials[1:]]
    assert len(set(draws)) == num_trials - 1
    assert len(trial_names(folder)) == num_trials
    assert not [name for name in trial_names(folder) if "running" in name]


@pytest.mark.parametrize("storage", ["sqlite:///{folder}/s.db", "journal://{folder}/s.log"])
def test_two_workers_share_a_study(storage: str, city: TinyCity, tmp_path: Path) -> None:
    config = city.config(
        tmp_path,
        optuna__storage=storage.format(folder=tmp_path),
        optuna__n_trials=3,
        optuna__final_run__seeds=[42, 43],
    )
    workers = [start_worker(config, tmp_path) for _ in range(2)]
    outputs = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    study = open_study(config)
    check_shared(study.records(), tmp_path, 3)
    for _, log in outputs:
        assert "Traceback" not in log
    summary = summary_of(tmp_path)
    assert summary["finished"] and len(summary["final"]["runs"]) == 4
    trained = [log.count(": 2 epochs.") for _, log in outputs]  # final runs of each
    assert sum(trained) == 4


def test_the_trial_of_a_killed_worker_is_tried_again_from_where_it_was(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    epochs = 8
    config = city.config(tmp_path, optuna__n_trials=2, optuna__max_epochs=epochs)
    config.optuna.pruner.kind = "none"
    worker = start_worker(config, tmp_path, "--skip-phase2")
    run = tmp_path / "trials" / "trial_001_distilled_running"
    wait_until(lambda: epochs_done(run) >= 2, worker)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    done = epochs_done(run)
    assert done < epochs

    result = tune(config, phase2=False, pool=pool)
    assert [trial.state for trial in result.trials] == ["complete", "failed", "complete"]
    killed, again = result.trials[1], result.trials[2]
    assert f"process {worker.pid}" in str(killed.failure)
    assert (again.retry_of, again.mode, again.seed) == (1, "distilled", killed.seed)
    assert again.params == killed.params and again.epochs == epochs
    assert trial_names(tmp_path) == [
        "trial_000_vanilla_complete",
        "trial_001_distilled_failed",
        "trial_002_distilled_complete",
    ]
    log = (tmp_path / "trials" / "trial_002_distilled_complete" / "log" / "train.log").read_text()
    assert "Going on in epoch" in log and log.count("Epoch 1:") == 1
    alone = run_config(
        config, "distilled", seed=again.seed, epochs=epochs, params=again.params, run_name="alone"
    )
    whole = train(alone, pool=pool, folder=RunFolder(tmp_path / "alone"))
    assert whole.best_val_acc == again.accuracy


def test_a_trial_is_not_tried_more_often_than_configured(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    config = city.config(tmp_path, optuna__n_trials=1, optuna__max_retries=0)
    config.optuna.max_epochs = 60
    worker = start_worker(config, tmp_path, "--skip-phase2")
    run = tmp_path / "trials" / "trial_000_vanilla_running"
    wait_until(lambda: epochs_done(run) >= 1, worker)
    worker.kill()
    worker.communicate()
    with pytest.raises(UserError, match="All 1 trials failed; trial 0: the worker died"):
        tune(config, phase2=False, pool=pool)


def test_an_interrupted_trial_goes_on_in_its_own_folder(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    config = city.config(tmp_path, optuna__n_trials=1, optuna__max_epochs=8)
    config.optuna.pruner.kind = "none"
    worker = start_worker(config, tmp_path, "--skip-phase2")
    run = tmp_path / "trials" / "trial_000_vanilla_running"
    wait_until(lambda: epochs_done(run) >= 2, worker)
    worker.send_signal(signal.SIGINT)
    _, log = worker.communicate(timeout=60)
    assert worker.returncode == 130, log
    assert "go on with --study_name" in log
    assert [trial["state"] for trial in summary_of(tmp_path)["trials"]] == ["waiting"]
    result = tune(config, phase2=False, pool=pool)
    assert [(trial.state, trial.epochs) for trial in result.trials] == [("complete", 8)]
    assert trial_names(tmp_path) == ["trial_000_vanilla_complete"]
    train_log = tmp_path / "trials" / "trial_000_vanilla_complete" / "log" / "train.log"
    assert "Going on in epoch" in train_log.read_text()


def test_an_interrupted_final_run_goes_on(
    city: TinyCity, pool: ResourcePool, tmp_path: Path
) -> None:
    config = city.config(
        tmp_path,
        optuna__n_trials=1,
        optuna__max_epochs=1,
        optuna__final_run__max_epochs=8,
        optuna__final_run__seeds=[1, 2],
    )
    worker = start_worker(config, tmp_path)
    runs = tmp_path / "results" / "hoser-distill" / "final_runs"
    wait_until(lambda: epochs_done(runs / "vanilla_seed2") >= 2, worker)
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=60)
    assert worker.returncode == 0, log
    first = (runs / "vanilla_seed1" / "model" / "best.pth").stat().st_mtime_ns
    result = tune(config, pool=pool)
    assert result.final is not None and result.final.finished
    assert (runs / "vanilla_seed1" / "model" / "best.pth").stat().st_mtime_ns == first
    assert "Going on in epoch" in (runs / "vanilla_seed2" / "log" / "train.log").read_text()


def test_a_user_s_mistake_is_one_line(city: TinyCity, tmp_path: Path) -> None:
    config = city.config(tmp_path)
    worker = start_worker(config, tmp_path, "--storage", "nowhere")
    _, errors = worker.communicate(timeout=60)
    assert worker.returncode == 2
    lines = [line for line in errors.splitlines() if "Settings of" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: optuna.storage is 'nowhere'")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of our own, of Debian's package."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("Debian's package postgresql is not installed")
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed: pip install '.[postgres]'")
    binaries = programs[-1].parent
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path("/tmp") / f"hoser_postgres_{os.getpid()}"
    folder.mkdir()
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    control = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
    initialise = [str(binaries / "initdb"), "-D", str(data), "-U", "tuner", "-A", "trust"]
    try:
        for command in (initialise, start):
            subprocess.run(
                command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, timeout=120
            )
        yield f"postgresql://tuner:secret@127.0.0.1:{port}/postgres"
    finally:
        stop = [*control, "-m", "immediate", "stop"]
        subprocess.run(stop, user=user, cwd=folder, capture_output=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def test_two_workers_on_a_postgresql_server(postgres: str, city: TinyCity, tmp_path: Path) -> None:
    config = city.config(tmp_path, optuna__storage=postgres, optuna__n_trials=3)
    workers = [start_worker(config, tmp_path, "--skip-phase2") for _ in range(2)]
    outputs = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    check_shared(open_study(config).records(), tmp_path, 3)
    shown = summary_of(tmp_path)["storage"]
    assert "tuner@127.0.0.1" in shown and "secret" not in shown
