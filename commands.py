"""The programs as commands of an installed package; pyproject.toml names them.

A clone has the same programs as scripts (`train_with_distill.py`) and as modules (`tools.demo`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NoReturn

from runtime.errors import run_main


def _command(module: str) -> Callable[[], NoReturn]:
    """Runs a program's `main`, which is imported only then: every program loads its own parts."""

    def run() -> NoReturn:
        run_main(importlib.import_module(module).main)

    return run


train = _command("train_with_distill")
tune = _command("tune_hoser")
generate = _command("gene")
evaluate = _command("evaluation")
pipeline = _command("python_pipeline")
demo = _command("tools.demo")
train_teacher = _command("tools.train_lmtad")
teacher_report = _command("tools.teacher_report")
precompute = _command("tools.precompute_distill_tokens")
export_teacher = _command("tools.export_lmtad_weights")
export_student = _command("tools.export_hoser")
collect = _command("tools.collect_distill_artifacts")
score = _command("tools.score_trips")
own_city = _command("tools.own_city")
zones = _command("data.preprocess.__main__")
demo_city = _command("data.demo_city.__main__")
osm = _command("data.osm.__main__")
match = _command("data.match.__main__")
fit_detour_cost = _command("tools.fit_detour_cost")
fit_times = _command("tools.fit_times")
fit_way = _command("tools.fit_way")
