"""Schedules at their ends, between, in stages, and both directions."""

from __future__ import annotations

import itertools
import math

import pytest

from critics.schedules import Schedule, ramp, training_progress


@pytest.mark.parametrize("kind", ["linear", "exponential", "cosine"])
@pytest.mark.parametrize(("start", "end"), [(1.0, 4.0), (4.0, 0.5)])
@pytest.mark.parametrize("stages", [0, 2, 5])
def test_reaches_both_ends_and_never_turns(
    kind: str, start: float, end: float, stages: int
) -> None:
    schedule = Schedule(kind, start, end, stages)  # type: ignore[arg-type]
    values = [schedule.at(i / 1000) for i in range(1001)]
    assert values[0] == start
    assert values[-1] == pytest.approx(end)
    steps = [(b - a) * (end - start) for a, b in itertools.pairwise(values)]
    assert min(steps) >= -1e-12
    if stages:
        assert len({round(value, 9) for value in values}) == stages


def test_constant_stays() -> None:
    assert {Schedule("constant", 2.0, 5.0).at(i / 10) for i in range(11)} == {2.0}


def test_curriculum_of_the_documents() -> None:
    schedule = Schedule("linear", 4.0, 0.5, stages=5)
    values = [schedule.at((stage + 0.5) / 5) for stage in range(5)]
    assert values == pytest.approx([4.0, 3.125, 2.25, 1.375, 0.5])
    boundaries = [schedule.at(stage / 5) for stage in range(5)]
    assert boundaries == pytest.approx(values)


def test_cosine_formula_of_the_documents() -> None:
    schedule = Schedule("cosine", 1.0, 4.0)
    for s in (0.1, 0.5, 0.83):
        expected = 1.0 + 0.5 * (1 - math.cos(math.pi * s)) * 3.0
        assert schedule.at(s) == pytest.approx(expected)
    assert Schedule("exponential", 4.0, 1.0).at(0.5) == pytest.approx(2.0)


def test_progress_and_ramp() -> None:
    assert [training_progress(step, 5) for step in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert training_progress(0, 1) == 0.0
    assert [ramp(step, 4) for step in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert ramp(0, 0) == 1.0
    assert Schedule("linear", 1.0, 2.0).at(7.0) == 2.0


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="exponential"):
        Schedule("exponential", 0.0, 1.0)
    with pytest.raises(ValueError, match="sawtooth"):
        Schedule("sawtooth")  # type: ignore[arg-type]
