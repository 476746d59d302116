"""Every program, each of its arguments that takes a text, and a list of texts that do harm.

Whatever is given, a program does its work or ends with one line and exit code 2. The programs run
in this process, through the entry that they have on the command line.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import Config
from config.arguments import Parser
from runtime.errors import UserError, run_main
from training.folder import RunFolder

PROGRAMS = [
    "train_with_distill",
    "tune_hoser",
    "gene",
    "evaluation",
    "python_pipeline",
    "data.demo_city.__main__",
    "data.demo_city.characters",
    "data.demo_city.gps",
    "data.match.__main__",
    "data.osm.__main__",
    "data.osm.export",
    "data.preprocess.__main__",
    "data.preprocess.get_zone_trans_mat",
    "data.preprocess.partition_road_network",
    "tools.baselines",
    "tools.cache",
    "tools.collect_distill_artifacts",
    "tools.convert_trips",
    "tools.export_hoser",
    "tools.export_lmtad_weights",
    "tools.fit_detour_cost",
    "tools.fit_times",
    "tools.fit_way",
    "tools.leakage",
    "tools.own_city",
    "tools.precompute_distill_tokens",
    "tools.score_trips",
    "tools.teacher_report",
    "tools.train_lmtad",
    "tools.utility",
]
# So that a program which finds nothing wrong is soon done.
LITTLE = {
    "gene": ["--num_gene=2", "--search=shortest_path", "--no-progress"],
    "evaluation": ["--bootstrap=0", "--no_report"],
    "tune_hoser": ["--dry_run"],
    "tools.baselines": ["--num_gene=2"],
    "tools.fit_detour_cost": ["--num_trips=2", "--costs=1"],
    "tools.score_trips": ["--max_trips=2", "--no-report"],
    "tools.utility": ["--set=optimizer_config.max_epoch=1"],
    "data.demo_city.__main__": ["--roads=200", "--trips=20", "--quiet"],
    "tools.train_lmtad": ["--n_layer=1", "--n_head=2", "--n_embd=16", "--epochs=1", "--no-report"],
}
HARMFUL = [
    "",
    " ",
    "~",
    "..",
    "x" * 300,
    "/".join(["deep"] * 2000),
    "no/such/place",
    "new\nline",
    "\x1b[31mred",
    "caf\udce9.csv",
    "[1, 2]",
    "!!int x",
    "%s {0}",
    "{here}",
    "{here}/empty",
    "{here}/binary",
    "{here}/not_utf8",
    "{here}/nul",
    "{here}/huge",
    "{here}/circle",
    "{here}/empty/below",
    "{here}/deep.json",
    "/dev/null",
    "/proc/self/mem",
    "postgresql://u:secret@127.0.0.1:1/n",
]


@dataclass(frozen=True)
class Asked(Exception):
    """Thrown by the parser in place of parsing."""

    parser: Parser


@dataclass(frozen=True)
class Place:
    """Arguments that make every program end soon, and files that nothing can be made of."""

    folder: Path
    usual: dict[str, str]


def main_of(program: str) -> Callable[[], int | None]:
    return importlib.import_module(program).main  # type: ignore[no-any-return]


def parser_of(program: str) -> Parser:
    """The program's parser, from the program itself."""
    parse = Parser.parse_known_args

    def ask(parser: Parser, *_: Any) -> Any:
        raise Asked(parser)

    Parser.parse_known_args = ask  # type: ignore[assignment, method-assign]
    try:
        main_of(program)()
    except Asked as asked:
        return asked.parser
    finally:
        Parser.parse_known_args = parse  # type: ignore[method-assign]
    raise AssertionError(f"{program} has no arguments")


def takes_text(action: argparse.Action) -> bool:
    return action.nargs != 0 and action.choices is None and action.type in (None, Path)


def attacks() -> list[tuple[str, str]]:
    """Every program with each of its arguments that takes a text."""
    return [
        (program, action.option_strings[0])
        for program in PROGRAMS
        for action in parser_of(program)._actions
        if action.option_strings and takes_text(action)
    ]


@pytest.fixture(scope="module")
def place(trained: Config, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("attack")
    (folder / "empty").touch()
    (folder / "binary").write_bytes(bytes(range(256)) * 64)
    (folder / "not_utf8").write_bytes("origin,destination,start\nné\n".encode("latin-1"))
    (folder / "nul").write_bytes(b"dataset: a\0b\n")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "circle").symlink_to(folder / "circle")
    with (folder / "huge").open("wb") as file:
        file.truncate(1 << 26)
    run = RunFolder.of(trained)
    usual = {
        "--config": str(Path(trained.save_dir).parent / "config.yaml"),
        "--data_dir": trained.data_dir,
        "--data-dir": trained.data_dir,
        "--model_path": str(run.best),
        "--checkpoint": str(folder / "binary"),
        "--run_dir": str(run.path),
        "--generated_file": str(folder / "not_utf8"),
        "--generated_csv": str(folder / "not_utf8"),
        "--eval-dir": str(folder),
        "--run_name": "bundle",
        "--backup_root": str(folder / "empty"),
        "--out": str(folder / "empty"),
        "--output": str(folder / "empty" / "below"),
        "--save_dir": str(folder / "empty"),
        "--teacher": str(folder / "binary"),
        "--output_dir": str(folder / "empty"),
        "--gps": str(folder / "not_utf8"),
        "--model": str(folder / "binary"),
        "--od_file": str(folder / "not_utf8"),
    }
    return Place(folder, usual)


ATTACKS = attacks()


@pytest.mark.slow
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(attack=st.sampled_from(ATTACKS), harm=st.sampled_from(HARMFUL))
def test_an_argument_is_used_or_refused_in_one_line(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    attack: tuple[str, str],
    harm: str,
) -> None:
    program, flag = attack
    known = {name for action in parser_of(program)._actions for name in action.option_strings}
    given = {name: value for name, value in place.usual.items() if name in known}
    given[flag] = harm.replace("{here}", str(place.folder))
    if program == "tune_hoser":
        given.setdefault("--storage", f"sqlite:///{place.folder}/empty/study.db")
    words = [f"{name}={value}" for name, value in given.items()]
    work = place.folder / "work"
    work.mkdir(exist_ok=True)
    with monkeypatch.context() as patch:
        patch.chdir(work)
        patch.setenv("WANDB_MODE", "disabled")
        patch.setattr(sys, "argv", [program, *words, *LITTLE.get(program, [])])
        with pytest.raises(SystemExit) as ended:
            run_main(main_of(program))
    shown = capsys.readouterr().err
    what = f"{program} {flag}={harm!r}: {shown[-1500:]}"
    assert ended.value.code in (0, 1, 2), what
    assert ended.value.code != 1 or program == "python_pipeline", what
    assert "Traceback" not in shown and "\x1b" not in shown and "secret" not in shown, what
    if ended.value.code == 2:
        assert shown.rstrip("\n").splitlines()[-1].startswith("error: "), what


@pytest.mark.parametrize(
    ("program", "flag"), [("tools.cache", "--config"), ("data.osm.__main__", "--pbf")]
)
def test_a_pipe_is_not_waited_for(
    place: Place, tmp_path: Path, program: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    other = ["--data_dir", place.usual["--data_dir"]] if program == "tools.cache" else []
    words = [program, flag, str(tmp_path / "pipe"), *other, *([] if other else ["--out", "net"])]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(UserError, match=f"{flag} is '.*pipe', a pipe"):
        main_of(program)()


def test_every_program_is_attacked() -> None:
    assert len(ATTACKS) > 60 and {program for program, _ in ATTACKS} == set(PROGRAMS)
