"""Groups of models over training seeds: against SciPy, and with answers known beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from metrics.groups import Group, GroupTest, compare_groups
from metrics.measures import MEASURES
from metrics.statistics import holm
from pipeline.groups import Found, assign, make_groups, parse_groups, seed_of
from report.groups import groups_section, groups_summary, write_groups
from runtime.errors import UserError

NAMES = ["hausdorff_km", "dtw_km", "distance_jsd", "detour"]


def group(name: str, values: np.ndarray, first_seed: int = 0) -> Group:
    """A group of `values` [seeds, measures]."""
    by_seed = {
        str(first_seed + i): dict(zip(NAMES, map(float, row))) for i, row in enumerate(values)
    }
    return Group(name, by_seed)


def outcome_of(first: Group, second: Group) -> dict[str, GroupTest]:
    return {test.measure: test for test in compare_groups([first, second], "test").tests}


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_paired_seeds_agree_with_scipy(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    one = rng.normal(1.0, 0.2, (seeds, 4))
    two = one + rng.normal(0.1, 0.1, (seeds, 4))
    found = outcome_of(group("a", one), group("b", two))
    assert set(found) == set(NAMES)
    for i, name in enumerate(NAMES):
        test = found[name]
        expected = stats.ttest_rel(two[:, i], one[:, i])
        exact = stats.permutation_test(
            (two[:, i], one[:, i]),
            lambda x, y, axis: (x - y).mean(axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
        )
        interval = expected.confidence_interval()
        assert test.paired and test.seeds == (seeds, seeds)
        assert test.t_p == pytest.approx(expected.pvalue)
        assert test.permutation_p == pytest.approx(exact.pvalue)
        assert test.interval is not None
        assert (test.interval.low, test.interval.high) == pytest.approx(tuple(interval))
        difference = two[:, i] - one[:, i]
        assert test.effect_size == pytest.approx(difference.mean() / difference.std(ddof=1))
    p_values = np.array([found[name].t_p for name in NAMES], dtype=np.float64)
    corrected = np.array([found[name].t_p_holm for name in NAMES], dtype=np.float64)
    np.testing.assert_allclose(corrected, holm(p_values))


def test_other_seeds_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(1.0, 0.2, (4, 4)), rng.normal(1.3, 0.4, (6, 4))
    found = outcome_of(group("a", one), group("b", two, first_seed=50))
    for i, name in enumerate(NAMES):
        test = found[name]
        expected = stats.ttest_ind(two[:, i], one[:, i], equal_var=False)
        exact = stats.permutation_test(
            (two[:, i], one[:, i]),
            lambda x, y, axis: np.abs(x.mean(axis=axis) - y.mean(axis=axis)),
            n_resamples=np.inf,
            alternative="greater",
        )
        interval = expected.confidence_interval()
        assert not test.paired and test.seeds == (4, 6)
        assert test.t_p == pytest.approx(expected.pvalue)
        assert test.permutation_p == pytest.approx(exact.pvalue)
        assert test.interval is not None
        assert (test.interval.low, test.interval.high) == pytest.approx(tuple(interval))


def test_many_seeds_are_permuted_at_random() -> None:
    rng = np.random.default_rng(1)
    one = rng.normal(1.0, 0.2, (30, 1))
    two = one + 0.5
    two[::3] -= 0.45
    test = outcome_of(group("a", one), group("b", two))["hausdorff_km"]
    assert test.permutation_p is not None and 0 < test.permutation_p < 0.001


def test_equal_groups_and_equal_differences() -> None:
    one = np.array([[1.0], [2.0], [3.0]])
    same = outcome_of(group("a", one), group("b", one))["hausdorff_km"]
    assert same.t_p is None and same.permutation_p == 1.0 and same.difference == 0.0
    moved = outcome_of(group("a", one), group("b", one + 1))["hausdorff_km"]
    assert moved.t_p is None and moved.permutation_p == 0.25  # all signs alike: 2 of 8


def test_few_seeds_are_warned_of_and_yardsticks_are_not_tested() -> None:
    rng = np.random.default_rng(2)
    groups = [group("a", rng.random((2, 4))), group("b", rng.random((3, 4)))]
    yardstick = Group("markov_1", {"markov_1": {"hausdorff_km": 0.5}}, is_yardstick=True)
    found = compare_groups([*groups, yardstick], "test")
    assert len(found.warnings) == 1 and found.warnings[0].startswith("a has 2 training seeds")
    assert {(test.first, test.second) for test in found.tests} == {("a", "b")}
    summary = found.summary("markov_1", "hausdorff_km")
    assert summary is not None and (summary.mean, summary.deviation) == (0.5, None)


def test_names_make_groups() -> None:
    names = ["vanilla_seed1", "vanilla_seed2", "distilled_s1", "distilled_12", "other"]
    assert [seed_of(name) for name in names] == ["1", "2", "1", "12", None]
    assert assign(names, parse_groups([])) == {
        "vanilla": names[:2],
        "distilled": names[2:4],
        "other": ["other"],
    }
    given = parse_groups(["plain=van*,other", "taught=dist*"])
    assert assign(names, given) == {"plain": [*names[:2], "other"], "taught": names[2:4]}
    for bad in ("vanilla", "=x", "a="):
        with pytest.raises(UserError, match="expected name=pattern"):
            parse_groups([bad])
    with pytest.raises(UserError, match="No model matches the group x"):
        assign(names, {"x": "nothing*"})
    empty: list[dict[str, object]] = [{}]
    with pytest.raises(UserError, match="have the seed 1"):
        make_groups({"a_seed1": empty, "b_s1": empty}, {"all": "*"})


def test_generation_seeds_are_averaged() -> None:
    found: Found = {"a_seed1": [{"edr": 0.2, "dtw_km": None}, {"edr": 0.4, "dtw_km": 1.0}]}
    (made,) = make_groups(found, "auto")
    assert made.by_seed["1"]["edr"] == pytest.approx(0.3)
    assert made.by_seed["1"]["dtw_km"] == 1.0 and made.by_seed["1"]["detour"] is None


def test_files_for_papers(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    names = ("50 % vanilla_$", "distilled")
    comparison = compare_groups([group(name, rng.random((4, 4))) for name in names], "test")
    write_groups(tmp_path, [comparison])
    tex = (tmp_path / "groups.tex").read_text()
    assert r"50 \% vanilla\_\$" in tex and r"$\pm$" in tex and tex.count(r"\toprule") == 2
    assert "| Hausdorff (km) |" in (tmp_path / "groups.md").read_text()
    (stored,) = json.loads((tmp_path / "groups.json").read_text())
    assert stored["groups"] == {name: ["0", "1", "2", "3"] for name in names}
    assert all(MEASURES[test["measure"]] for test in stored["tests"])
    assert groups_section([comparison]).dots
    assert "groups/test/distilled/dtw_km/sd" in groups_summary([comparison])
