"""The tables of `docs/real-city.md`, put between its marks; the text around them stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench._pages import change_of, fill
from bench.city_study.settings import TAUGHT, StudySettings
from bench.city_study.summary import CHOICES, Summary
from bench.score_tables import ASPECT_OF, Case, of_group, tested, with_parts
from bench.students import size_name
from metrics.measures import MEASURES
from report.score_groups import HEADER_END
from report.tables import markdown_table
from runtime.files import read_json

TRIP_MEASURES = (
    "hausdorff_km",
    "dtw_km",
    "edr",
    "distance_jsd",
    "trip_duration_jsd",
    "radius_jsd",
    "route_choice_divergence",
    "traffic_correlation",
    "detour",
    "destination_reached_rate",
)
NEARNESS = ("hausdorff_km", "dtw_km", "edr", "distance_jsd")  # what a teacher's worth is told by


def write_page(record: Path, page: Path) -> None:
    """Fills in the tables of a page by what `summary.recorded` keeps."""
    summary = read_json(record)
    fill(page, {name: partial(table, summary) for name, table in TABLES.items()})


def _run(summary: Summary) -> str:
    """What was measured, where and when, and what the whole study has beyond it."""
    city = summary["city"]
    lines = [
        f"Measured on `{city['name']}`: {city['roads']:,} roads, {city['train']:,} / "
        f"{city['test']:,} trips for training and test.",
        "",
    ]
    whole = StudySettings(Path(), Path())
    for size, found in summary["sizes"].items():
        where = found["run"]["machine"]
        lines.append(
            f"- **Students of {size} trips**: {where['date']}, {where['processor']}, "
            f"{where['cores']} cores, torch {where['torch']}; "
            f"{found['run']['seconds']['done'] / 3600:.1f} hours of steps, by one core each. "
            + " ".join(_outstanding(size, found["run"], whole))
        )
    missing = [size_name(size) for size in whole.sizes if size_name(size) not in summary["sizes"]]
    if missing:
        lines.append(f"- Outstanding: students of {', '.join(missing)} trips.")
    return "\n".join(lines)


def _outstanding(size: str, run: Summary, whole: StudySettings) -> list[str]:
    """What the study by default has of a size, and this run has not."""
    found, asked = [], run["settings"]
    for name in ("kinds", "searches"):
        missing = [f"`{each}`" for each in getattr(whole, name) if each not in asked[name]]
        if missing:
            found.append(f"Outstanding: {name} {', '.join(missing)}.")
    for name, noun in (
        ("seeds", "seeds"),
        ("num_generated", "generated trips a file"),
        ("trips_seen", "trips shown in a training"),
        ("teacher_epochs", "epochs of the teacher"),
    ):
        if asked[name] < getattr(whole, name):
            found.append(f"{noun.capitalize()}: {asked[name]:,} of {getattr(whole, name):,}.")
    of_size = (f"_{size}_seed", f"scores/{size}")
    missing = [name for name in run["steps"]["missing"] if any(part in name for part in of_size)]
    if missing:
        found.append(f"Not reached: {_listed(missing)}.")
    return found or ["Nothing is outstanding."]


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _easy(summary: Summary) -> str:
    found = (summary["questions"] or {}).get("easy")
    if found is None:
        return "Not measured yet."
    header = list(found["yardsticks"][0])
    rows = [[_text(row[key]) for key in header] for row in found["yardsticks"]]
    shares = [
        [name, f"{found[name]:.4f}"]
        for name in ("with a choice", "transitions seen in training", "OD pairs seen in training")
    ]
    agreed = found["agreement"]
    shares += [
        ["same two roads and destination in training", f"{agreed['positions']:.4f}"],
        ["… and there, a training trip went the same way", f"{agreed['agreement']:.4f}"],
        ["… so the best guess from these is right at most at", f"{agreed['ceiling']:.4f}"],
    ]
    caption = f"share of the {found['positions']:,} test positions"
    return f"{markdown_table(rows, header)}\n\n{markdown_table(shares, [caption, ''])}"


def _matching(summary: Summary) -> str:
    found = (summary["questions"] or {}).get("matching")
    if found is None:
        return "Not measured yet."
    plain = [[name, f"{value:.4f}"] for name, value in found.items() if isinstance(value, float)]
    header = list(found["stretches"][0])
    rows = [[_text(row[key]) for key in header] for row in found["stretches"]]
    return f"{markdown_table(plain, ['test trips', ''])}\n\n{markdown_table(rows, header)}"


def _teacher(summary: Summary) -> str:
    header = ["", "accuracy", "where there is a choice", "NLL", "calibration error"]
    keys = ("accuracy", "accuracy_at_choices", "nll", "ece")
    parts = []
    for size, found in summary["sizes"].items():
        teacher = found["run"]["teacher"]
        if teacher is None:
            continue
        rows = [
            [row["name"], *(f"{row[key]:.4f}" for key in keys)] for row in teacher["report"]["rows"]
        ]
        title = f"**Of the students of {size} trips**, {teacher['report']['num_trips']:,} trips:"
        parts.append(f"{title}\n\n{markdown_table(rows, header)}")
    return "\n\n".join(parts) or "Not measured yet."


def _choices(summary: Summary) -> str:
    parts = []
    for size, found in summary["sizes"].items():
        compared = found["choices"]
        if not compared["groups"]:
            continue
        rows = [
            [
                _named(kind, len(seeds), found),
                *(_mean(compared, kind, measure) for measure in CHOICES),
                *_against(compared, kind, "accuracy", 100),
            ]
            for kind, seeds in compared["groups"].items()
        ]
        header = ["", *CHOICES.values(), "points of accuracy", "p (Holm)"]
        title = (
            f"**Students of {size} trips**, {found['epochs']} epochs; against `{found['base']}`:"
        )
        parts.append(f"{title}\n\n{markdown_table(rows, header)}")
    return "\n\n".join(parts) or "Not measured yet."


def _worth(summary: Summary) -> str:
    """What a teacher is worth: the taught students of several seeds beside those without one."""
    parts = []
    for size, found in summary["sizes"].items():
        base, epochs = found["base"], found["epochs"]
        kinds = found["choices"]["groups"]
        for kind in (kind for kind in kinds if kind in TAUGHT and len(kinds[kind]) > 1):
            rows = [
                [title, *_side_by_side(found["choices"], base, kind, measure)]
                for measure, title in CHOICES.items()
                if _is_measured(found["choices"], measure)
            ]
            rows += [
                [f"`{search}`: {MEASURES[m].heading}", *_side_by_side(compared, base, kind, m)]
                for search, compared in found["trips"].items()
                if compared  # by this search somebody has driven
                for m in NEARNESS
            ]
            header = ["", f"`{base}`", f"`{kind}`", "change", "p", "p (Holm)"]
            title = f"**Students of {size} trips**, {epochs} epochs, {len(kinds[kind])} seeds:"
            parts.append(f"{title}\n\n{markdown_table(rows, header)}")
    return "\n\n".join(parts) or "One seed each: no test can be made."


def _is_measured(compared: dict[str, Any], measure: str) -> bool:
    return any(each["measure"] == measure for each in compared["summaries"])


def _side_by_side(compared: dict[str, Any], base: str, kind: str, measure: str) -> list[str]:
    """Both means, the change from one to the other, and its p by itself and corrected."""
    means = [_mean(compared, group, measure) for group in (base, kind)]
    test = _test(compared, kind, measure)
    if test is None:
        return [*means, "", "", ""]
    change = change_of(measure, test["difference"], test["relative_difference"])
    ps = ("–" if p is None else f"{p:.2g}" for p in (test["t_p"], test["t_p_holm"]))
    return [*means, change, *ps]


def _named(kind: str, seeds: int, found: dict[str, Any]) -> str:
    """A kind, how many seeds it has, and how much longer the best of the long trainings were."""
    lengthened = found["validation"].get(kind, {}).get("lengthened")
    longer = f", × {'/'.join(map(str, lengthened))}" if lengthened else ""
    return f"`{kind}` ({seeds}{longer})"


def _trips(summary: Summary) -> str:
    parts = []
    for size, found in summary["sizes"].items():
        for search, compared in found["trips"].items():
            if not compared or not compared["groups"]:
                continue
            shown = [measure for measure in TRIP_MEASURES if _is_measured(compared, measure)]
            rows = [
                [f"`{kind}` ({len(seeds)})", *(_mean(compared, kind, measure) for measure in shown)]
                for kind, seeds in compared["groups"].items()
            ]
            header = ["", *(MEASURES[measure].heading for measure in shown)]
            title = f"**Students of {size} trips, {search}:**"
            parts.append(f"{title}\n\n{markdown_table(rows, header)}")
    return "\n\n".join(parts) or "Not measured yet."


def _mean(compared: dict[str, Any], group: str, measure: str) -> str:
    for each in compared["summaries"]:
        if (each["group"], each["measure"]) == (group, measure):
            spread = "" if each["deviation"] is None else f" ± {each['deviation']:.4f}"
            return f"{each['mean']:.4f}{spread}"
    return "–"


def _against(compared: dict[str, Any], kind: str, measure: str, factor: float) -> list[str]:
    """The difference to the base and its corrected p."""
    test = _test(compared, kind, measure)
    if test is None:
        return ["", ""]
    p = test["t_p_holm"]
    return [f"{factor * test['difference']:+.2f}", "–" if p is None else f"{p:.3g}"]


def _test(compared: dict[str, Any], kind: str, measure: str) -> dict[str, Any] | None:
    """That of a kind against the base, where there is one."""
    for test in compared["tests"]:
        if (test["second"], test["measure"]) == (kind, measure):
            return dict(test)
    return None


def _utility(summary: Summary) -> str:
    rows = [
        [size, f"`{kind}`", arm, *(_text(figures[name]) for name in figures)]
        for size, found in summary["sizes"].items()
        for kind, each in found["utility"].items()
        for arm, figures in each["on_real"].items()
    ]
    header = ["trips", "whose drives", "trained on", "accuracy", "NLL", "MAPE (seconds)"]
    return markdown_table(rows, header) if rows else "Not measured yet."


def _leakage(summary: Summary) -> str:
    keys = ("closer_auc", "membership_auc", "likelihood_auc", "same_od")
    rows = [
        [
            size,
            f"`{kind}`",
            _text(each["generated"]["exact_copies"]),
            _text(each["held_out"]["exact_copies"]),
            *(_text(each[key]) for key in keys),
        ]
        for size, found in summary["sizes"].items()
        for kind, each in found["leakage"].items()
    ]
    header = ["trips", "whose drives", "copies", "copies among real test trips"]
    header += ["closer than test trips (AUC)", "attack by closeness (AUC)"]
    header += ["attack by likelihood (AUC)", "OD pair of a training trip"]
    return markdown_table(rows, header) if rows else "Not measured yet."


def _scores(summary: Summary) -> str:
    parts = []
    for size, found in summary["sizes"].items():
        scores = found["scores"]
        if scores is None:
            continue
        title = f"**ROC-AUC, students of {size} trips**, all OD pairs (seen ones / unseen ones):"
        parts.append(f"{title}\n\n{_auc_table(size, scores)}")
        if "weighed" in scores:
            title = f"**The same, students of {size} trips weighed against the way:**"
            parts.append(f"{title}\n\n{_auc_table(size, scores['weighed'])}")
    return "\n\n".join(parts) or "Not measured yet."


def _auc_table(size: str, scores: dict[str, Any]) -> str:
    """Every kind of anomaly: the kinds of students over their seeds, then each other model."""
    groups, kinds = scores["groups"], scores["groups"]["groups"]  # the seeds of each kind
    student = {f"{kind}_{size}_seed{seed}" for kind, seeds in kinds.items() for seed in seeds}
    rows = [row for row in scores["rows"] if row["aspect"] == ASPECT_OF[row["kind"]]]
    models = dict.fromkeys(name for row in rows for name in row["roc_auc"])
    others = [name for name in models if name not in student]
    base, *taught = kinds
    by_case: dict[Case, dict[str, dict[str, float]]] = {}
    for row in rows:
        case = Case(row["kind"], row["severity"], row["aspect"])
        by_case.setdefault(case, {})[row["ods"]] = row["roc_auc"]
    table = []
    for case, of_ods in by_case.items():
        cells = [of_group(groups, kind, case) for kind in kinds]
        cells += [_by_ods(of_ods, name) for name in others]
        for kind in taught:
            cells += tested(groups, base, kind, case)
        table.append([case.title, *cells])
    compared = [cell for kind in taught for cell in (f"`{kind}`: change", *HEADER_END[1:])]
    header = ["anomaly", *(f"`{kind}` ({len(kinds[kind])})" for kind in kinds), *others]
    return markdown_table(table, [*header, *compared])


def _by_ods(auc: dict[str, dict[str, float]], model: str) -> str:
    """A model's value among all OD pairs, and among those that training trips join or do not."""
    whole, *parts = (auc.get(ods, {}).get(model) for ods in ("all", "seen", "unseen"))
    if whole is None:
        return "–"
    return with_parts(f"{whole:.3f}", parts)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


TABLES: dict[str, Callable[[Summary], str]] = {
    "run": _run,
    "easy": _easy,
    "matching": _matching,
    "teacher": _teacher,
    "worth": _worth,
    "choices": _choices,
    "trips": _trips,
    "utility": _utility,
    "leakage": _leakage,
    "scores": _scores,
}
