"""What a study has found so far, as plain data: figures by group over seeds, with their tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baselines.generators import BASELINES
from bench._common import machine
from bench.city_study.planning import QUESTIONS, Plan, drives_name, yardstick_name
from bench.city_study.settings import LONG, VANILLA
from bench.city_study.steps import Diary, Forecast, Step
from bench.city_study.study import TEACHER, Study
from bench.students import Run, size_name
from config.section import LARGEST_INT
from metrics.groups import Group, GroupComparison, compare_groups
from metrics.measures import MEASURES

CHOICES = {  # those that are weighed are so against the way, as `--costs fitted` weighs them
    "accuracy": "accuracy",
    "nll": "NLL",
    "calibration_error": "calibration error",
    "mape": "MAPE (log1p)",
    "mape_seconds": "MAPE (seconds)",
    "accuracy_weighed": "accuracy, weighed",
    "nll_weighed": "NLL, weighed",
    "calibration_error_weighed": "calibration error, weighed",
}


Summary = dict[str, Any]


def summarize(study: Study, steps: Sequence[Step]) -> Summary:
    """Everything that is done, and what is not."""
    forecast = Forecast.of(study.diary, steps)
    found = Findings(study, set(forecast.done))
    settings = asdict(study.settings)
    # Where they lie is the business of the machine alone.
    names: dict[str, Any] = {
        key: value.name for key, value in settings.items() if isinstance(value, Path)
    }
    names["teacher"] = [file.name for file in study.settings.teacher]
    return {
        "machine": machine(),
        "settings": {**settings, **names},
        "city": {
            "name": study.settings.data_dir.resolve().name,
            "roads": study.network.num_roads,
            **{split: len(study.trips(split)) for split in ("train", "val", "test")},
        },
        "steps": {"done": len(forecast.done), "missing": list(forecast.missing)},
        "seconds": {"done": sum(forecast.done.values()), "missing": sum(forecast.missing.values())},
        "questions": found.of(QUESTIONS),
        "teacher": found.of(TEACHER),
        "sizes": {size_name(size): found.of_size(size) for size in study.settings.sizes},
    }


def recorded(summary: Summary, earlier: Summary | None) -> Summary:
    """What the page is made of: every size with the run that measured it.

    Sizes of which only an earlier run on the same city has students stay as they were.
    """
    run = {name: summary[name] for name in ("machine", "settings", "steps", "seconds", "teacher")}
    sizes = {size: {**found, "run": run} for size, found in summary["sizes"].items()}
    if earlier is not None and _same_city(earlier["city"], summary["city"]):
        measured = {size: found for size, found in sizes.items() if found["choices"]["groups"]}
        sizes = {**sizes, **earlier["sizes"], **measured}
    ordered = sorted(sizes, key=lambda size: int(size) if size.isdecimal() else LARGEST_INT)
    return {
        "city": summary["city"],
        "questions": summary["questions"],
        "sizes": {size: sizes[size] for size in ordered},
    }


def _same_city(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Validation trips may be fewer in one study than in another."""
    return all(first[name] == second[name] for name in ("name", "roads", "train", "test"))


class Findings:
    """The results of the steps that are done."""

    def __init__(self, study: Study, done: set[str]) -> None:
        self.study = study
        self.diary: Diary = study.diary
        self.done = done
        self.plan = Plan(study)

    def of(self, name: str) -> dict[str, Any] | None:
        """A step's figures, None where it is not done."""
        return self.diary.result(name) if name in self.done else None

    def of_size(self, size: int | None) -> dict[str, Any]:
        """All figures of students of a size."""
        runs = self.plan.runs(size)
        base = self._base(runs)
        choices = self._groups(runs, base, self.study.step_of, "")
        return {
            "epochs": runs[0].epochs,
            "base": base,
            "validation": self._validation(runs),
            "choices": _compared(choices, base, CHOICES),
            "trips": {
                search: self._of_search(runs, base, search)
                for search in self.study.settings.searches
            },
            **{
                use: {run.variant: found for run in runs if (found := self.of(f"{use}/{run.name}"))}
                for use in ("utility", "leakage")
            },
            "scores": self.of(f"scores/{size_name(size)}"),
        }

    def _base(self, runs: Iterable[Run]) -> str:
        """The better of the students without a teacher, by validation trips."""
        means = self._validation(runs)
        known = {kind: means[kind]["mean"] for kind in (VANILLA, LONG) if kind in means}
        return max(known, key=lambda kind: known[kind]) if known else VANILLA

    def _validation(self, runs: Iterable[Run]) -> dict[str, dict[str, Any]]:
        """Accuracy on validation trips, and how long the training was; by kind."""
        found: dict[str, list[dict[str, Any]]] = {}
        for run in runs:
            if result := self.of(self.study.step_of(run)):
                found.setdefault(run.variant, []).append(result)
        return {
            kind: {
                "mean": sum(each["val_accuracy"] for each in results) / len(results),
                "seeds": len(results),
                "lengthened": [each["lengthened"] for each in results if "lengthened" in each],
            }
            for kind, results in found.items()
        }

    def _of_search(self, runs: Iterable[Run], base: str, search: str) -> dict[str, Any] | None:
        groups = self._groups(runs, base, lambda run: drives_name(run, search), "values")
        if not groups:
            return None
        for name in BASELINES:
            if result := self.of(yardstick_name(name)):
                groups.append(Group(name, {"0": result["values"]}, is_yardstick=True))
        return _compared(groups, base, MEASURES)

    def _groups(self, runs: Iterable[Run], base: str, step_of: Any, key: str) -> list[Group]:
        """The kinds with the results of their seeds, the base first."""
        found: dict[str, dict[str, Any]] = {}
        for run in runs:
            if result := self.of(step_of(run)):
                values = result[key] if key else result
                found.setdefault(run.variant, {})[str(run.seed)] = values
        kinds = sorted(found, key=lambda kind: kind != base)
        return [Group(kind, found[kind]) for kind in kinds]


def _compared(groups: list[Group], base: str, measures: Iterable[str]) -> dict[str, Any]:
    """Means of all groups, and tests of each against the base alone."""
    if not groups:
        return {"groups": {}, "summaries": [], "tests": []}
    comparison: GroupComparison = compare_groups(groups, "test", measures=measures)
    plain = comparison.to_json()
    plain["tests"] = [test for test in plain["tests"] if test["first"] == base]
    return plain
