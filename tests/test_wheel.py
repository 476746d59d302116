"""The wheel: built from the sources alone, used from another folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.training_helpers import REPOSITORY, environment

OUR_TOP_LEVEL = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel was installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\n")
    sources = folder / "sources"
    for name in filter(None, listed):
        file = REPOSITORY / name
        if file.is_file() and not name.startswith(("tests/", "docs/")):
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, sources / name)
    if not (sources / "pyproject.toml").is_file():
        pytest.skip("the sources are listed by git, and this is no clone")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-q", "-w", "dist", "./sources"]
    subprocess.run([*pip, *build], cwd=folder, check=True, capture_output=True, timeout=120)
    (wheel,) = (folder / "dist").glob("*.whl")
    target = ["install", "--no-deps", "-q", "--target", "site", str(wheel)]
    subprocess.run([*pip, *target], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "site"


def run(
    installed: Path, folder: Path, *command: str, **more: str
) -> subprocess.CompletedProcess[str]:
    program = str(installed / "bin" / command[0])
    return subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env=environment(PYTHONPATH=str(installed), **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_holds_what_the_programs_need_and_no_more(installed: Path) -> None:
    packages = {path.parent.name for path in installed.glob("*/__init__.py")}
    assert packages == OUR_TOP_LEVEL - {"tests", "bench"}
    assert all((installed / name / "py.typed").is_file() for name in packages)
    shipped = {file.name for file in (REPOSITORY / "config").glob("*.yaml")}
    assert {file.name for file in (installed / "config").glob("*.yaml")} == shipped
    assert (installed / "report" / "assets" / "page.html").is_file()


def test_every_command_is_there(installed: Path) -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert {path.name for path in (installed / "bin").iterdir()} >= set(scripts)
    import commands

    assert {entry.partition(":")[2] for entry in scripts.values()} == {
        name for name in vars(commands) if callable(getattr(commands, name)) and name[0] != "_"
    } - {"Callable", "NoReturn", "run_main"}


def test_it_works_from_another_folder(installed: Path, tmp_path: Path) -> None:
    made = run(
        installed,
        tmp_path,
        *["hoser-demo-city", "--out", "city", "--roads", "200", "--trips", "60"],
        NUMBA_DISABLE_JIT="1",  # compiling the loops anew here takes longer than running them
    )
    assert made.returncode == 0, made.stderr
    shown = run(installed, tmp_path, "hoser-train", "--data_dir", "city", "--print_config")
    assert shown.returncode == 0 and "dataset: city" in shown.stdout, shown.stderr
    assert str(installed / "config" / "Beijing.yaml") in shown.stderr
    unknown = run(installed, tmp_path, "hoser-generate", "--dataset", "Rome")
    assert unknown.returncode == 2
    assert unknown.stderr.splitlines()[-1].startswith("error: There is no shipped configuration")
