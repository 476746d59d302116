"""Configurations: what loads, and what the errors of the rest say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Config, dump_config, load_config, load_evaluation_config
from config.agreement import Purpose, disagreements, shared_settings
from config.arguments import (
    add_config_arguments,
    config_from_arguments,
    example_parser,
)
from config.finding import (
    SHIPPED_FOLDER,
    find_data_dir,
    run_config_file,
    run_file,
    run_of,
    shipped_configs,
)
from config.loading import parse_assignments, read_yaml
from config.presets import PRESETS
from config.schema import DistillConfig
from config.unread import unread_settings
from critics.scoring.opening import unique_names
from pipeline.plan import Model
from runtime.errors import UserError
from search.request import GenerationRequest, default_output

SHIPPED = sorted(SHIPPED_FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_load(path: Path) -> None:
    load = load_evaluation_config if path.stem == "evaluation" else load_config
    assert load(path)


@pytest.mark.parametrize("name", ["Beijing", "Porto", "San_Francisco"])
def test_the_cities_carry_the_documents_settings(name: str) -> None:
    config = load_config(SHIPPED_FOLDER / f"{name}.yaml")
    assert config.dataset == name
    assert config.distill.grid_size == 0.001
    assert config.data.candidate_top_k == 64
    assert config.optuna.pruner.min_resource == 5
    assert config.optuna.final_run.seeds == [42, 43, 44]


def test_a_choice_may_be_called_what_yaml_takes_for_no() -> None:
    config = load_config(None, {"training.amp_dtype": "off", "distill.window": "full"})
    assert config.training.amp_dtype == "off" and config.distill.window == "full"
    with pytest.raises(UserError, match=r"training\.seed is false"):
        load_config(None, {"training.seed": "off"})


def test_overrides_are_read_as_yaml() -> None:
    config = load_config(
        None, {"training.seed": "7", "distill.window": "full", "distill.lambda": 0}
    )
    assert (config.training.seed, config.distill.window, config.distill.lambda_) == (7, "full", 0)


PATHS = [
    "city #2",
    "2024",
    "a: b",
    "two\nlines",
    "[1]",
    "'quoted'",
    "null",
    "~",
    "-",
    "!!int 1",
    "é",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_taken_as_it_is_written(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(path).mkdir()  # a dataset folder that is named must be there
    parser = example_parser("", "")
    add_config_arguments(parser)
    given = parser.parse_args([f"--data_dir={path}", "--set", f"save_dir=./{path}"])
    config = config_from_arguments(given, {"optuna.trials_dir": path})
    assert (config.data_dir, config.save_dir) == (path, f"./{path}")
    assert config.optuna.trials_dir == path
    assert load_evaluation_config(None, {"eval_dir": path}).eval_dir == path


def test_set_knows_null_and_quotes() -> None:
    written = ["distill.ckpt=null", "data_dir='a'", "wandb.tags=[x, y]", "training.seed=3"]
    config = load_config(None, parse_assignments(written))
    assert (config.distill.ckpt, config.data_dir) == (None, "a")
    assert (config.wandb.tags, config.training.seed) == (["x", "y"], 3)


@pytest.mark.parametrize("tag", ["int", "bool", "timestamp", "float", "binary", "omap", "null"])
@pytest.mark.parametrize("text", ["", "x", "maybe", "=="])
def test_tagged_values_load_or_are_a_user_error(tmp_path: Path, tag: str, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f'training: {{seed: !!{tag} "{text}"}}')
    for load in (
        lambda: load_config(path),
        lambda: load_config(None, parse_assignments([f'training.seed=!!{tag} "{text}"'])),
    ):
        with pytest.raises(UserError, match=r"config\.yaml|training\.seed"):
            load()


def test_no_setting_holds_a_nul_character() -> None:
    for key, value in (("data_dir", "a\0b"), ("wandb.tags", ["\0"]), ("distill.ckpt", "\0")):
        with pytest.raises(UserError, match=f"{key}: it holds a NUL character"):
            load_config(None, {key: value})


def test_resolved_configuration_loads_back(tmp_path: Path) -> None:
    config = load_config(SHIPPED_FOLDER / "Beijing.yaml", {"distill.temperature": 1.5})
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_presets_fill_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("distill: {preset: curriculum, temperature: 3.0}\n")
    distill = load_config(path).distill
    assert (distill.temperature, distill.temperature_end) == (3.0, 0.5)
    assert (distill.temperature_schedule, distill.temperature_stages) == ("linear", 5)


def test_beijing_shows_every_key() -> None:
    def keys(tree: dict[str, Any], path: str = "") -> set[str]:
        below = [keys(v, f"{path}{k}.") for k, v in tree.items() if isinstance(v, dict)]
        return {f"{path}{key}" for key in tree}.union(*below)

    shown = keys(read_yaml(SHIPPED_FOLDER / "Beijing.yaml"))
    assert shown >= keys(Config().model_dump(by_alias=True))


def test_a_preset_of_the_command_line_replaces_what_the_file_says() -> None:
    demo = SHIPPED_FOLDER / "demo.yaml"
    fast = load_config(demo, {"distill.preset": "fast", "distill.temperature": 1.5})
    assert (fast.distill.lambda_, fast.distill.temperature, fast.distill.positions) == (
        0.029,
        1.5,
        8,
    )
    assert fast.optimizer_config.max_epoch < load_config(demo).optimizer_config.max_epoch
    assert (fast.distill.temperature_end, fast.distill.temperature_schedule) == (None, "constant")
    assert fast.distill.vocabulary == "road"  # what no preset speaks of is the file's


def test_the_fast_preset_leaves_epochs_and_trips_that_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("distill: {preset: fast}\noptimizer_config: {max_epoch: 7}\n")
    config = load_config(path)
    assert (config.optimizer_config.max_epoch, config.data.max_train_trips) == (7, 20_000)
    assert isinstance(config.distill.positions, int) and config.distill.positions > 1


def test_gazelle_cosine_preset() -> None:
    distill = load_config(None, {"distill.preset": "gazelle"}).distill
    assert (distill.temperature, distill.temperature_end) == (1.0, 4.0)
    assert (distill.temperature_schedule, distill.tau_squared) == ("cosine", True)


def test_sampler_and_pruner_by_plain_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("optuna: {sampler: tpe, pruner: median}\n")
    optuna = load_config(path, {"optuna.sampler.seed": 3}).optuna
    assert (optuna.sampler.kind, optuna.sampler.seed, optuna.pruner.kind) == ("tpe", 3, "median")
    assert load_config(path, {"optuna.pruner": "none"}).optuna.pruner.kind == "none"


def test_shipped_configurations_share_one_wandb_project() -> None:
    loaders = [load_evaluation_config if p.stem == "evaluation" else load_config for p in SHIPPED]
    projects = {load(path).wandb.project for load, path in zip(loaders, SHIPPED)}
    assert projects == {Config().wandb.project}


MISTAKES = [
    ("distill: {weight: 0.3}", "distill.weight is not a configuration key; here it is called"),
    ("distill: {distill_temp_end: 4}", "here it is called 'temperature_end'"),
    ("optuna: {sampler: grid}", "optuna.sampler.kind is 'grid'; allowed: 'cmaes', 'tpe' or"),
    ("distil: {}", "distil is not a configuration key; did you mean 'distill'?"),
    ("distill: {windw: 3}", "distill.windw is not a configuration key; did you mean 'window'?"),
    (
        "distill: {window: 0}",
        "distill.window is 0; it must be at least 1, or allowed: 'full'.",
    ),
    (
        "optimizer_config: {batch_size: many}",
        "optimizer_config.batch_size is 'many'; it must be a whole number.",
    ),
    (
        "optimizer_config: {batch_size: 1.5}",
        "optimizer_config.batch_size is 1.5; it must be a whole number.",
    ),
    ("training: {seed: true}", "training.seed is true; it must not be true or false."),
    (
        "training: {amp_dtype: fp8}",
        "training.amp_dtype is 'fp8'; allowed: 'auto', 'off', 'float16' or 'bfloat16'.",
    ),
    ("wandb: {tags: beijing}", "wandb.tags is 'beijing'; it must be a list."),
    ("distill: 3", "distill is 3; it must be a section with keys."),
    (
        "distill: {lambda: 2, lambda_end: 0, lambda_schedule: exponential}",
        "distill: lambda_end is 0, which lambda_schedule exponential never reaches; give",
    ),
    ("data: {ram_fraction: 2}", "data.ram_fraction is 2; it must be at most 1."),
    (
        "optuna: {search_space: {temperature: {low: 3, high: 1}}}",
        "optuna.search_space.temperature: low must not exceed high, and must be positive with log.",
    ),
    (
        "navigator_config: {hidden_dim: 64}",
        "navigator_config.hidden_dim is 64, but the road embedding (road_id + len + type + lon + "
        "lat widths) is 128; they must be equal.",
    ),
    ("seed: 1\nseed: 2", "line 2: the key 'seed' is given twice"),
    ("- 1\n- 2", "must hold sections (`name: ...`), not list."),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_config(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_python_tags_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "config.yaml"
    path.write_text(f"dataset: !!python/object/apply:os.system ['touch {marker}']\n")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(path)
    assert not marker.exists()


def test_alias_bombs_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="too deeply aliased"):
        load_config(path)


@pytest.mark.parametrize(
    ("distill", "line"),
    [
        ({"temperature_end": 4.0}, "temperature_end (4) has no say while"),
        ({"temperature_schedule": "cosine"}, "temperature_schedule (cosine) has no say without"),
        ({"temperature_stages": 5}, "temperature_stages has no say where the temperature stays"),
        ({"lambda_end": 1.0}, "lambda_end (1) has no say while distill.lambda_schedule is"),
        ({"lambda_end": 1.0, "combination": "convex"}, "no say with distill.combination=convex"),
        ({"lambda": 0.0, "lambda_end": 1.0, "lambda_schedule": "linear"}, "there is no teacher"),
    ],
)
def test_schedules_without_effect_are_said(distill: dict[str, Any], line: str) -> None:
    overrides = {f"distill.{name}": value for name, value in distill.items()}
    (said,) = unread_settings(load_config(None, overrides))
    assert line in said
    assert not unread_settings(load_config(None, {**overrides, "distill.enable": False}))


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("path", shipped_configs().values(), ids=lambda path: path.stem)
def test_all_that_is_shipped_has_an_effect(path: Path, preset: str | None) -> None:
    assert unread_settings(load_config(path, {"distill.preset": preset})) == []


def test_a_studys_run_is_found_as_any_other(tmp_path: Path) -> None:
    usual, sorted_run = tmp_path / "seed0", tmp_path / "trial_000_vanilla_complete"
    places = {usual: ("", ""), sorted_run: ("model", "log")}
    for run, (model, log) in places.items():
        for folder, name in ((model, "best.pth"), (model, "config.yaml"), (log, "metrics.json")):
            (run / folder).mkdir(parents=True, exist_ok=True)
            (run / folder / name).write_text("data_dir: city\n")
        best = run_file(run, "best.pth")
        assert best == run / model / "best.pth"
        assert run_of(best) == run
        assert run_config_file(best) == run / model / "config.yaml"
        assert find_data_dir(None, run) == Path("city")
        request = GenerationRequest(load_config(None), model_path=best)
        assert default_output(request).parent == run / "gene"
        assert Model("student", best).run_folder == run
        assert unique_names([best]) == [run.name]


@pytest.mark.parametrize("path", ["training.sed", "training.seed.x", "", "nope.x"])
def test_unknown_override_paths(path: str) -> None:
    with pytest.raises(UserError, match="is not a configuration key"):
        load_config(None, {path: 1})


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_value_loads_or_is_a_user_error(value: Any) -> None:
    for path in ("training.seed", "distill.window", "distill.bounds", "wandb.tags", "dataset"):
        try:
            assert isinstance(load_config(None, {path: value}), Config)
        except UserError as error:
            assert "\n" not in str(error)


@given(text=st.text(max_size=200))
def test_any_text_loads_or_is_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        load_config(path)
    except UserError as error:
        assert "\n" not in str(error)


def test_every_setting_counts_until_it_is_marked() -> None:
    class Later(DistillConfig):
        added: int = 3

    class LaterConfig(Config):
        distill: Later = Later()

    for purpose in get_args(Purpose):
        assert shared_settings(LaterConfig(), purpose)["distill.added"] == 3
        changed = LaterConfig(distill=Later(added=4))
        saved_before = shared_settings(Config(), purpose)
        assert disagreements(saved_before, LaterConfig(), purpose) == []
        assert disagreements(saved_before, changed, purpose) == [
            "distill.added is 3 there and 4 here"
        ]


@pytest.mark.parametrize(
    ("key", "value", "resuming", "comparing"),
    [
        ("training.amp_dtype", "bfloat16", True, True),
        ("distill.lambda", 0.5, True, True),
        ("optimizer_config.max_epoch", 3, True, False),
        ("training.seed", 3, True, False),
        ("optuna.max_epochs", 3, False, True),
        ("dataloader.num_workers", 1, False, False),
        ("distill.ckpt", "moved.pt", False, False),
        ("wandb.project", "p", False, False),
    ],
)
def test_what_two_runs_must_share(key: str, value: Any, resuming: bool, comparing: bool) -> None:
    earlier, now = load_config(None, {}), load_config(None, {key: value})
    for purpose, counts in (("resuming", resuming), ("comparing", comparing)):
        found = disagreements(shared_settings(earlier, purpose), now, purpose)  # type: ignore[arg-type]
        assert bool(found) == counts


def test_a_file_extends_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("dataset: a\ndistill: {window: 2, lambda: 0.5}\n")
    path = tmp_path / "own.yaml"
    path.write_text("extends: base.yaml\ndataset: b\ndistill: {window: full}\n")
    config = load_config(path)
    assert (config.dataset, config.distill.window, config.distill.lambda_) == ("b", "full", 0.5)
    (tmp_path / "base.yaml").write_text("extends: own.yaml")
    for text, message in (
        ("extends: base.yaml", "extends another file itself"),
        ("extends: [1]", "must name a file"),
        ("extends: none.yaml", "none.yaml cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_config(path)
