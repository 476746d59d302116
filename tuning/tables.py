"""The study's tables, as Markdown and as aligned text for the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import markdown_text
from training.reporting import format_duration
from tuning.comparison import TITLES, PairedComparison, Spread
from tuning.records import TrialRecord

WIDEST_CELL = 80


@dataclass(frozen=True)
class Table:
    """A heading, column names and rows of text."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """The table in Markdown; vertical bars in cells are escaped."""
        lines = [f"## {markdown_text(self.title)}", ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("|" + "---|" * len(self.columns))
        for row in self.rows:
            cells = (markdown_text(cell).replace("|", "\\|") for cell in row)
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def text(self) -> str:
        """The table in aligned columns; long cells are cut."""
        rows = [self.columns, *([_cut(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = [self.title]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  " + "  ".join(cells).rstrip())
        return "\n".join(lines)


def trials_table(records: Sequence[TrialRecord], objectives: Sequence[str]) -> Table:
    """One row a trial."""
    names = list(dict.fromkeys(name for record in records for name in record.params))
    more = [name for name in ("throughput", "latency") if name in objectives]
    columns = [
        "trial",
        "mode",
        "state",
        "seed",
        *names,
        "accuracy",
        *more,
        "epochs",
        "time",
        "note",
    ]
    rows = []
    for record in records:
        measured = {"throughput": record.batches_per_second, "latency": record.latency_ms}
        note = record.failure or ""
        if record.retry_of is not None:
            note = f"second try at trial {record.retry_of}" + (f"; {note}" if note else "")
        rows.append(
            [
                str(record.number),
                record.mode,
                record.state,
                str(record.seed),
                *(format_value(record.params.get(name)) for name in names),
                _accuracy(record.accuracy),
                *(format_value(measured[name]) for name in more),
                str(record.epochs),
                format_duration(record.wall_seconds),
                note,
            ]
        )
    return Table("Trials", columns, rows)


def parameters_table(params: dict[str, Any], best_trial: int) -> Table:
    """The best parameters."""
    rows = [[f"distill.{name}", format_value(value)] for name, value in params.items()]
    return Table(f"Best parameters (trial {best_trial})", ["setting", "value"], rows)


def final_table(
    vanilla: dict[int, dict[str, Any]],
    distilled: dict[int, dict[str, Any]],
    comparisons: Sequence[PairedComparison],
) -> Table:
    """Accuracy of each seed, mean and spread, difference to vanilla, p."""
    metric = "val_next_step_acc"
    seeds = list(dict.fromkeys([*vanilla, *distilled]))
    tested = next((c for c in comparisons if c.metric == metric), None)
    columns = ["model", *(f"seed {seed}" for seed in seeds), "mean ± std", "difference", "p"]
    rows = []
    for name, runs in (("vanilla", vanilla), ("distilled", distilled)):
        scores = {seed: runs[seed].get(metric) for seed in seeds if seed in runs}
        known = {seed: float(value) for seed, value in scores.items() if value is not None}
        row = [name, *(_accuracy(known.get(seed)) for seed in seeds)]
        row.append(format_spread(Spread.of(known)) if known else "-")
        shown = tested if name == "distilled" else None
        row.append(f"{shown.difference:+.4f}" if shown else "")
        row.append(format_p(shown) if shown else "")
        rows.append(row)
    return Table("Final runs: next-step accuracy", columns, rows)


def comparison_table(comparisons: Sequence[PairedComparison]) -> Table:
    """Every metric of the final runs."""
    columns = ["metric", "vanilla", "distilled", "difference", "95 % interval", "improvement", "p"]
    rows = []
    for row in comparisons:
        interval = "-"
        if row.interval_low is not None and row.interval_high is not None:
            interval = f"{row.interval_low:+.4f} .. {row.interval_high:+.4f}"
        gain = row.improvement_percent
        rows.append(
            [
                TITLES.get(row.metric, row.metric),
                format_spread(row.vanilla),
                format_spread(row.distilled),
                f"{row.difference:+.4f}",
                interval,
                f"{gain:+.2f} %" if gain is not None else "-",
                format_p(row),
            ]
        )
    return Table("Final runs: distilled against vanilla (paired by seed)", columns, rows)


def format_spread(spread: Spread) -> str:
    """`0.5741 ± 0.0012`; without the spread for a single value."""
    if spread.std is None:
        return f"{spread.mean:.4f}"
    return f"{spread.mean:.4f} ± {spread.std:.4f}"


def format_p(comparison: PairedComparison) -> str:
    """`0.031`, or why there is none."""
    if comparison.p_value is None:
        return f"none ({comparison.note})"
    return f"{comparison.p_value:.3g}"


def format_value(value: Any) -> str:
    """A parameter or measure in few characters; `-` where there is none."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cut(cell: str) -> str:
    return cell if len(cell) <= WIDEST_CELL else cell[: WIDEST_CELL - 3] + "..."


def _accuracy(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "-"
