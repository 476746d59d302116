"""Which settings two runs must share: to go on from a checkpoint, or to be compared in a study.

Every setting counts unless the schema marks it, so a new one is guarded from the day it is added.
A section in which all may differ is marked as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

Purpose = Literal["resuming", "comparing"]


@dataclass(frozen=True)
class MayDiffer:
    """The mark of a setting, in `Annotated[...]`: the purposes for which it is free."""

    purposes: frozenset[Purpose]


CHANGES_NO_RESULT = MayDiffer(frozenset({"resuming", "comparing"}))  # places, speed, logs
OF_EACH_RUN = MayDiffer(frozenset({"comparing"}))  # a study gives each of its runs its own
OF_THE_STUDY = MayDiffer(frozenset({"resuming"}))
SEEN_IN_THE_DATA = MayDiffer(frozenset({"resuming"}))  # whose hashes a checkpoint has, too


def counting_keys(section: type[BaseModel], purpose: Purpose) -> Iterator[str]:
    """The keys of a section, as a user writes them, that must agree."""
    for name, field in section.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, MayDiffer)]
        if not any(purpose in mark.purposes for mark in marks):
            yield field.alias or name


def shared_settings(config: BaseModel, purpose: Purpose) -> dict[str, Any]:
    """Every setting that must agree, by its dotted key."""
    tree = config.model_dump(mode="json", by_alias=True)
    shared: dict[str, Any] = {}
    for key in counting_keys(type(config), purpose):
        section = type(getattr(config, key))
        if isinstance(tree[key], dict):
            below = counting_keys(section, purpose)
            shared |= {f"{key}.{name}": tree[key][name] for name in below}
        else:
            shared[key] = tree[key]
    return shared


def disagreements(
    found: Mapping[str, Any],
    config: BaseModel,
    purpose: Purpose,
    without: frozenset[str] = frozenset(),
) -> list[str]:
    """In words, where `found` (settings by dotted key) and `config` do not agree.

    What was saved before a setting existed had its default.
    """
    defaults = shared_settings(type(config)(), purpose)
    return [
        f"{key} is {found.get(key, defaults[key])!r} there and {value!r} here"
        for key, value in shared_settings(config, purpose).items()
        if key not in without and found.get(key, defaults[key]) != value
    ]


def by_dotted_key(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's tree with the keys of its sections written out."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": below for name, below in value.items()}
        else:
            flat[key] = value
    return flat
