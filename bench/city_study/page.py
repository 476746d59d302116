"""The tables of `docs/real-city.md`, put between its marks; the text around them stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench._pages import fill
from bench.city_study.settings import StudySettings
from bench.city_study.summary import CHOICES
from bench.students import size_name
from metrics.measures import MEASURES
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
# In which aspect of a trip each kind of anomaly shows.
ASPECT_OF = {
    **dict.fromkeys(("detour", "switch", "loop", "cell_shift"), "route"),
    **dict.fromkeys(("slow", "wrong_time"), "time"),
}
Summary = dict[str, Any]


def write_page(summary_file: Path, page: Path) -> None:
    """Fills in the tables of a page."""
    summary = read_json(summary_file)
    fill(page, {name: partial(table, summary) for name, table in TABLES.items()})


def _run(summary: Summary) -> str:
    """What was measured, where and when, and what the whole study has beyond it."""
    city, where, settings = summary["city"], summary["machine"], summary["settings"]
    lines = [
        f"Measured on `{city['name']}`: {city['roads']:,} roads, {city['train']:,} / "
        f"{city['val']:,} / {city['test']:,} trips for training, validation and test; on "
        f"{where['date']}, "
        f"{where['processor']}, {where['cores']} cores, torch {where['torch']}; "
        f"{summary['seconds']['done'] / 3600:.1f} hours of steps.",
        "",
        *(f"- {line}" for line in _outstanding(summary, StudySettings(Path(), Path()), settings)),
    ]
    return "\n".join(lines)


def _outstanding(summary: Summary, whole: StudySettings, asked: dict[str, Any]) -> list[str]:
    """What the study by default has, and this one has not."""
    found = []
    for name, noun in (("sizes", "students of"), ("kinds", "kinds"), ("searches", "searches")):
        missing = [each for each in getattr(whole, name) if each not in asked[name]]
        if missing:
            of_size = name == "sizes"
            shown = ", ".join(size_name(each) if of_size else f"`{each}`" for each in missing)
            found.append(f"Outstanding: {noun} {shown}{' trips' if of_size else ''}.")
    for name, noun in (("seeds", "seeds"), ("num_generated", "generated trips a file")):
        if asked[name] < getattr(whole, name):
            found.append(
                f"Fewer {noun} than the whole study: {asked[name]} of {getattr(whole, name)}."
            )
    if asked["trips_seen"] < whole.trips_seen:
        found.append(
            f"Shorter trainings: {asked['trips_seen']:,} trips shown instead of "
            f"{whole.trips_seen:,}."
        )
    missing = summary["steps"]["missing"]
    if missing:
        total = summary["steps"]["done"] + len(missing)
        found.append(f"{len(missing)} of {total} steps were not reached: {_listed(missing)}.")
    return found or ["Nothing of the whole study is outstanding."]


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
    if summary["teacher"] is None:
        return "Not measured yet."
    header = ["", "accuracy", "where there is a choice", "NLL", "calibration error"]
    keys = ("accuracy", "accuracy_at_choices", "nll", "ece")
    rows = [
        [row["name"], *(f"{row[key]:.4f}" for key in keys)]
        for row in summary["teacher"]["report"]["rows"]
    ]
    return markdown_table(rows, header)


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
            shown = [
                m for m in TRIP_MEASURES if any(s["measure"] == m for s in compared["summaries"])
            ]
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
    for test in compared["tests"]:
        if (test["second"], test["measure"]) == (kind, measure):
            p = test["t_p_holm"]
            return [f"{factor * test['difference']:+.2f}", "–" if p is None else f"{p:.3g}"]
    return ["", ""]


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
        if found["scores"] is None:
            continue
        rows = [r for r in found["scores"]["rows"] if r["aspect"] == ASPECT_OF[r["kind"]]]
        models = list(dict.fromkeys(name for row in rows for name in row["roc_auc"]))
        cases: dict[str, dict[str, dict[str, float]]] = {}
        for row in rows:
            of_case = cases.setdefault(f"{row['kind']} {row['severity']:g}", {})
            of_case[row["ods"]] = row["roc_auc"]
        table = [[case, *(_by_ods(auc, m) for m in models)] for case, auc in cases.items()]
        title = f"**ROC-AUC, students of {size} trips**, all OD pairs (seen ones / unseen ones):"
        parts.append(f"{title}\n\n{markdown_table(table, ['anomaly', *models])}")
    return "\n\n".join(parts) or "Not measured yet."


def _by_ods(auc: dict[str, dict[str, float]], model: str) -> str:
    """A model's value among all OD pairs, and among those that training trips join or do not."""
    whole, *parts = (auc.get(ods, {}).get(model) for ods in ("all", "seen", "unseen"))
    if whole is None:
        return "–"
    shown = " / ".join("–" if part is None else f"{part:.3f}" for part in parts)
    return f"{whole:.3f} ({shown})"


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
    "choices": _choices,
    "trips": _trips,
    "utility": _utility,
    "leakage": _leakage,
    "scores": _scores,
}
