"""The study's parts alone: statistics, search space, CMA-ES, pruner, storage names, folders."""

from __future__ import annotations

import json
import math
import os
import pickle
import shlex
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import HyperbandPruner, NopPruner
from optuna.trial import TrialState, create_trial
from scipy import stats

from config import dump_config, load_config
from runtime.errors import UserError
from runtime.files import FolderLock
from runtime.inputs import Inputs
from runtime.secrets import SecretAddress
from runtime.shutdown import ShutdownSignals
from tuning.artifacts import TrialFolders, link
from tuning.comparison import Spread, compare, compare_all
from tuning.final import FinalRun, best_distilled, plan_final_runs
from tuning.liveness import HEARTBEAT, OWNER, Heartbeat, HeartbeatWatch, Owner
from tuning.queue import TrialQueue
from tuning.records import TrialRecord
from tuning.report import study_result, write_summary
from tuning.sampling import CmaEsSampler, make_pruner, make_sampler, prunes
from tuning.space import from_unit, search_space, suggest, to_unit
from tuning.storage import StorageAddress, open_storage
from tuning.study import check_data, check_space, open_study
from tuning.tables import Table, final_table
from tuning.trials import failure_reason

ACC = "val_next_step_acc"
accuracies = st.floats(0.0, 1.0).map(lambda value: round(value, 6))


@given(st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=8))
def test_the_paired_test_is_the_t_test_of_the_differences(
    pairs: list[tuple[float, float]],
) -> None:
    first = {42 + i: pair[0] for i, pair in enumerate(pairs)}
    second = {42 + i: pair[1] for i, pair in enumerate(pairs)}
    found = compare(ACC, first, second)
    assert found is not None
    one, two = np.array(list(first.values())), np.array(list(second.values()))
    assert found.vanilla.mean == pytest.approx(one.mean())
    assert found.distilled.std == pytest.approx(two.std(ddof=1))
    assert found.difference == pytest.approx((two - one).mean())
    if np.ptp(two - one) > 1e-7:
        reference = stats.ttest_rel(two, one)
        assert found.p_value == pytest.approx(reference.pvalue)
        assert found.t_statistic == pytest.approx(reference.statistic)
        interval = reference.confidence_interval()
        assert (found.interval_low, found.interval_high) == pytest.approx(
            (interval.low, interval.high)
        )


def test_what_no_test_can_tell_is_said_and_not_computed() -> None:
    single = compare(ACC, {42: 0.5}, {42: 0.6})
    assert single is not None and single.p_value is None and "one seed" in str(single.note)
    assert single.distilled.std is None and single.improvement_percent == pytest.approx(20)
    same = compare(ACC, {1: 0.5, 2: 0.6}, {1: 0.5, 2: 0.6})
    assert same is not None and same.p_value == 1.0 and same.difference == 0.0
    shifted = compare(ACC, {1: 0.5, 2: 0.6}, {1: 0.6, 2: 0.7})
    assert shifted is not None and shifted.p_value is None and "spread" in str(shifted.note)
    assert compare(ACC, {1: 0.5}, {2: 0.6}) is None
    assert compare(ACC, {1: math.nan, 2: 0.4}, {1: 0.5, 2: 0.5}).vanilla.by_seed == {2: 0.4}  # type: ignore[union-attr]


def test_lower_is_better_for_errors() -> None:
    vanilla = {1: {ACC: 0.5, "val_time_pred_mape": 0.2}, 2: {ACC: 0.5, "val_time_pred_mape": 0.3}}
    distilled = {1: {ACC: 0.6, "val_time_pred_mape": 0.1}, 2: {ACC: 0.6, "val_time_pred_mape": 0.1}}
    better = {row.metric: row.is_better for row in compare_all(vanilla, distilled)}
    assert better == {ACC: True, "val_time_pred_mape": True}
    gains = [row.improvement_percent for row in compare_all(vanilla, distilled)]
    assert all(gain is not None and gain > 0 for gain in gains)


def test_tables_say_what_is_missing() -> None:
    table = final_table({42: {ACC: 0.5}, 43: {}}, {42: {ACC: 0.6}}, [])
    assert table.columns == ["model", "seed 42", "seed 43", "mean ± std", "difference", "p"]
    assert table.rows[0][:4] == ["vanilla", "0.5000", "-", "0.5000"]
    markdown = Table("T", ["a"], [["x|y"]]).markdown()
    assert "x\\|y" in markdown
    assert Spread.of({1: 1.0, 2: 3.0}).std == pytest.approx(math.sqrt(2))


@given(st.floats(0.001, 0.1), st.floats(1.0, 5.0), st.integers(2, 8))
def test_the_unit_cube_holds_every_parameter(lam: float, temperature: float, window: int) -> None:
    space = search_space(load_config())
    params = {"lambda": lam, "temperature": temperature, "window": window}
    point = to_unit(space, params)
    assert ((point >= 0) & (point <= 1)).all()
    back = from_unit(space, point)
    assert back["window"] == window
    assert back["lambda"] == pytest.approx(lam) and back["temperature"] == pytest.approx(
        temperature
    )


@given(st.lists(st.floats(-1.0, 2.0), min_size=3, max_size=3))
def test_every_point_is_within_the_ranges(point: list[float]) -> None:
    params = from_unit(search_space(load_config()), np.array(point))
    assert 0.001 <= params["lambda"] <= 0.1 and 1 <= params["temperature"] <= 5
    assert params["window"] in range(2, 9)


def test_a_parameter_without_a_range_keeps_the_configured_value() -> None:
    fixed = load_config(None, {"optuna.search_space.window": None, "distill.window": "full"})
    assert list(search_space(fixed)) == ["lambda", "temperature"]
    convex = load_config(None, {"distill.combination": "convex"})
    with pytest.raises(UserError, match=r"search_space\.lambda has no effect"):
        check_space(convex, search_space(convex))


def test_searching_a_window_that_a_hoser_teacher_does_not_have_is_said(messages: list[str]) -> None:
    for teacher, window in (("lmtad", {"low": 2, "high": 8}), ("hoser", None)):
        overrides = {"distill.teacher": teacher, "optuna.search_space.window": window}
        config = load_config(None, overrides)
        check_space(config, search_space(config))
    assert not messages
    config = load_config(None, {"distill.teacher": "hoser"})
    check_space(config, search_space(config))
    assert "search_space.window has no effect with distill.teacher=hoser" in messages[0]


def search(kind: str, num_trials: int, sampler_seed: int = 42) -> optuna.Study:
    """A study as ours, on a smooth function with its best place at (0.02, 2, 6)."""
    config = load_config(None, {"optuna.sampler.kind": kind, "optuna.sampler.seed": sampler_seed})
    space = search_space(config)
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 0.5)  # the vanilla trial has no parameters
    best = to_unit(space, {"lambda": 0.02, "temperature": 2.0, "window": 6})
    for number in range(1, num_trials):
        trial = study.ask()
        study.sampler = make_sampler(config.optuna, space, number)
        params = suggest(trial, space)
        study.tell(trial, -float(np.square(to_unit(space, params) - best).sum()))
    return study


def distances(study: optuna.Study, last: int) -> float:
    return -float(np.mean([trial.value for trial in study.trials[-last:]]))


def test_cma_es_adapts_although_trial_0_has_no_parameters() -> None:
    adapted, blind = search("cmaes", 72), search("random", 72)
    assert distances(adapted, 14) < 0.25 * distances(blind, 14)
    assert len({trial.params["lambda"] for trial in adapted.trials[1:]}) == 71


@pytest.mark.parametrize("kind", ["cmaes", "tpe", "random"])
def test_draws_depend_on_seed_and_study_alone(kind: str) -> None:
    first, second = search(kind, 12), search(kind, 12)
    assert [t.params for t in first.trials] == [t.params for t in second.trials]
    other = search(kind, 12, sampler_seed=1)
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


def test_cma_es_learns_from_pruned_trials_and_not_from_failed_ones() -> None:
    space = search_space(load_config())
    study = optuna.create_study(direction="maximize")
    states = [TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL]
    for index in range(21):
        state = states[index % 3]
        params = {"lambda": 0.01 + 0.001 * index, "temperature": 2.0, "window": 3}
        value = None if state == TrialState.FAIL else 0.1 * index
        study.add_trial(
            create_trial(state=state, value=value, params=params, distributions=dict(space))
        )
    sampler = CmaEsSampler(space, 0, 21)
    optimizer = sampler.optimizer(study)
    assert optimizer.population_size == 7 and optimizer.generation == 2


@pytest.mark.parametrize(
    "change",
    [
        {"optuna.objectives": ["latency"]},
        {"optuna.objectives": ["accuracy", "accuracy"]},
        {"optuna.search_space.temperature": {"low": 0, "high": 2}},
        {"optuna.search_space.lambda": {"low": 0.1, "high": 0.01}},
        {"optuna.search_space.lambda": {"low": 0, "high": 1, "log": True}},
        {"optuna.search_space.alpha": {"low": 0.5, "high": 1.5}},
        {"optuna.search_space.window": {"low": 0, "high": 2}},
    ],
)
def test_a_study_that_cannot_be_is_refused_by_its_key(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"optuna"):
        load_config(None, change)


def test_running_out_of_memory_has_a_name() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert failure_reason(caught.value).startswith("out of memory: ")
    assert failure_reason(MemoryError()) == "out of memory: MemoryError"
    assert failure_reason(UserError("so it is")) == "so it is"
    assert failure_reason(KeyError("x")) == "KeyError: 'x'"


def test_a_new_study_leaves_a_busy_one_of_its_name_alone(tmp_path: Path) -> None:
    root = tmp_path / "trials"
    folders = TrialFolders.open(root, "a", "1")
    run = folders.running(0, "vanilla")
    with (
        FolderLock(root, name=f".{run.path.name}.lock"),
        pytest.raises(UserError, match="in use"),
    ):
        TrialFolders.open(root, "a", "2")
    assert TrialFolders.open(root, "a", "1").root == root


def test_a_signal_reaches_the_study_around_a_run() -> None:
    with ShutdownSignals() as study:
        with ShutdownSignals() as run:
            os.kill(os.getpid(), signal.SIGTERM)
            assert run.received == study.received == signal.SIGTERM
        with ShutdownSignals() as late:
            assert late.received == signal.SIGTERM


def test_nothing_to_search_is_no_error() -> None:
    config = load_config(
        None, {f"optuna.search_space.{n}": None for n in ("lambda", "temperature", "window")}
    )
    study = optuna.create_study(sampler=make_sampler(config.optuna, {}, 1))
    assert suggest(study.ask(), {}) == {}


def pruner_config(**changes: Any) -> Any:
    overrides = {f"optuna.{name.replace('__', '.')}": value for name, value in changes.items()}
    return load_config(None, overrides).optuna


def test_pruning_only_where_it_can_save_something() -> None:
    assert isinstance(make_pruner(pruner_config()), HyperbandPruner)
    for changes in (
        {"max_epochs": 2},
        {"max_epochs": 5},
        {"pruner__kind": "none"},
        {"objectives": ["accuracy", "latency"]},
    ):
        assert isinstance(make_pruner(pruner_config(**changes)), NopPruner), changes
        assert not prunes(pruner_config(**changes))


@pytest.mark.parametrize(
    ("text", "kind", "location"),
    [
        ("memory", "memory", ""),
        (":memory:", "memory", ""),
        ("journal:///tmp/a.log", "journal", "/tmp/a.log"),
        ("journal://runs/a", "journal", "runs/a"),
        ("study.log", "journal", "study.log"),
        ("study.journal", "journal", "study.journal"),
        ("study.db", "database", "sqlite:///study.db"),
        ("postgresql://u:p@h/n", "database", "postgresql+psycopg2://u:p@h/n"),
        ("mysql+pymysql://u:p@h/n", "database", "mysql+pymysql://u:p@h/n"),
    ],
)
def test_storage_names(text: str, kind: str, location: str) -> None:
    if "psycopg2" in location:
        pytest.importorskip("psycopg2")
    address = StorageAddress.parse(text)
    assert (address.kind, address.location) == (kind, location)


@pytest.mark.parametrize("text", ["sqlite:///~/s.db", "~/s.db", "~/s.log", "journal://~/s.log"])
def test_a_store_may_lie_in_the_home_folder(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    address = StorageAddress.parse(text)
    optuna.create_study(storage=open_storage(address))
    assert address.file is not None and address.file.parent == tmp_path and address.file.exists()
    with pytest.raises(UserError, match="home"):
        open_storage(StorageAddress.parse(text.replace("~", "~nobody-here")))


@pytest.mark.parametrize("name", ["a%20b", "a b", "why?", "50%", "#2"])
def test_a_store_s_path_is_taken_as_it_is_written(name: str, tmp_path: Path) -> None:
    file = tmp_path / name / "s.db"
    address = StorageAddress.parse(str(file))
    optuna.create_study(storage=open_storage(address), study_name="s")
    assert address.file == file and file.exists()
    command = shlex.split(str(address.dashboard_command))
    assert optuna.get_all_study_names(command[1]) == ["s"] and len(command) == 2


def test_a_store_is_shown_without_its_password() -> None:
    for url in ("postgresql://ann:secret@host/studies", "postgresql://ann@h/s?password=secret"):
        address = StorageAddress.parse(url)
        assert "secret" not in address.shown and "ann" in address.shown
        assert "secret" not in repr(address)
        assert "secret" in address.location or "secret" in repr(address.location)


ADDRESSES = st.builds(
    "{}://{}:{}@{}/studies".format,
    st.sampled_from(["postgresql", "mysql+pymysql", "postgres"]),
    st.sampled_from(["ann", ""]),
    st.text("abcXYZ019:/@!#%&?=+", min_size=3).map(lambda text: f"S{text}T"),
    st.sampled_from(["host", "10.0.0.1:5432"]),
)


@settings(max_examples=25, deadline=None)
@given(ADDRESSES)
def test_a_password_never_leaves_the_configuration(url: str) -> None:
    password = url.split("://", 1)[1].rsplit("@", 1)[0].split(":", 1)[1]
    config = load_config(None, {"optuna.storage": url})
    assert config.optuna.storage.reveal() == url
    copy = config.model_copy(deep=True)
    assert copy.optuna.storage.reveal() == url
    texts = [
        dump_config(config),
        json.dumps(config.model_dump(mode="json")),
        repr(config),
        str(config.optuna.storage),
        repr(pickle.loads(pickle.dumps(config))),
        repr(config.model_dump()),
    ]
    for text in texts:
        assert password not in text and "***" in text
    with pytest.raises(UserError) as caught:
        StorageAddress.parse(url.replace("://", "//"))
    assert password not in str(caught.value)


def test_a_masked_address_takes_its_password_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = str(SecretAddress("mysql+pymysql://u:p@h/n"))
    assert StorageAddress.parse(written).location == "mysql+pymysql://u@h/n"
    monkeypatch.setenv("HOSER_STORAGE_PASSWORD", "a/b")
    assert StorageAddress.parse(written).location == "mysql+pymysql://u:a%2Fb@h/n"


@pytest.mark.parametrize("text", ["", "study", "journal://", "redis"])
def test_a_name_that_is_no_store_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"optuna\.storage is"):
        StorageAddress.parse(text)


@pytest.mark.parametrize("name", ["broken.db", "broken.log"])
@pytest.mark.parametrize("content", [b"not a database\n" * 99, b"\x00\xff\xfe" * 99, b"[1]\n{}\n"])
def test_a_damaged_store_is_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be opened"):
        open_storage(StorageAddress.parse(str(file)))
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "url", ["mysql+nodriver://u@h/n", "postgresql://u:pw@127.0.0.1:1/n", "sqlite:////proc/x/y.db"]
)
def test_a_store_out_of_reach_is_one_clear_error(url: str) -> None:
    with pytest.raises(UserError) as caught:
        open_storage(StorageAddress.parse(url))
    assert "\n" not in str(caught.value) and "pw" not in str(caught.value)


def test_a_foreign_study_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=url, study_name="theirs")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    config = load_config(
        None,
        {
            "optuna.storage": url,
            "optuna.study_name": "theirs",
            "optuna.results_dir": str(tmp_path / "r"),
        },
    )
    with pytest.raises(UserError, match="was not made by"):
        open_study(config)


def test_a_study_goes_on_with_its_own_settings_only(tmp_path: Path) -> None:
    def config(**changes: Any) -> Any:
        base = {
            "optuna.storage": f"sqlite:///{tmp_path}/s.db",
            "optuna.results_dir": str(tmp_path / "r"),
        }
        return load_config(None, {**base, **{k.replace("__", "."): v for k, v in changes.items()}})

    identity = open_study(config()).identity
    free = config(
        optuna__n_trials=50, optuna__sampler__kind="tpe", training__device="cpu", distill__window=7
    )
    assert open_study(free).identity == identity
    for change in (
        {"optuna__max_epochs": 9},
        {"optimizer_config__learning_rate": 0.1},
        {"optuna__objectives": ["accuracy", "latency"]},
        {"distill__ties": "marginal"},
    ):
        with pytest.raises(UserError, match="other settings"):
            open_study(config(**change))


def test_a_worker_is_dead_when_its_process_is_gone_or_its_heartbeat_old() -> None:
    here = Owner.this_process()
    assert here.is_local and here.is_running()
    now = 1000.0
    watch = HeartbeatWatch(60, clock=lambda: now)
    assert not watch.is_dead(1, here.attributes())
    gone = Owner(here.host, here.machine, here.pid, here.started - 100)
    assert watch.is_dead(1, gone.attributes())  # the number belongs to another process now
    elsewhere = Owner("there", "another machine", 1, 0.0).attributes()
    for trial, attributes in ((2, elsewhere), (3, {OWNER: None})):
        assert not watch.is_dead(trial, attributes)
        now += 179
        assert not watch.is_dead(trial, attributes)
        now += 2
        assert watch.is_dead(trial, attributes)
        assert not watch.is_dead(trial, {**attributes, HEARTBEAT: 7})  # it was only slow


def test_a_step_of_the_clock_kills_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    here, watch = Owner.this_process(), HeartbeatWatch(60)
    elsewhere = Owner("there", "another machine", 1, 0.0)
    assert not watch.is_dead(1, here.attributes()) and not watch.is_dead(2, elsewhere.attributes())
    wall, create = time.time, psutil.Process.create_time
    monkeypatch.setattr(time, "time", lambda: wall() + 86_400)
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create(process) + 86_400)
    monkeypatch.setattr(psutil, "boot_time", lambda: 86_400.0)
    assert not watch.is_dead(1, here.attributes()) and not watch.is_dead(2, elsewhere.attributes())


@pytest.mark.parametrize("storage", ["memory", "{0}/s.log", "sqlite:///{0}/s.db"])
def test_a_trial_whose_heartbeat_stopped_is_failed_and_queued_once_more(
    storage: str, tmp_path: Path
) -> None:
    config = load_config(
        None,
        {
            "optuna.storage": storage.format(tmp_path),
            "optuna.results_dir": str(tmp_path / "results"),
            "optuna.n_trials": 3,
        },
    )
    study = open_study(config)
    folders = TrialFolders.open(tmp_path / "trials", study.name, study.identity)
    queue = TrialQueue(study, folders)
    now = 0.0
    queue.watch = HeartbeatWatch(60, clock=lambda: now)
    living, dying = queue.claim(), queue.claim()
    assert living is not None and dying is not None
    params = suggest(dying, study.space)
    elsewhere = Owner("there", "another machine", 1, 0.0)
    dying.set_user_attr(OWNER, elsewhere.attributes()[OWNER])

    def last_beat() -> float:
        attributes = study.storage.get_trial(dying._trial_id).user_attrs
        return float(attributes.get(HEARTBEAT, 0.0))

    with Heartbeat(study.storage, dying._trial_id, 0.02):
        deadline = time.monotonic() + 60
        while last_beat() < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert last_beat() >= 1
    assert queue.others_running() and study.records()[1].state == "running"

    now += 3600
    again = queue.claim()
    assert again is not None and again.number == 2
    states = [(r.number, r.state, r.retry_of) for r in study.records()]
    assert states == [(0, "running", None), (1, "failed", None), (2, "running", 1)]
    assert study.records()[2].seed == 43 and suggest(again, study.space) == params
    assert str(study.records()[1].failure) == "the worker died (process 1 on there)"

    again.set_user_attr(OWNER, elsewhere.attributes()[OWNER])
    assert queue.others_running()  # which is when its heartbeat is first seen
    now += 3600
    last = queue.claim()  # the retry died as well: no third try, the next planned trial
    assert last is not None and last.number == 3
    assert [r.retry_of for r in study.records()] == [None, None, 1, None]
    assert queue.claim() is None
    queue.put_back(last)
    assert study.records()[3].state == "waiting"
    resumed = queue.claim()
    assert resumed is not None and resumed.number == 3


def _owned(root: Path, store: str) -> Path:
    TrialFolders.open(root, "a", "1", store)
    return root


def test_a_study_of_the_same_name_in_another_store_is_left_alone(tmp_path: Path) -> None:
    def config(store: str) -> Any:
        settings = {"optuna.storage": f"sqlite:///{tmp_path}/{store}.db"}
        return load_config(None, {**settings, "optuna.results_dir": str(tmp_path / "results")})

    first = open_study(config("one"))
    write_summary(first, study_result(first))
    with pytest.raises(UserError, match=r"same name in .*one\.db"):
        open_study(config("two"))
    (tmp_path / "one.db").unlink()  # begun anew in the same place
    assert open_study(config("one")).identity != first.identity


def test_each_study_has_its_own_folders(tmp_path: Path) -> None:
    root = tmp_path / "trials"
    first = TrialFolders.open(root, "a", "1")
    first.finish(0, "vanilla", "complete")
    assert TrialFolders.open(root, "a", "1").root == root
    other = TrialFolders.open(root, "b", "2")
    assert other.root == root / "b"
    assert TrialFolders.open(root, "b", "2").root == root / "b"
    with pytest.raises(UserError, match="belongs to a study of the same name in /one"):
        TrialFolders.open(_owned(tmp_path / "kept", "/one"), "a", "2", "/two")
    again = TrialFolders.open(root, "a", "3")  # the store was deleted, the study begun anew
    assert again.root == root and not (root / "trial_000_vanilla_complete").exists()
    assert len(list(tmp_path.glob("trials.*/trial_000_vanilla_complete/model"))) == 1


def test_a_study_begun_anew_leaves_those_of_other_names_where_they_are(tmp_path: Path) -> None:
    root = tmp_path / "trials"
    TrialFolders.open(root, "quick", "1", "memory").finish(0, "vanilla", "complete")
    kept = TrialFolders.open(root, "main", "2", "/main.db").running(1, "distilled").path
    kept.mkdir(parents=True)
    again = TrialFolders.open(root, "quick", "3", "memory")  # a study in memory is always new
    assert again.root == root and not (root / "trial_000_vanilla_complete").exists()
    assert len(list(tmp_path.glob("trials.*/trial_000_vanilla_complete"))) == 1
    assert kept.is_dir() and TrialFolders.open(root, "main", "2", "/main.db").root == kept.parent


def test_studies_that_begin_together_do_not_share_a_folder(tmp_path: Path) -> None:
    names = [f"study{i}" for i in range(6)]
    together = threading.Barrier(len(names))

    def begin(name: str, root: Path) -> Path:
        together.wait()
        return TrialFolders.open(root, name, name).root

    with ThreadPoolExecutor(len(names)) as pool:
        for i in range(10):
            folders = pool.map(begin, names, [tmp_path / str(i)] * len(names))
            assert len(set(folders)) == len(names)


def test_an_ended_trial_keeps_its_model_and_drops_what_resuming_needed(tmp_path: Path) -> None:
    folders = TrialFolders(tmp_path)
    running = folders.running(7, "distilled")
    for file in (running.best, running.latest, running.log):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    ended = folders.finish(7, "distilled", "pruned")
    assert ended.path.name == "trial_007_distilled_pruned" and not running.path.exists()
    assert ended.best.exists() and ended.log.exists() and not ended.latest.exists()
    assert sorted(p.name for p in ended.path.iterdir()) == ["log", "model", "tensorboard_log"]


def test_links_are_relative_and_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "trials" / name).mkdir(parents=True)
        link(tmp_path / "results" / "s" / "best", tmp_path / "trials" / name)
    found = tmp_path / "results" / "s" / "best"
    assert found.readlink() == Path("../../trials/two") and found.is_dir()


def record(number: int, state: Any, accuracy: float | None, mode: Any = "distilled") -> TrialRecord:
    metrics = {} if accuracy is None else {ACC: accuracy}
    return TrialRecord(number, mode, state, 42 + number, metrics=metrics)


def test_phase_2_takes_the_best_complete_distilled_trial() -> None:
    vanilla = record(0, "complete", 0.9, "vanilla")
    pruned, good, bad = (
        record(1, "pruned", 0.8),
        record(2, "complete", 0.7),
        record(3, "failed", None),
    )
    assert best_distilled([vanilla, pruned, good, bad]) is good
    assert best_distilled([vanilla, pruned, bad]) is pruned
    assert best_distilled([vanilla, bad]) is None


def test_a_finished_final_run_is_of_the_study_s_data_alone(tmp_path: Path) -> None:
    def runs(**changes: str) -> dict[str, FinalRun]:
        values = {
            "data_dir": str(tmp_path),
            "optuna.storage": "memory",
            "optuna.results_dir": str(tmp_path / "results"),
            "optuna.trials_dir": str(tmp_path / "trials"),
            "optuna.final_run.seeds": [42],
        }
        study = open_study(load_config(None, values))
        inputs = Inputs(network="n", zones="z", train="t", val="v", teacher="w", code="c")
        check_data(study, replace(inputs, **changes))
        return {run.mode: run for run in plan_final_runs(study, record(1, "complete", 0.7))}

    for run in runs().values():
        run.folder.best.parent.mkdir(parents=True)
        run.folder.best.touch()
        content = {"fingerprint": run.fingerprint, "metrics": {ACC: 0.7}}
        run.record.write_text(json.dumps(content))
    both, untaught = {"vanilla", "distilled"}, {"vanilla"}
    decisive: dict[str, set[str]] = {"network": set(), "zones": set(), "train": set(), "val": set()}
    for name, kept in {**decisive, "teacher": untaught, "code": untaught}.items():
        found = runs(**{name: "other"})
        assert {mode for mode, run in found.items() if run.metrics is not None} == kept, name
    assert {mode for mode, run in runs().items() if run.metrics is not None} == both


@settings(max_examples=20)
@given(st.integers(0, 3), st.booleans())
def test_records_tell_vanilla_from_distilled(number: int, retried: bool) -> None:
    attributes = {"mode": "vanilla", "retry_of": 0, "seed": 42} if retried else {}
    trial = create_trial(state=TrialState.WAITING, user_attrs=attributes)
    trial.number = number
    found = TrialRecord.of(trial, 42)
    assert found.mode == ("vanilla" if retried or number == 0 else "distilled")
    assert found.seed == (42 if retried else 42 + number)


def test_a_second_try_takes_over_a_whole_state_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = TrialFolders(tmp_path)
    first, second = (folders.running(number, "distilled") for number in (1, 2))
    for file in (first.best, first.latest):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(file.name.encode())

    def killed(source: Path, target: Path, *, follow_symlinks: bool = True) -> None:
        Path(target).write_bytes(b"half")
        raise SystemExit(1)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("shutil.copyfile", killed)
        folders.inherit(2, "distilled", 1)
    assert not second.latest.exists()  # it begins anew
    folders.inherit(2, "distilled", 1)
    assert [file.read_bytes() for file in (second.best, second.latest)] == [
        b"best.pth",
        b"checkpoint_latest.pth",
    ]
