"""Named sets of distillation settings; a configuration overrides them key by key."""

from __future__ import annotations

from typing import Any

DISTILL_PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "lambda": 0.029,
        "temperature": 3.4,
        "window": 4,
        "positions": "all",
        "ties": "marginal",
    },
    # Soft targets first, sharper ones later, in five stages.
    "curriculum": {
        "lambda": 0.029,
        "temperature": 4.0,
        "temperature_end": 0.5,
        "temperature_schedule": "linear",
        "temperature_stages": 5,
        "window": 4,
        "positions": "all",
        "ties": "marginal",
    },
    # A first look: the last position of each trip only, the shortest history.
    "fast": {
        "lambda": 0.029,
        "temperature": 2.0,
        "window": 2,
        "positions": "last",
        "ties": "marginal",
    },
}
