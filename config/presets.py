"""Named sets of settings for the distillation, and how a configuration takes one up.

A preset named in the file fills what the file leaves out; one named on the command line is the
later word and replaces what the file says. Other overrides stand in either case.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Sections = dict[str, dict[str, Any]]

PRESETS: dict[str, Sections] = {
    "default": {
        "distill": {
            "lambda": 0.029,
            "temperature": 3.4,
            "temperature_end": None,
            "temperature_schedule": "constant",
            "window": 4,
            "positions": "all",
            "ties": "marginal",
        }
    },
    # Soft targets first, sharper ones later, in five stages.
    "curriculum": {
        "distill": {
            "lambda": 0.029,
            "temperature": 4.0,
            "temperature_end": 0.5,
            "temperature_schedule": "linear",
            "temperature_stages": 5,
            "window": 4,
            "positions": "all",
            "ties": "marginal",
        }
    },
    # Near the labels first, the teacher's whole view later: GazeLLE's cosine from 1 to 4.
    "gazelle": {
        "distill": {
            "lambda": 0.3,
            "temperature": 1.0,
            "temperature_end": 4.0,
            "temperature_schedule": "cosine",
            "tau_squared": True,
            "window": 4,
            "positions": "all",
            "ties": "marginal",
        }
    },
    # A first look in minutes: a quarter of the usual positions, few trips, few epochs.
    "fast": {
        "distill": {
            "lambda": 0.029,
            "temperature": 2.0,
            "temperature_end": None,
            "temperature_schedule": "constant",
            "window": 4,
            "positions": 8,
            "ties": "marginal",
        },
        "optimizer_config": {"max_epoch": 4},
        "data": {"max_train_trips": 20_000},
    },
}


def fill_in(tree: dict[str, Any], preset: object) -> None:
    """Writes the preset's values where `tree` has none."""
    for name, values in _sections(preset).items():
        section = tree.setdefault(name, {})
        if isinstance(section, dict):
            tree[name] = {**values, **section}


def replace(tree: dict[str, Any], preset: object) -> None:
    """Writes the preset's values into `tree`, whatever it says."""
    for name, values in _sections(preset).items():
        section = tree.get(name)
        tree[name] = {**(section if isinstance(section, dict) else {}), **values}


def _sections(preset: object) -> Mapping[str, dict[str, Any]]:
    """The preset's values; nothing for a name that there is not, which the schema reports."""
    found = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    return copy.deepcopy(found)
