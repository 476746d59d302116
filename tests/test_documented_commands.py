"""The documents' sequences of commands, with no flag beyond those written there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import evaluation
import gene
import python_pipeline
import train_with_distill
import tune_hoser
from config import dump_config, load_config
from config.finding import find_config
from pipeline.plan import find_models
from runtime.errors import UserError
from tests import programs
from tests.training_helpers import REPOSITORY, tiny_config

Run = Callable[..., int | None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a program's `main` with arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(main: Callable[[], int | None], *arguments: str) -> int | None:
        monkeypatch.setattr("sys.argv", ["program", *arguments])
        return main()

    return call


@pytest.fixture(scope="module")
def trained(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training run."""
    config = tiny_config(tiny_city, tmp_path_factory.mktemp("save"), optimizer_config__max_epoch=1)
    return train_with_distill.train(config).folder


def test_train_generate_evaluate_without_further_flags(run: Run, trained: Path) -> None:
    model = ["--dataset", "tiny", "--model_path", str(trained / "best.pth")]
    run(gene.main, *model, "--num_gene", "6", "--beam_width", "2", "--no_progress")
    (trips,) = (trained / "gene").glob("*.csv")
    run(evaluation.main, "--run_dir", str(trained), "--bootstrap", "20")
    (results,) = (trained / "eval").glob("*/results.json")
    assert json.dumps(str(trips)) in results.read_text()
    assert list(Path.cwd().iterdir()) == []


def test_trips_of_a_model_without_a_run_go_below_gene(run: Run, trained: Path) -> None:
    shutil.copy(trained / "best.pth", "alone.pth")
    city = load_config(trained / "config.yaml").data_dir
    flags = ["--data_dir", city, "--num_gene", "3", "--beam_width", "1", "--device", "cpu"]
    run(gene.main, "--model_path", "alone.pth", *flags)
    assert len(list(Path("gene").glob("*/seed0/*.csv"))) == 1


@pytest.mark.parametrize("main", [train_with_distill.main, tune_hoser.main])
@pytest.mark.parametrize("more", [[], ["--dataset", "demo"]])
def test_a_named_folder_is_never_made(run: Run, main: Run, more: list[str]) -> None:
    teacher = ["--set", "distill.enable=false"] if main is train_with_distill.main else []
    with pytest.raises(UserError, match="no_such_folder does not exist"):
        run(main, "--data_dir", "no_such_folder", *more, *teacher, "--device", "cpu")
    assert not Path("no_such_folder").exists() and not Path("data").exists()


def test_a_dry_run_makes_nothing_where_the_demo_is_not_there(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tune_hoser.main, "--dry_run") == 0
    assert "the demo city is made first" in capsys.readouterr().out
    assert list(Path.cwd().iterdir()) == []


def test_a_dry_run_makes_neither_zones_nor_caches(
    run: Run, tiny_city: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    city = Path("city")
    city.mkdir()
    for name in ("roadmap.geo", "roadmap.rel", "train.csv", "val.csv", "test.csv"):
        shutil.copy(tiny_city / name, city / name)
    Path("tiny.yaml").write_text(dump_config(tiny_config(city, Path("save"))))
    before = sorted(Path.cwd().rglob("*"))
    assert run(tune_hoser.main, "--config", "tiny.yaml", "--dry_run") == 0
    assert "measured on" in capsys.readouterr().out
    assert sorted(Path.cwd().rglob("*")) == before


def test_a_folder_alone_has_the_general_settings(tmp_path: Path) -> None:
    for name in ("MyCity", "Porto"):
        (tmp_path / name).mkdir()
    beijing, config = find_config(None, "Beijing"), find_config(None, None, tmp_path / "MyCity")
    assert (config.dataset, config.distill.ckpt) == ("MyCity", None)
    assert config.optuna.study_name == "hoser-distill-mycity"
    assert config.optimizer_config == beijing.optimizer_config
    assert config.trajectory_encoder_config == beijing.trajectory_encoder_config
    assert find_config(None, None, tmp_path / "Porto").dataset == "Porto"
    assert find_config(None, "Beijing", tmp_path / "Porto").dataset == "Beijing"
    assert find_config().dataset == "demo"
    own = find_config(None, None, tmp_path / "MyCity", {"optuna.study_name": "mine"})
    assert own.optuna.study_name == "mine"


@pytest.mark.parametrize(
    "main", [train_with_distill.main, tune_hoser.main, gene.main, python_pipeline.main]
)
def test_an_unknown_dataset_is_the_same_error_everywhere(run: Run, main: Run) -> None:
    with pytest.raises(UserError, match=r"no shipped configuration for the dataset 'Rome'"):
        run(main, "--dataset", "Rome")


def test_the_pipeline_from_within_an_evaluation_folder(run: Run, trained: Path) -> None:
    city = load_config(trained / "config.yaml").data_dir
    place = ["--dataset", "tiny", "--data-dir", city, "--eval-dir", "study"]
    assert run(python_pipeline.main, *place, "--init") == 0
    for name in ("distilled_seed1", "distilled_seed2", "vanilla_seed1"):
        (Path("study/models") / f"{name}.pth").symlink_to(trained / "best.pth")
    flags = ["--num-gene", "4", "--seed", "42", "--models", "distilled", "--od-source", "test"]
    quick = ["--set", "bootstrap=0", "--set", "report=false", "--set", "device=cpu"]
    script = [sys.executable, "python_pipeline.py", "--config", "config/evaluation.yaml"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    first = ["./run_gene_eval_pipeline.sh", *flags, *quick]
    begun = programs.run_for_real(first, "study", env=programs.environment(PATH=path))
    assert begun.returncode == 0, begun.stderr
    done = programs.run([*script, *flags, *quick], Path("study").resolve())
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout  # the second found what the first had made
    evaluated = {file.parent.parent.name for file in Path("study").rglob("results.json")}
    assert evaluated == {"distilled_seed1", "distilled_seed2"}
    assert str(REPOSITORY) in str(Path("study/python_pipeline.py").resolve())


def test_models_by_name_or_by_kind(tmp_path: Path) -> None:
    for name in ("distilled", "distilled_seed43", "vanilla_seed42", "vanilla-seed43"):
        (tmp_path / f"{name}.pth").touch()

    def chosen(*wanted: str) -> list[str]:
        return [model.name for model in find_models(tmp_path, list(wanted))]

    assert chosen("vanilla") == ["vanilla-seed43", "vanilla_seed42"]
    assert chosen("seed43", "distilled") == ["distilled_seed43", "vanilla-seed43", "distilled"]
    assert chosen("distilled") == ["distilled"]  # there is a model of this very name
    with pytest.raises(UserError, match=r"no model seed in .* there are: distilled, "):
        chosen("seed")
