"""Cells of tables of ROC-AUC: groups of models over their seeds, and tests between them.

From plain data as `GroupComparison.to_json` gives it, which is how studies keep their figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from critics.scoring.anomalies import KINDS
from critics.scoring.scores import Aspect
from report.score_groups import HEADER_END, measure_name

# In which aspect of a trip each kind of anomaly shows.
ASPECT_OF: dict[str, Aspect] = {
    kind: "time" if kind in ("slow", "wrong_time") else "route" for kind in KINDS
}
Groups = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A row of a table."""

    kind: str
    severity: float | None
    aspect: Aspect

    @property
    def title(self) -> str:
        """The case in words."""
        has_one = self.severity is not None and self.kind != "wrong_time"
        share = f" {100 * (self.severity or 0):.0f} %" if has_one else ""
        return f"{self.kind.replace('_', ' ')}{share}"

    def measure(self, ods: str) -> str:
        """The name of its ROC-AUC among `ods` OD pairs."""
        return measure_name(self.kind, self.severity, self.aspect, ods)


def of_group(groups: Groups, group: str, case: Case) -> str:
    """Mean and deviation over a group's seeds, and the means among seen and unseen OD pairs."""
    known = {each["measure"]: each for each in groups["summaries"] if each["group"] == group}
    whole, *parts = (known.get(case.measure(ods)) for ods in ("all", "seen", "unseen"))
    if whole is None:
        return "–"
    spread = "" if whole["deviation"] is None else f" ± {whole['deviation']:.3f}"
    return with_parts(
        f"{whole['mean']:.3f}{spread}", (None if part is None else part["mean"] for part in parts)
    )


def with_parts(whole: str, parts: Iterable[float | None]) -> str:
    """A value among all OD pairs, and those among seen and unseen ones."""
    return f"{whole} ({' / '.join('–' if part is None else f'{part:.3f}' for part in parts)})"


def tested(groups: Groups, first: str, second: str, case: Case) -> list[str]:
    """The change from one group to another and its p-values; see `HEADER_END`."""
    for test in groups["tests"]:
        if (test["first"], test["second"], test["measure"]) == (first, second, case.measure("all")):
            ps = (test["t_p"], test["t_p_holm"])
            return [f"{test['difference']:+.3f}", *("–" if p is None else f"{p:.2g}" for p in ps)]
    return ["–"] * len(HEADER_END)
