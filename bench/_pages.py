"""Tables that benches write between marks of a page; the text around them stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from runtime.errors import UserError
from runtime.files import atomic_write_text

_MARK = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.S)


def fill(page: Path, tables: Mapping[str, Callable[[], str]]) -> None:
    """Writes each table between `<!-- bench: NAME -->` and `<!-- end -->`."""
    text = page.read_text(encoding="utf-8")
    wanted = {name for _, name, _ in _MARK.findall(text)}
    if unknown := sorted(wanted - set(tables)):
        raise UserError(f"{page} asks for tables that there are not: {', '.join(unknown)}.")
    if not wanted:
        raise UserError(f"{page} has no place for tables; expected <!-- bench: NAME -->.")

    def filled(mark: re.Match[str]) -> str:
        return f"{mark[1]}\n{tables[mark[2]]()}\n\n{mark[3]}"

    atomic_write_text(page, _MARK.sub(filled, text))


def change_of(measure: str, difference: float, relative: float) -> str:
    """How a measure has changed: accuracies in points, all others as a share of what they were."""
    if measure.startswith("accuracy"):
        return f"{100 * difference:+.2f} points"
    return f"{100 * relative:+.1f} %"
