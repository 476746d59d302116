"""The report of an evaluation: one HTML file that needs nothing else, and pictures beside it.

The page is a template with its style, scripts and data put inside. Everything that comes from
files travels as JSON and is shown as text, never as markup; a content security policy lets the
page run its own script only and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from metrics.comparison import Comparison
from report.behaviour import behaviour_section
from report.payload import Run, build_payload
from report.plots import write_comparison_plot, write_plots
from report.sections import Section
from report.tables import MARKS_LEGEND, comparison_rows, markdown_table, models_rows
from runtime.errors import markdown_text
from runtime.files import atomic_write_text, write_json
from runtime.logs import get_logger

__all__ = ["Extras", "Run", "render", "write_comparison", "write_report"]

logger = get_logger("report")

SCRIPTS = ["dom.js", "map.js", "charts.js", "tables.js", "sections.js", "app.js"]


@dataclass(frozen=True)
class Extras:
    """What a report shows beside its runs, and the formats of its pictures."""

    sections: Sequence[Section] = ()
    plot_formats: Sequence[str] = ("png",)


def write_report(
    folder: Path,
    runs: Sequence[Run],
    comparisons: Sequence[Comparison] = (),
    title: str = "Trajectory evaluation",
    extras: Extras | None = None,
) -> Path:
    """Writes `report.html` and `plots/` into `folder`; returns the page's path."""
    extras = extras or Extras()
    path = folder / "report.html"
    behaviour = behaviour_section(runs)
    sections = [*extras.sections, *([behaviour] if behaviour else [])]
    page = render(title, build_payload(title, runs, comparisons, sections))
    atomic_write_text(path, page)
    write_plots(folder / "plots", runs, extras.plot_formats)
    logger.info("The report is %s (%.1f MB).", path, len(page) / 1e6)
    return path


def render(title: str, payload: dict[str, Any], scripts: Sequence[str] = SCRIPTS) -> str:
    """The page as text; `scripts` draw it from the payload."""
    assets = resources.files("report") / "assets"
    style = (assets / "style.css").read_text(encoding="utf-8")
    body = "\n".join((assets / name).read_text(encoding="utf-8") for name in scripts)
    script = f'"use strict";\n(() => {{\n{body}\n}})();\n'
    parts = {
        "title": html.escape(title),
        "attribution": _attribution(payload.get("attribution", "")),
        "style": style,
        "style_hash": _csp_hash(style),
        "script": script,
        "script_hash": _csp_hash(script),
        "data": json_for_html(payload),
    }
    page = (assets / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], page)


def _attribution(text: str) -> str:
    return f"<footer>Roads: {html.escape(text)}</footer>" if text else ""


def json_for_html(payload: Any) -> str:
    """JSON in which nothing can end the script element that holds it."""
    text = json.dumps(payload, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _csp_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def write_comparison(
    folder: Path,
    comparisons: Sequence[Comparison],
    results: dict[str, dict[str, dict[str, Any]]] | None = None,
) -> None:
    """Writes `comparison.json`, `comparison.md` and `comparison.png` into `folder`.

    `results` maps OD source and model to the content of its `results.json`.
    """
    write_json(folder / "comparison.json", [each.to_json() for each in comparisons])
    sections = ["# Comparison of models\n"]
    for comparison in comparisons:
        sections.append(f"## OD pairs of {markdown_text(comparison.od_source)}\n")
        of_source = (results or {}).get(comparison.od_source)
        if of_source:
            sections += [markdown_table(*models_rows(of_source, comparison)), f"\n{MARKS_LEGEND}\n"]
        if comparison.rows:
            sections += [markdown_table(*comparison_rows(comparison)), ""]
        else:
            sections.append("No two models have an OD pair in common.\n")
    atomic_write_text(folder / "comparison.md", "\n".join(sections))
    write_comparison_plot(folder / "comparison.png", comparisons)
