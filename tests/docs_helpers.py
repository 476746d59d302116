"""The documentation as blocks, programs made to parse only, and a scratch copy of the project."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config import load_config, load_evaluation_config
from config.finding import config_file
from config.loading import parse_assignments

ROOT = Path(__file__).parent.parent
# A block with one of these cannot run on the demo city and one CPU.
ELSEWHERE = re.compile(
    r"torchrun|--cuda|/path/to|Beijing|Porto|San_Francisco|lmtad_checkpoint|postgresql://|mysql"
    r"|\.venv|tensorboard|optuna-dashboard|\bpip\b|\bwandb sync|hf download|python -m bench"
    r"|(?m:^make )"
)
# A student of a demo that trains in a second, to be put below `trajectory_encoder_config`.
NARROW_SECTIONS = """
navigator_config: {hidden_dim: 32}
road_network_encoder_config:
  road_id_emb_dim: 16
  len_emb_dim: 4
  type_emb_dim: 4
  lon_emb_dim: 4
  lat_emb_dim: 4
  intersection_emb_dim: 32
  zone_id_emb_dim: 32
"""
OTHER_TOOLS = {"source", "tensorboard", "optuna-dashboard", "pip", "wandb", "hf", "wait"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs_here(self) -> bool:
        return not ELSEWHERE.search(self.text)

    def commands(self) -> list[list[str]]:
        """The commands as words, continued lines joined."""
        joined = self.text.replace("\\\n", " ")
        return [
            words for line in joined.splitlines() if (words := shlex.split(line, comments=True))
        ]


def blocks_of(page: str) -> list[Block]:
    found: list[Block] = []
    lines: list[str] = []
    language, start = None, 0
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"^\s*```(\w*)$", line)
        if fence and language is None:
            language, start, lines = fence[1], number, []
        elif fence:
            found.append(Block(page, start, str(language), textwrap.dedent("\n".join(lines))))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{page}:{start}: the block is never closed"
    return found


def prose_of(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"^\s*```.*?^\s*```$", "", text, flags=re.DOTALL | re.MULTILINE)


class Parsed(BaseException):
    """Carries what a program's parser made of its arguments out of the program."""


@contextlib.contextmanager
def parsing_only() -> Iterator[None]:
    """Programs parse their arguments for real and then stop."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
        raise Parsed(original(self, *args, **kwargs))

    argparse.ArgumentParser.parse_args = parse_args  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]


def run_program(program: str, arguments: list[str]) -> None:
    """Runs a program in this process as `python PROGRAM` or `python -m PROGRAM` would."""
    is_package = (ROOT / program.replace(".", "/") / "__main__.py").exists()
    name = f"{program}.__main__" if is_package else program
    imported = sys.modules.pop(name, None)  # Python warns of one that is imported and run
    saved, sys.argv = sys.argv, [program, *arguments]
    try:
        if program.endswith(".py"):
            runpy.run_path(str(ROOT / program), run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    finally:
        sys.argv = saved
        if imported is not None:
            sys.modules[name] = imported


def split_program(words: list[str]) -> tuple[str, list[str]] | None:
    """Which program of ours a command runs, and with which arguments."""
    if words[0] == "torchrun":
        place = next(i for i, word in enumerate(words) if word.endswith(".py"))
        return words[place], words[place + 1 :]
    if words[0] in ("python", "python3"):
        return (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])
    if words[0].endswith(".sh"):
        seeds = words.index("--seeds") if "--seeds" in words else None
        rest = words[1:] if seeds is None else words[1:seeds] + words[seeds + 2 :]
        return "python_pipeline.py", rest
    return None


def check_parses(where: str, program: str, arguments: list[str]) -> None:
    """Flags and values pass the program's own parser; keys given by --set exist."""
    if program.startswith("bench"):
        assert (ROOT / "bench" / f"{program.partition('.')[2] or '__main__'}.py").exists(), where
        return
    try:
        with parsing_only(), contextlib.redirect_stderr(io.StringIO()) as errors:
            run_program(program, arguments)
    except Parsed as parsed:
        namespace = parsed.args[0]
    except SystemExit:
        pytest.fail(f"{where}: {program} {shlex.join(arguments)}: {errors.getvalue()}")
    overrides = parse_assignments(getattr(namespace, "set", None) or [])
    if program == "python_pipeline.py":
        load_evaluation_config(ROOT / "config" / "evaluation.yaml", overrides)
    elif overrides:
        load_config(_shipped(namespace), overrides)


def _shipped(namespace: argparse.Namespace) -> Path:
    given = getattr(namespace, "config", None)
    if given is not None and (ROOT / given).is_file():
        return ROOT / given
    given_folder = getattr(namespace, "data_dir", None)
    return config_file(None, getattr(namespace, "dataset", None), given_folder)


# Running


@dataclass
class Scratch:
    """A copy of the project in which the pages' commands are run."""

    folder: Path
    environment: dict[str, str]

    def run(self, block: Block) -> str | None:
        """Runs a block; None where it went well, else what happened."""
        python = block.language == "python"
        command = (
            ["python", "-c", block.text]
            if python
            else ["bash", "-euo", "pipefail", "-c", block.text]
        )
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode == 0:
            return None
        return f"{block.where}: exit code {done.returncode}\n{block.text}\n{done.stderr[-2000:]}"

    def run_page(self, page: str) -> list[str]:
        """Runs the page's blocks in order; what failed."""
        blocks = [
            block
            for block in blocks_of(page)
            if block.language == "python" or (block.language == "bash" and block.runs_here)
        ]
        return [failure for block in blocks if (failure := self.run(block)) is not None]


def lay_out(folder: Path) -> None:
    """The project as a clone would have it; packages are links, so compiled loops are shared."""
    folder.mkdir()
    for file in [*ROOT.glob("*.py"), *ROOT.glob("*.sh")]:
        shutil.copy2(file, folder / file.name)
    shutil.copytree(ROOT / "config", folder / "config")
    demo = folder / "config" / "demo.yaml"
    _shorten(demo, "max_epoch: 6\n", "max_epoch: 1\n")
    _shorten(demo, "trips: 6000", "trips: 60")
    _shorten(demo, "  final_run:\n", "  final_run:\n    num_gene: 20\n")
    _shorten(demo, "  max_len: 256\n", f"  max_len: 256\n  hidden_dim: 32\n{NARROW_SECTIONS}")
    (folder / "data").mkdir()
    for file in (ROOT / "data").glob("*.py"):
        shutil.copy2(file, folder / "data" / file.name)
    (ROOT / "data" / "__pycache__").mkdir(exist_ok=True)
    inner = [package.parent.name for package in (ROOT / "data").glob("*/__init__.py")]
    for name in ("__pycache__", *inner):
        (folder / "data" / name).symlink_to(ROOT / "data" / name)
    for package in ROOT.glob("*/__init__.py"):
        name = package.parent.name
        if name not in ("config", "data", "tests", "bench"):
            (folder / name).symlink_to(package.parent)


def _shorten(file: Path, usual: str, short: str) -> None:
    """What the demo takes for its figures' sake; a command runs as well with less of it."""
    text = file.read_text(encoding="utf-8")
    assert usual in text, f"{file.name} has no {usual.strip()}"
    file.write_text(text.replace(usual, short), encoding="utf-8")
