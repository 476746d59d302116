"""What a study searches: the config's ranges as Optuna's distributions and as a unit cube."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.schema import Config
from config.study import WindowRange

if TYPE_CHECKING:
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna.trial import Trial

    Distribution = FloatDistribution | IntDistribution

Space: TypeAlias = "dict[str, Distribution]"
SEARCHED = {"lambda": "lambda_", "temperature": "temperature", "window": "window", "alpha": "alpha"}


def search_space(config: Config) -> Space:
    """The searched keys of `distill` with their ranges, always in the same order."""
    from optuna.distributions import FloatDistribution, IntDistribution

    space: Space = {}
    for name, field in SEARCHED.items():
        limits = getattr(config.optuna.search_space, field)
        if isinstance(limits, WindowRange):
            space[name] = IntDistribution(limits.low, limits.high)
        elif limits is not None:
            space[name] = FloatDistribution(limits.low, limits.high, log=limits.log)
    return space


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """Draws every parameter; a trial that has them already keeps them."""
    from optuna.distributions import FloatDistribution

    drawn: dict[str, Any] = {}
    for name, limits in space.items():
        if isinstance(limits, FloatDistribution):
            drawn[name] = trial.suggest_float(name, limits.low, limits.high, log=limits.log)
        else:
            drawn[name] = trial.suggest_int(name, limits.low, limits.high)
    return drawn


def to_unit(space: Space, params: dict[str, Any]) -> NDArray[np.float64]:
    """Parameters as a point of the unit cube."""
    return np.array([_to_unit(limits, params[name]) for name, limits in space.items()])


def from_unit(space: Space, point: NDArray[np.float64]) -> dict[str, Any]:
    """The parameters at a point of the unit cube, always within their ranges."""
    return {
        name: _from_unit(limits, float(place))
        for (name, limits), place in zip(space.items(), point)
    }


def _edges(limits: Distribution) -> tuple[float, float]:
    from optuna.distributions import FloatDistribution

    if isinstance(limits, FloatDistribution):
        return (
            (math.log(limits.low), math.log(limits.high))
            if limits.log
            else (
                limits.low,
                limits.high,
            )
        )
    return limits.low - 0.5, limits.high + 0.5  # every whole number gets the same share


def _to_unit(limits: Distribution, value: float) -> float:
    low, high = _edges(limits)
    inner = math.log(value) if limits.log else float(value)
    return (inner - low) / (high - low)


def _from_unit(limits: Distribution, place: float) -> float | int:
    from optuna.distributions import FloatDistribution

    low, high = _edges(limits)
    inner = low + min(max(place, 0.0), 1.0) * (high - low)
    if isinstance(limits, FloatDistribution):
        value = math.exp(inner) if limits.log else inner
        return min(max(value, limits.low), limits.high)
    return int(min(max(round(inner), limits.low), limits.high))
