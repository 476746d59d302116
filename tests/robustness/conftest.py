"""The robustness suite's fixtures: programs that start at once, a trained student."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config import Config, dump_config
from tests.training_helpers import tiny_config
from train_with_distill import train

pytest.register_assert_rewrite("tests.robustness.programs", "tests.robustness.survival")

from tests.robustness.programs import Programs  # noqa: E402


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Starts programs, each to be killed or limited."""
    return Programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def trained_once(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one epoch."""
    folder = tmp_path_factory.mktemp("trained_once")
    train(tiny_config(tiny_city, folder, optimizer_config__max_epoch=1))
    return folder


@pytest.fixture(scope="module")
def trained(
    trained_once: Path, tiny_city: Path, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """The configuration of a student that is trained."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(trained_once, folder / "save")
    config = tiny_config(tiny_city, folder / "save", optimizer_config__max_epoch=1)
    (folder / "config.yaml").write_text(dump_config(config))
    return config
