"""The comparison of groups over training seeds, as a section and as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metrics.groups import Group, GroupComparison, GroupTest, Summary
from metrics.measures import MEASURES, PLOTTED
from report.sections import Dot, Dots, Section, Table
from report.tables import with_floor
from runtime.files import atomic_write_bytes, write_json

NOTE = (
    "The unit is the training seed: mean ± standard deviation between models that differ by "
    "their seed alone, in brackets the floor of a divergence, what two samples of the real trips "
    "differ by. Tests are paired where seeds match; p is corrected by Holm over measures."
)


def groups_section(comparisons: Sequence[GroupComparison]) -> Section:
    """Whether a method helps."""
    tables, dots, warnings = [], [], []
    for comparison in comparisons:
        source = comparison.od_source
        tables.append(Table(f"Groups, OD pairs of {source}", *_means(comparison)))
        if comparison.tests:
            tables.append(Table(f"Tests between groups, OD pairs of {source}", *_tests(comparison)))
        dots += _dots(comparison)
        warnings += [warning for warning in comparison.warnings if warning not in warnings]
    title = "Does the method help? Groups over training seeds"
    return Section("groups", title, NOTE, tables, dots, warnings=warnings)


def write_groups(folder: Path, comparisons: Sequence[GroupComparison]) -> list[Path]:
    """Writes `groups.json`, `groups.md` and `groups.tex` into `folder`."""
    section = groups_section(comparisons)
    files = [folder / f"groups.{kind}" for kind in ("json", "md", "tex")]
    write_json(files[0], [comparison.to_json() for comparison in comparisons])
    atomic_write_bytes(files[1], section.to_markdown().encode())
    atomic_write_bytes(files[2], section.to_latex().encode())
    return files


def _means(comparison: GroupComparison) -> tuple[list[str], list[list[str]]]:
    names = [group.name for group in comparison.groups]
    header = ["measure", *(_column(group) for group in comparison.groups)]
    rows = []
    for measure in MEASURES.values():
        found = [comparison.summary(name, measure.name) for name in names]
        if any(found):
            rows.append([measure.heading, *(_mean(each) for each in found)])
    return header, rows


def _column(group: Group) -> str:
    return group.name if group.is_yardstick else f"{group.name} (n = {len(group.by_seed)})"


def _mean(summary: Summary | None) -> str:
    if summary is None:
        return "–"
    spread = "" if summary.deviation is None else f" ± {summary.deviation:.4f}"
    return with_floor(f"{summary.mean:.4f}{spread}", summary.floor)


def _tests(comparison: GroupComparison) -> tuple[list[str], list[list[str]]]:
    header = ["groups", "measure", "seeds", "change", "change %", "95 % interval", "effect"]
    header += ["t-test p", "p Holm", "permutation p", "p Holm (perm.)"]
    return header, [_test_row(test) for test in comparison.tests]


def _test_row(test: GroupTest) -> list[str]:
    relative, interval = test.relative_difference, test.interval
    seeds = f"{test.seeds[0]} paired" if test.paired else f"{test.seeds[0]} / {test.seeds[1]}"
    return [
        f"{test.first} → {test.second}",
        MEASURES[test.measure].heading,
        seeds,
        f"{test.difference:+.4f}",
        "–" if relative is None else f"{100 * relative:+.1f}",
        "–" if interval is None else f"{interval.low:+.4f} … {interval.high:+.4f}",
        "–" if test.effect_size is None else f"{test.effect_size:+.2f}",
        *(
            "–" if p is None else f"{p:.2g}"
            for p in (test.t_p, test.t_p_holm, test.permutation_p, test.permutation_p_holm)
        ),
    ]


def _dots(comparison: GroupComparison) -> list[Dots]:
    found = []
    for measure in PLOTTED:
        rows = []
        for group in comparison.groups:
            summary = comparison.summary(group.name, measure.name)
            if summary is None:
                continue
            spread = summary.deviation
            low = None if spread is None else summary.mean - spread
            high = None if spread is None else summary.mean + spread
            rows.append(Dot(group.name, summary.mean, low, high, summary.floor))
        if rows:
            title = f"{measure.title}, {comparison.od_source}"
            found.append(Dots(title, measure.unit, rows))
    return found


def groups_summary(comparisons: Sequence[GroupComparison]) -> dict[str, float]:
    """The means and deviations as flat names, for the experiment tracker."""
    values = {}
    for comparison in comparisons:
        for summary in comparison.summaries:
            name = f"groups/{comparison.od_source}/{summary.group}/{summary.measure}"
            values[f"{name}/mean"] = summary.mean
            if summary.deviation is not None:
                values[f"{name}/sd"] = summary.deviation
    return values
