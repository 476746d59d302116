"""Arrays mapped from files: read whole or here and there, their pages do not stay in memory."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.peak import status_mib
from data.mapped import forget, held, pieces

MIB = 1 << 20
SIZE_MIB = 64

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="sizes are read from /proc")


@pytest.fixture
def column(tmp_path: Path) -> np.memmap:
    path = tmp_path / "column.bin"
    np.arange(SIZE_MIB * MIB // 4, dtype=np.int32).tofile(path)
    return np.memmap(path, dtype=np.int32, mode="r")


@only_linux
def test_reading_piece_by_piece_keeps_a_piece(column: np.memmap) -> None:
    before = status_mib("VmRSS")
    total = 0
    for piece in pieces(column):
        total += int(piece.sum(dtype=np.int64))
        assert status_mib("VmRSS") < before + SIZE_MIB / 4
    assert total == int(np.arange(len(column)).sum())


@only_linux
def test_what_is_forgotten_is_read_again(column: np.memmap) -> None:
    before = status_mib("VmRSS")
    whole = int(column.sum(dtype=np.int64))
    assert status_mib("VmRSS") > before + SIZE_MIB / 2
    forget(column[10:])  # a view belongs to the same file
    assert status_mib("VmRSS") < before + SIZE_MIB / 4
    assert int(column.sum(dtype=np.int64)) == whole


def test_a_copy_is_held_in_memory(column: np.memmap) -> None:
    copy = held(column)
    assert not isinstance(copy, np.memmap) and copy.flags.writeable
    np.testing.assert_array_equal(copy, column)
    assert len(held(column[:0])) == 0


def test_forgetting_leaves_other_arrays_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(5)
    forget(values)
    forget(values[::2])
    monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)
    forget(values)
    np.testing.assert_array_equal(values, np.arange(5))
