"""The documentation tried out: its commands, configurations, links and names.

Every ```bash block is a script. Blocks that a demo city and one CPU can serve run as written, page
by page, in a scratch copy of the project whose `data/demo` is a tiny city made beforehand by
`python -m data.demo_city`. The others (GPUs, several machines, foreign data, other tools) are
parsed by the programs' own parsers, and the configuration keys they set are checked.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import BaseModel

from config import load_config, load_evaluation_config
from config.evaluation import EvaluationConfig
from config.loading import _fields
from config.schema import Config
from runtime.errors import UserError
from tests.docs_helpers import (
    OTHER_TOOLS,
    ROOT,
    Block,
    Scratch,
    blocks_of,
    check_parses,
    lay_out,
    prose_of,
    run_program,
    split_program,
)
from tests.programs import ProgramServer

PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
PROGRAMS = [
    "train_with_distill.py",
    "tune_hoser.py",
    "gene.py",
    "evaluation.py",
    "python_pipeline.py",
    "tools.demo",
    "tools.baselines",
    "tools.convert_trips",
    "tools.leakage",
    "tools.utility",
    "tools.train_lmtad",
    "tools.teacher_report",
    "tools.precompute_distill_tokens",
    "tools.export_lmtad_weights",
    "tools.export_hoser",
    "tools.collect_distill_artifacts",
    "data.preprocess",
    "data.preprocess.partition_road_network",
    "data.preprocess.get_zone_trans_mat",
    "data.demo_city",
]
FILE = re.compile(r"\.(py|md|html|json|yaml|csv|log|pth?)$")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    folder = tmp_path_factory.mktemp("docs") / "project"
    lay_out(folder)
    server = ProgramServer(folder)  # its modules serve each page's copy, too: no page changes them
    server.wait_until_ready()
    path = f"{server.folder}{os.pathsep}{os.environ['PATH']}"
    environment = {**server.environment, "PATH": path}
    made = Scratch(folder, environment)
    command = "python -m data.demo_city --out data/demo --roads 200 --trips 200 --quiet"
    failure = made.run(Block("a tiny demo city", 0, "bash", command))
    assert failure is None, failure
    yield made
    server.close()


@pytest.fixture(scope="module")
def failures(scratch: Scratch) -> dict[str, list[str]]:
    """What failed on each page: README first, then each page from a copy of what it leaves."""
    found = {"README.md": scratch.run_page("README.md")}

    def run_in_copy(page: str) -> list[str]:
        folder = scratch.folder.with_name(Path(page).stem)
        shutil.copytree(scratch.folder, folder, symlinks=True)
        return Scratch(folder, scratch.environment).run_page(page)

    others = PAGES[1:]
    with ThreadPoolExecutor(max_workers=2) as pool:
        found.update(zip(others, pool.map(run_in_copy, others), strict=True))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs(page: str, failures: dict[str, list[str]]) -> None:
    assert not failures[page], "\n\n".join(failures[page])


# Checking


@pytest.mark.parametrize("page", PAGES)
def test_commands_for_elsewhere_parse(page: str) -> None:
    for block in blocks_of(page):
        if block.language != "bash" or block.runs_here:
            continue
        for words in block.commands():
            where = f"{block.where}: {shlex.join(words)}"
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if not words or words[0] in OTHER_TOOLS:
                continue
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), where
                continue
            program = split_program([word for word in words if word != "&"])
            assert program is not None, f"{where}: which program is that?"
            check_parses(where, *program)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_shows_examples_that_parse(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        run_program(program, ["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n" in text
    examples = text.partition("examples:\n")[2]
    commands = re.sub(r"\\\n\s*", "", examples).splitlines()
    for example in filter(None, map(str.strip, commands)):
        command = example.partition("     ")[0]  # an explanation may follow
        found = split_program(shlex.split(command))
        assert found is not None and found[0] == program, example
        check_parses(f"{program} --help", *found)


def test_every_program_is_in_the_readme() -> None:
    table = (ROOT / "README.md").read_text()
    steps = ("data.preprocess.partition_road_network", "data.preprocess.get_zone_trans_mat")
    for program in PROGRAMS:
        name = f"python -m {program}" if not program.endswith(".py") else program
        assert program in steps or f"| `{name}` |" in table, program


def test_flags_named_in_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (ROOT / "README.md").read_text().splitlines():
        row = re.match(r"\| `(?:python -m )?([\w.]+)`[^|]*\|[^|]*\|(.*)\|$", line)
        if row is None or row[1] not in PROGRAMS:
            continue
        with pytest.raises(SystemExit):
            run_program(row[1], ["--help"])
        text = capsys.readouterr().out
        for flag in re.findall(r"`(--[\w-]+)", row[2]):
            assert re.search(rf"{flag}\b", text), f"{row[1]} has no {flag}"


@pytest.mark.parametrize("page", PAGES)
def test_configurations_are_valid(page: str, tmp_path: Path) -> None:
    for block in blocks_of(page):
        if block.language != "yaml":
            continue
        file = tmp_path / "config.yaml"
        file.write_text(block.text)
        try:
            load_config(file)
        except UserError as error:
            try:
                load_evaluation_config(file)
            except UserError:
                pytest.fail(f"{block.where}: {error}")


def _exists(path: str, model: type[BaseModel]) -> bool:
    current: type[BaseModel] | None = model
    for name in path.split("."):
        names = dict(_fields(current))
        if name not in names:
            return False
        current = names[name]
    return True


def _is_code(name: str) -> bool:
    """Whether a dotted name is a module or a file of the project, or something within one."""
    parts = name.split(".")
    return any(
        (ROOT / Path(*parts[:n])).with_suffix(".py").exists() or (ROOT / Path(*parts[:n])).is_dir()
        for n in range(2, len(parts) + 1)
    )


@pytest.mark.parametrize("page", PAGES)
def test_configuration_keys_exist(page: str) -> None:
    sections = {name for model in (Config, EvaluationConfig) for name, _ in _fields(model)}
    for name in re.findall(r"`([a-z_]+\.[a-z_0-9.]+?)(?:[=:][^`]*)?`", prose_of(page)):
        if name.partition(".")[0] not in sections or _is_code(name) or FILE.search(name):
            continue
        known = any(_exists(name, model) for model in (Config, EvaluationConfig))
        assert known, f"{page}: there is no configuration key {name}"


def _anchor(heading: str) -> str:
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return text.replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_and_images_resolve(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
            assert anchor in map(_anchor, headings), f"{page}: {target} leads nowhere"


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_files_named_exist(page: str) -> None:
    """Paths in backticks that begin with a folder of ours are there, or are made by a program."""
    made = re.compile(
        r"^(data/(demo|mycity|Beijing|Porto|San_Francisco|<)|docs/benchmarks\.md|config/mycity)"
    )
    folders = "|".join(
        re.escape(path.name)
        for path in ROOT.iterdir()
        if path.is_dir() and (path / "__init__.py").exists()
    )
    for name in re.findall(rf"`((?:{folders}|docs|tests)/[\w./-]*)`", prose_of(page)):
        if not made.match(name):
            assert (ROOT / name).exists(), f"{page}: there is no {name}"


def _said_by_programs() -> str:
    """Every text in the code, one a line, with `…` for what is filled in."""
    texts = []
    for file in ROOT.rglob("*.py"):
        if file.relative_to(ROOT).parts[0] in (".venv", "tests", "bench", "build"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [n.value if isinstance(n, ast.Constant) else "…" for n in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return re.sub(r"%[sd.\d]*[dsf]", "…", "\n".join(texts))


def test_messages_in_troubleshooting_are_those_of_the_programs() -> None:
    said = _said_by_programs()
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    assert len(rows) > 20
    for message in rows:
        for part in filter(None, (part.strip() for part in message.split("…"))):
            assert part in said, f"no program says {part!r}"


def test_images_are_small() -> None:
    for image in (ROOT / "docs" / "images").glob("*"):
        assert image.stat().st_size < 300_000, image
