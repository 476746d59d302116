"""Damaged versions of a file, and the judgement over what a reader makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from runtime.errors import UserError, one_line

Result = TypeVar("Result")


def damaged_versions(
    original: bytes, seed: int, *, cuts: int = 6, flips: int = 12, blocks: int = 6
) -> Iterator[tuple[str, bytes]]:
    """Names and contents: nothing, noise, truncations, flipped bits, overwritten blocks."""
    draw = random.Random(seed)
    size = len(original)
    yield "empty", b""
    yield "zeros", bytes(size)
    yield "noise", draw.randbytes(min(size, 1 << 16))
    yield "text", b"not what was expected\n" * 3
    yield "other bytes after the end", original + draw.randbytes(40)
    yield "last byte missing", original[:-1]
    for _ in range(cuts):
        cut = draw.randrange(size)
        yield f"cut at {cut}", original[:cut]
    for _ in range(flips):
        bit = draw.randrange(8 * size)
        spoilt = bytearray(original)
        spoilt[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(spoilt)
    for _ in range(blocks):
        begin, length = draw.randrange(size), draw.randint(1, min(64, size))
        end = min(begin + length, size)
        yield (
            f"noise in {begin}:{end}",
            original[:begin] + draw.randbytes(end - begin) + original[end:],
        )


def read_or_refuse(what: str, path: Path, read: Callable[[], Result]) -> Result | None:
    """What `read` returns; None where it refuses `path` as a user's mistake, naming it.

    Any other exception fails, and so does a change of the file.
    """
    before = path.read_bytes()
    result = None
    try:
        result = read()
    except UserError as error:
        text = one_line(error)
        assert path.name in text, f"{what}: the message does not name {path.name}: {text}"
        assert len(text) < 1500, f"{what}: the message has {len(text)} characters"
    except Exception as error:
        raise AssertionError(f"{path.name} with {what}: {type(error).__name__}: {error}") from error
    assert path.read_bytes() == before, f"{what}: {path.name} was changed"
    return result


def spoil(path: Path, seed: int, judge: Callable[[str], None], **amounts: int) -> None:
    """Calls `judge` for each damaged version of a file, which is mended afterwards."""
    original = path.read_bytes()
    try:
        for what, data in damaged_versions(original, seed, **amounts):
            path.write_bytes(data)
            judge(what)
    finally:
        path.write_bytes(original)
