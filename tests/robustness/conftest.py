"""The robustness suite's fixtures: programs that start at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.robustness.programs", "tests.robustness.survival")

from tests.robustness.programs import Programs  # noqa: E402


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """One server for each process that runs tests."""
    server = Programs(tmp_path_factory.mktemp("programs"))
    yield server
    server.close()
