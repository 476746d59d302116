"""Results as text: aligned for the screen, in Markdown for papers and pull requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metrics.assessment import Measures
from metrics.comparison import Comparison, ComparisonRow
from metrics.measures import HEADLINE, MEASURES, Measure
from runtime.errors import markdown_text, one_line


def number(value: float | None) -> str:
    """A value with four decimals, or a dash where there is none."""
    return "–" if value is None else f"{value:.4f}"


def with_floor(text: str, floor: float | None) -> str:
    """A divergence and, in brackets, its floor; other measures have none."""
    return text if floor is None else f"{text} ({floor:.4f})"


def screen_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Columns aligned for a fixed-width screen: text left, everything after it right."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [_line(header, widths), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def markdown_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """The same as a Markdown table."""
    ruler = [":--"] + ["--:"] * (len(header) - 1)
    return "\n".join(
        "| " + " | ".join(_escape_cell(cell) for cell in row) + " |"
        for row in [header, ruler, *rows]
    )


def _escape_cell(text: str) -> str:
    """Text as text: the table's own signs do not come from a model's name."""
    return markdown_text(text).replace("\\", "\\\\").replace("|", "\\|")


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "→": r"$\to$", "×": r"$\times$", "°": r"$^\circ$", "–": "--", "…": r"\dots{}",
    "<": r"$<$", "↓": r"$\downarrow$", "↑": r"$\uparrow$",
}  # fmt: skip


def latex_table(rows: Sequence[Sequence[str]], header: Sequence[str], caption: str) -> str:
    """The same for a paper: a `table` with the rules of booktabs."""
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escape_latex(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        _latex_row(header),
        r"\midrule",
        *(_latex_row(row) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(_escape_latex(cell) for cell in cells) + r" \\"


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def measures_table(measures: Measures) -> str:
    """One evaluation's measures with their intervals."""
    rows = []
    for name, measure in MEASURES.items():
        if name not in measures.values:
            continue
        interval = measures.intervals.get(name)
        between = "" if interval is None else f"{interval.low:.4f} … {interval.high:.4f}"
        real, generated = "", ""
        floor = number(measures.values.get(measure.floor)) if measure.is_divergence else ""
        quantity = name.removesuffix("_jsd")
        if quantity != name:
            real = number(measures.values[f"{quantity}_real_mean"])
            generated = number(measures.values[f"{quantity}_gen_mean"])
        value = number(measures.values[name])
        rows.append([measure.heading, value, between, floor, real, generated])
    header = ["measure", "value", "95 % interval", "floor", "real mean", "generated mean"]
    return screen_table(rows, header)


def models_rows(
    results: dict[str, dict[str, Any]], comparison: Comparison | None
) -> tuple[list[list[str]], list[str]]:
    """Models side by side, with stars where one differs from the first; rows and header."""
    names = list(results)
    rows = []
    for name in names:
        row = [name]
        for measure in HEADLINE:
            tested = None
            if comparison is not None and name != names[0]:
                tested = comparison.row(names[0], name, measure.name)
            row.append(measured(results[name], measure) + _mark(tested))
        rows.append(row)
    return rows, ["model", *(measure.heading for measure in HEADLINE)]


def measured(results: Mapping[str, Any], measure: Measure) -> str:
    """A measure in the content of a `results.json`, with its floor if it is a divergence."""
    return with_floor(number(results.get(measure.name)), results.get(measure.floor))


def _mark(row: ComparisonRow | None) -> str:
    if row is None or not row.mark:
        return ""
    return f" {row.mark}{'↓' if row.mean_difference < 0 else '↑'}"


def comparison_rows(comparison: Comparison) -> tuple[list[list[str]], list[str]]:
    """Every test of a comparison; rows and header."""
    header = ["models", "measure", "pairs", "first", "second", "floor", "change"]
    header += ["95 % interval"]
    header += ["effect", "test", "p", "p Holm", "p BH", "t-test p", ""]
    return [_comparison_row(row) for row in comparison.rows], header


def _comparison_row(row: ComparisonRow) -> list[str]:
    change = "–" if row.relative_difference is None else f"{100 * row.relative_difference:+.1f} %"
    interval = row.interval
    return [
        f"{row.first} → {row.second}",
        MEASURES[row.measure].heading,
        str(row.count),
        number(row.mean_first),
        number(row.mean_second),
        "" if row.floor is None else number(row.floor),
        change,
        "–" if interval is None else f"{interval.low:+.4f} … {interval.high:+.4f}",
        "–" if row.effect_size is None else f"{row.effect_size:+.3f}",
        row.test,
        f"{row.p:.2g}",
        f"{row.p_holm:.2g}",
        f"{row.p_bh:.2g}",
        "–" if row.t_p is None else f"{row.t_p:.2g}",
        row.mark,
    ]


MARKS_LEGEND = (
    "Stars: lower (↓) or higher (↑) than the first model on the OD pairs they share, p corrected "
    "by Holm (* p < 0.05, ** p < 0.01, *** p < 0.001). In brackets beside a divergence: its floor, "
    "what two samples of the real trips differ by."
)
