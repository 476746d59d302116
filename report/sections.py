"""A part of the report that explains itself: a title, two sentences, tables and charts.

One section serves the HTML page, Markdown and LaTeX alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from report.tables import latex_table, markdown_table
from runtime.errors import markdown_text
from runtime.files import atomic_write_bytes, write_json


@dataclass(frozen=True)
class Table:
    """Rows of text under a header."""

    caption: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Dot:
    """A named value with its interval."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    floor: float | None = None  # of a divergence


@dataclass(frozen=True)
class Dots:
    """Values side by side."""

    title: str
    unit: str
    rows: list[Dot]


@dataclass(frozen=True)
class Point:
    """A named point."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Scatter:
    """Points in the plane; `log_x` where they spread over magnitudes."""

    title: str
    x_label: str
    y_label: str
    points: list[Point]
    log_x: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    key: str
    title: str
    note: str
    tables: Sequence[Table] = ()
    dots: Sequence[Dots] = ()
    scatters: Sequence[Scatter] = ()
    warnings: Sequence[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The section as the page's scripts read it."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The section as Markdown."""
        warnings = [f"**{markdown_text(warning)}**" for warning in self.warnings]
        parts = [f"## {markdown_text(self.title)}", self.note, *warnings]
        for table in self.tables:
            parts += [
                f"### {markdown_text(table.caption)}",
                markdown_table(table.rows, table.header),
            ]
        return "\n\n".join(parts) + "\n"

    def to_latex(self) -> str:
        """The section's tables for a paper (package booktabs)."""
        return "\n".join(
            latex_table(table.rows, table.header, table.caption) for table in self.tables
        )


def write_section(section: Section, stem: Path) -> list[Path]:
    """Writes the section beside `stem` as JSON, Markdown and LaTeX."""
    files = [stem.with_suffix(f".{kind}") for kind in ("json", "md", "tex")]
    write_json(files[0], section.to_json())
    atomic_write_bytes(files[1], section.to_markdown().encode())
    atomic_write_bytes(files[2], section.to_latex().encode())
    return files
