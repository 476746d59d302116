"""Fixtures shared by the tests: the parity data and small cities."""

from __future__ import annotations

import gc
import logging
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import torch

from runtime.logs import ROOT

if TYPE_CHECKING:
    from train_with_distill import TrainResult

HERE = Path(__file__).parent
IN_MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = 4 << 30  # several times what all tests leave


def pytest_configure() -> None:
    """Tests write in memory where it has room: most of many a study is waiting for a disk's fsync.

    No test brings about a power cut, which alone would tell.
    """
    if IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK):
        room = min(shutil.disk_usage(IN_MEMORY).free, psutil.virtual_memory().available // 2)
        if room >= MEMORY_NEEDED_BYTES:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was captured travels between processes, which half a character cannot."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: the others fill what they leave at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What the libraries hold lives as long as the tests: no collection looks through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small models gain nothing from threads, and bit-for-bit tests need the same number."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """The original programs' numbers: the shared folder where it is at hand, else our copy."""
    shared = HERE.parent.parent / "shared" / "parity"
    return shared if (shared / "hoser_out.npz").exists() else HERE / "parity"


@pytest.fixture(scope="session")
def parity_city(parity_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small city the parity numbers were computed on; caches may go there."""
    folder = tmp_path_factory.mktemp("parity") / "city"
    shutil.copytree(
        parity_dir / "city",
        folder,
        copy_function=shutil.copyfile,
        ignore=shutil.ignore_patterns(".*"),
    )
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def tiny_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo city of 200 roads and 120 trips with its zones and caches; not to be changed."""
    from data.demo_city import make_demo_city
    from data.preprocess import ensure_zones

    folder = make_demo_city(tmp_path_factory.mktemp("city") / "tiny", 200, 120, 0, progress=False)
    ensure_zones(folder)
    return folder


@pytest.fixture(scope="session")
def vanilla_run(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """`tiny_config` trained to its end, without a teacher; not to be changed."""
    from tests.training_helpers import tiny_config
    from train_with_distill import train

    return train(tiny_config(tiny_city, tmp_path_factory.mktemp("vanilla")))


@pytest.fixture(autouse=True)
def untouched_logging() -> None:
    """Each test finds the project's logging as a script does that has set nothing up."""
    root = logging.getLogger(ROOT)
    root.setLevel(logging.NOTSET)
    root.propagate = True
    root.handlers.clear()


@pytest.fixture
def no_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment in which nobody is logged in to WandB."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


class Messages(logging.Handler):
    """Keeps what the project logs, once each."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """The log lines of the project during a test."""
    root, handler = logging.getLogger(ROOT), Messages()
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(level)
