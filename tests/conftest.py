"""Fixtures shared by the tests: the parity data and small cities."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """The original programs' numbers: the shared folder where it is at hand, else our copy."""
    shared = HERE.parent.parent / "shared" / "parity"
    return shared if (shared / "hoser_out.npz").exists() else HERE / "parity"


@pytest.fixture(scope="session")
def parity_city(parity_dir: Path) -> Path:
    """The small city the parity numbers were computed on (read-only: copy before writing)."""
    return parity_dir / "city"
