"""Which models form a group, and the comparison of the groups over their training seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from metrics.groups import Group
from metrics.measures import MEASURES
from runtime.errors import UserError

Patterns = dict[str, str]  # the group's name -> patterns of model names, separated by commas
Found = Mapping[str, Sequence[Mapping[str, object]]]  # model -> its results, one a generation seed

_SEED = re.compile(r"[_-]?(?:seed|s)?(\d+)$")


def seed_of(model: str) -> str | None:
    """The training seed that a model's name ends in: `vanilla_seed42`, `distilled_43`."""
    found = _SEED.search(model)
    return None if found is None else found[1]


def kind_of(model: str) -> str:
    """A model's name without its seed."""
    return _SEED.sub("", model) or model


def parse_groups(texts: Sequence[str]) -> Patterns | Literal["auto"]:
    """Groups from the command line: `name=pattern[,pattern]` each; none at all is `auto`."""
    groups: Patterns = {}
    for text in texts:
        name, separator, patterns = text.partition("=")
        if not separator or not name.strip() or not patterns.strip():
            raise UserError(
                f'--groups {text!r}: expected name=pattern, such as "vanilla=vanilla_*".'
            )
        groups[name.strip()] = patterns.strip()
    return groups or "auto"


def assign(models: Sequence[str], groups: Patterns | Literal["auto"]) -> dict[str, list[str]]:
    """The models of each group, in the order of the groups."""
    if groups == "auto":
        kinds = list(dict.fromkeys(kind_of(model) for model in models))
        return {kind: [model for model in models if kind_of(model) == kind] for kind in kinds}
    assigned: dict[str, list[str]] = {}
    for name, patterns in groups.items():
        wanted = [pattern.strip() for pattern in patterns.split(",")]
        assigned[name] = [
            model for model in models if any(fnmatchcase(model, each) for each in wanted)
        ]
        if not assigned[name]:
            raise UserError(
                f"No model matches the group {name} ({patterns}); there are: {', '.join(models)}."
            )
    return assigned


def make_groups(found: Found, groups: Patterns | Literal["auto"]) -> list[Group]:
    """The groups with the measures of every model, averaged over generation seeds.

    A model whose name has no seed counts as a seed of its own name; two models of a group with
    the same seed are a mistake.
    """
    made = []
    for name, models in assign(list(found), groups).items():
        by_seed: dict[str, dict[str, float | None]] = {}
        for model in models:
            seed = seed_of(model) or model
            if seed in by_seed:
                raise UserError(
                    f"Two models of the group {name} have the seed {seed}: one of them is {model}; "
                    "give them groups of their own."
                )
            by_seed[seed] = _average(found[model])
        made.append(Group(name, dict(by_seed)))
    return made


def _average(results: Sequence[Mapping[str, object]]) -> dict[str, float | None]:
    averaged: dict[str, float | None] = {}
    names = [*MEASURES, *(each.floor for each in MEASURES.values() if each.is_divergence)]
    for name in names:
        values = [
            float(value) for each in results if isinstance(value := each.get(name), int | float)
        ]
        averaged[name] = sum(values) / len(values) if values else None
    return averaged
