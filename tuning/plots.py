"""The study's pictures: an HTML page each.

Plotly lies beside them once, so that the folder works without a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.files import atomic_write_text
from runtime.logs import get_logger
from tuning.records import mode_of

if TYPE_CHECKING:
    from optuna import Study

logger = get_logger("tune")

PLOTLY_NAME = "plotly.min.js"  # as its pages call it
ACCURACY_TITLE = "Validation accuracy"
UNITS = {
    "accuracy": ACCURACY_TITLE,
    "throughput": "Batches per second",
    "latency": "Milliseconds per batch",
}


def write_plots(study: Study, objectives: list[str], folder: Path) -> list[Path]:
    """Writes every picture the study has enough trials for.

    What shows parameters leaves the vanilla trial out, which has none.
    """
    written = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, draw in _pictures(study, objectives):
            try:
                figure = draw()
            except (ValueError, RuntimeError, ImportError, ZeroDivisionError) as error:
                logger.debug("There is no %s picture: %s", name, error)
                continue
            path = folder / f"{name}.html"
            _write(figure, path)
            written.append(path)
    if written:
        _write_plotly(folder)
    return written


def parameter_importances(study: Study) -> dict[str, float]:
    """How much of the accuracy's variation each parameter explains; empty with too few trials."""
    distilled = _distilled_only(study)
    params = list(dict.fromkeys(name for t in distilled.trials for name in t.params))
    if len(distilled.trials) < 4 or not params:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    target = None if len(study.directions) == 1 else _objective(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = get_param_importances(
                distilled, evaluator=PedAnovaImportanceEvaluator(), params=params, target=target
            )
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}
    return {name: float(value) for name, value in found.items()}


def _pictures(study: Study, objectives: list[str]) -> list[tuple[str, Callable[[], Any]]]:
    from optuna import visualization
    from optuna.importance import PedAnovaImportanceEvaluator

    several = len(objectives) > 1
    distilled = _distilled_only(study)
    shown: dict[str, Any] = {"target_name": UNITS[objectives[0]]}
    if several:
        shown["target"] = _objective(0)
    pictures: list[tuple[str, Callable[[], Any]]] = [
        ("optimization_history", lambda: visualization.plot_optimization_history(study, **shown)),
        ("timeline", lambda: visualization.plot_timeline(study)),
        ("edf", lambda: visualization.plot_edf(study, **shown)),
    ]
    if objectives == ["accuracy"]:
        pictures.append(
            ("intermediate_values", lambda: visualization.plot_intermediate_values(study))
        )
    if several:
        names = [UNITS[name] for name in objectives]
        pictures.append(
            ("pareto_front", lambda: visualization.plot_pareto_front(study, target_names=names))
        )
    params = list(dict.fromkeys(name for t in distilled.trials for name in t.params))
    if params:
        evaluator = PedAnovaImportanceEvaluator()
        pictures += [
            (
                "parallel_coordinate",
                lambda: visualization.plot_parallel_coordinate(distilled, **shown),
            ),
            ("slice", lambda: visualization.plot_slice(distilled, **shown)),
            (
                "param_importances",
                lambda: visualization.plot_param_importances(
                    distilled, evaluator=evaluator, **shown
                ),
            ),
        ]
    if len(params) > 1:
        pictures.append(("contour", lambda: visualization.plot_contour(distilled, **shown)))
    return pictures


def _objective(index: int) -> Callable[[Any], float]:
    return lambda trial: float(trial.values[index])


def _distilled_only(study: Study) -> Study:
    """A copy, in memory, of the trials that have parameters and an end."""
    import optuna

    copy = optuna.create_study(directions=study.directions, study_name=study.study_name)
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    for trial in study.get_trials(deepcopy=False, states=ended):
        if mode_of(trial.number, trial.user_attrs) == "distilled":
            copy.add_trial(trial)
    return copy


def _write(figure: Any, path: Path) -> None:
    atomic_write_text(path, figure.to_html(include_plotlyjs="directory", full_html=True))


def _write_plotly(folder: Path) -> None:
    """Plotly itself, whole, where the pages look for it."""
    import plotly

    path, text = folder / PLOTLY_NAME, plotly.offline.get_plotlyjs()
    if not path.is_file() or path.read_bytes() != text.encode():
        atomic_write_text(path, text)
