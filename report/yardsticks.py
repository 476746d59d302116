"""Models beside the baselines, the yardsticks, as a section of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics.measures import MEASURES, Measure
from report.sections import Section, Table
from report.tables import measured

NOTE = (
    "Simple methods on the very OD pairs that the models got; an asterisk marks the best yardstick "
    "of each measure, which a model has to beat to earn its cost. Look at the share of "
    "destinations reached first: a walk that rarely arrives is measured on few, short trips."
)
BESIDE = ("detour", "traffic_correlation", "traffic_error", "copied_rate")
SHOWN = [measure for measure in MEASURES.values() if measure.headline or measure.name in BESIDE]


@dataclass(frozen=True)
class YardstickRow:
    """The results of one model, or of one baseline."""

    name: str
    od_source: str
    is_yardstick: bool
    results: Mapping[str, Any]


def yardsticks_section(rows: Sequence[YardstickRow]) -> Section:
    """Against what? Yardsticks first, then the models, and how many measures each model wins."""
    tables = []
    for source in dict.fromkeys(row.od_source for row in rows):
        of_source = [row for row in rows if row.od_source == source]
        header = ["model", *(measure.heading for measure in SHOWN), "better than every yardstick"]
        best = {measure.name: _best(of_source, measure) for measure in SHOWN}
        ordered = sorted(of_source, key=lambda row: not row.is_yardstick)
        cells = [_cells(row, best) for row in ordered]
        tables.append(Table(f"Yardsticks, OD pairs of {source}", header, cells))
    return Section("yardsticks", "Against what? Yardsticks", NOTE, tables)


def _value(row: YardstickRow, measure: Measure) -> float | None:
    """The measure, turned so that less is better; None where nothing says which way is better."""
    value = row.results.get(measure.name)
    if value is None or measure.better is None:
        return None
    return float(value) if measure.better == "lower" else -float(value)


def _best(rows: Sequence[YardstickRow], measure: Measure) -> float | None:
    values = [_value(row, measure) for row in rows if row.is_yardstick]
    return min((value for value in values if value is not None), default=None)


def _cells(row: YardstickRow, best: Mapping[str, float | None]) -> list[str]:
    cells, won, judged = [row.name], 0, 0
    for measure in SHOWN:
        value, limit = _value(row, measure), best[measure.name]
        mark = ""
        if value is not None and limit is not None:
            mark = " *" if row.is_yardstick and value == limit else ""
            won += value < limit
            judged += 1
        cells.append(measured(row.results, measure) + mark)
    return [*cells, "" if row.is_yardstick else f"{won} of {judged}"]
