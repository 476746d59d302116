"""The typed configuration: what may be set, what it means, how a YAML file becomes it.

Its names are imported when they are first asked for: who only wants a choice (`config.choices`)
or a command's arguments does not load pydantic and YAML with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import runtime  # noqa: F401  # Ctrl-C ends what is still being imported in one line

if TYPE_CHECKING:
    from config.evaluation import EvaluationConfig
    from config.loading import dump_config, load_config, load_evaluation_config
    from config.schema import Config

__all__ = ["Config", "EvaluationConfig", "dump_config", "load_config", "load_evaluation_config"]

_HOMES = {
    "Config": "config.schema",
    "EvaluationConfig": "config.evaluation",
    "dump_config": "config.loading",
    "load_config": "config.loading",
    "load_evaluation_config": "config.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
