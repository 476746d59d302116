"""How well groups of models find anomalies; the unit is the training seed (`metrics.groups`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from critics.scoring.scores import Aspect
from critics.scoring.study import Study
from metrics.groups import Group, GroupComparison, compare_groups
from report.tables import markdown_table
from runtime.files import atomic_write_text, write_json

Members = Mapping[str, Mapping[str, str]]  # group -> training seed -> the model's name
HEADER_END = ("change", "p", "p Holm")


def score_groups(
    studies: Sequence[Study], members: Members, models: Sequence[str] = ()
) -> GroupComparison:
    """ROC-AUC of every kind, strength, aspect and part of the OD pairs of `studies`, by group.

    Those of `models` that belong to no group stand beside the groups, untested.
    """
    found: dict[str, dict[str, float]] = {}
    for study in studies:
        for model, detection in study.models.items():
            found.setdefault(model, {})[_measure(study)] = detection.roc_auc
    groups = [
        Group(name, {seed: found.get(model, {}) for seed, model in by_seed.items()})
        for name, by_seed in members.items()
    ]
    grouped = {model for by_seed in members.values() for model in by_seed.values()}
    groups += [
        Group(name, {name: found.get(name, {})}, is_yardstick=True)
        for name in models
        if name not in grouped
    ]
    measures = list(dict.fromkeys(_measure(study) for study in studies))
    return compare_groups(groups, "scored trips", measures=measures)


def _measure(study: Study) -> str:
    return measure_name(study.kind, study.severity, study.aspect, study.ods)


def measure_name(kind: str, severity: float | None, aspect: Aspect, ods: str) -> str:
    """What the ROC-AUC of a kind, strength and aspect among some OD pairs is called."""
    strength = "" if severity is None else f" {severity:g}"
    return f"{kind}{strength}, {aspect}, {ods} OD pairs"


def group_rows(comparison: GroupComparison) -> tuple[list[list[str]], list[str]]:
    """Mean ± deviation of each group, and the last group against the first; rows and header."""
    names = [group.name for group in comparison.groups]
    tested = [group.name for group in comparison.groups if not group.is_yardstick]
    rows = []
    for measure in dict.fromkeys(each.measure for each in comparison.summaries):
        row = [measure]
        for name in names:
            each = comparison.summary(name, measure)
            spread = "" if each is None or each.deviation is None else f" ± {each.deviation:.3f}"
            row.append("–" if each is None else f"{each.mean:.3f}{spread}")
        test = comparison.test(tested[0], tested[-1], measure) if len(tested) > 1 else None
        row.append("–" if test is None else f"{test.difference:+.3f}")
        for p in (None, None) if test is None else (test.t_p, test.t_p_holm):
            row.append("–" if p is None else f"{p:.2g}")
        rows.append(row)
    return rows, ["ROC-AUC", *names, *HEADER_END]


def write_score_groups(comparison: GroupComparison, folder: Path) -> None:
    """`groups.json` and `groups.md`."""
    write_json(folder / "groups.json", comparison.to_json())
    rows, header = group_rows(comparison)
    atomic_write_text(folder / "groups.md", markdown_table(rows, header) + "\n")
