"""Models against each other: paired tests on the same OD pairs, corrected for their number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.assessment import Assessment
from metrics.measures import PAIR_MEASURES
from metrics.statistics import (
    MAX_BLOCKS,
    Bootstrap,
    Interval,
    benjamini_hochberg,
    drawn_signs,
    holm,
    paired_divergence_test,
    paired_test,
)
from runtime.logs import get_logger

logger = get_logger("evaluation")

IntArray = NDArray[np.int64]

LEAST_PERMUTATIONS = 999
PERMUTATION = "permutation"
MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class ComparisonRow:
    """One measure of two models on the same OD pairs; a negative difference favours `second`.

    `p` is Wilcoxon's for distances and a permutation test's for divergences, and `p_holm` and
    `p_bh` are corrected over all rows; `t_p` and its corrections stand beside them.
    """

    first: str
    second: str
    measure: str
    count: int
    mean_first: float
    mean_second: float
    mean_difference: float
    relative_difference: float | None
    interval: Interval | None
    effect_size: float | None
    test: str
    p: float
    floor: float | None = None  # of a divergence: what two samples of the real trips differ by
    p_holm: float = 1.0
    p_bh: float = 1.0
    t_p: float | None = None
    t_p_holm: float | None = None
    t_p_bh: float | None = None

    @property
    def mark(self) -> str:
        """Stars for the level at which the corrected test (Holm) is significant."""
        return next((stars for level, stars in MARKS if self.p_holm < level), "")

    def to_json(self) -> dict[str, Any]:
        """The row as plain data."""
        plain = dict(self.__dict__)
        interval = self.interval
        plain["interval"] = None if interval is None else [interval.low, interval.high]
        plain["significant"] = self.mark
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> ComparisonRow:
        """The row from what `to_json` made of it."""
        interval = plain["interval"]
        names = {field.name for field in fields(cls)} - {"interval"}
        return cls(
            interval=None if interval is None else Interval(*interval),
            **{name: plain[name] for name in names},
        )


@dataclass(frozen=True)
class Comparison:
    """All pairs of models on one split of real trips."""

    od_source: str
    models: list[str]
    rows: list[ComparisonRow]

    def row(self, first: str, second: str, measure: str) -> ComparisonRow | None:
        """The row of two models in this order, if they could be compared."""
        for row in self.rows:
            if (row.first, row.second, row.measure) == (first, second, measure):
                return row
        return None

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {
            "od_source": self.od_source,
            "models": self.models,
            "correction": "Holm and Benjamini-Hochberg over all rows",
            "rows": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Comparison:
        """The comparison from what `to_json` made of it."""
        rows = [ComparisonRow.from_json(row) for row in plain["rows"]]
        return cls(plain["od_source"], plain["models"], rows)


def compare(
    assessments: Sequence[Assessment], od_source: str, samples: int = 1000, seed: int = 0
) -> Comparison:
    """Compares every two models that were measured against the same real trips."""
    rows: list[ComparisonRow] = []
    rng = np.random.default_rng([seed, 2])
    for first, second in itertools.combinations(assessments, 2):
        shared = _Shared.of(first, second)
        if len(shared.at_first):
            rows += _local_rows(shared, Bootstrap(len(shared.at_first), samples, rng))
            rows += _divergence_rows(shared, max(samples, LEAST_PERMUTATIONS), rng)
    rows = _corrected(rows)
    _say_what_permutations_hide(rows, max(samples, LEAST_PERMUTATIONS))
    return Comparison(od_source, [each.name for each in assessments], rows)


def _say_what_permutations_hide(rows: Sequence[ComparisonRow], permutations: int) -> None:
    """Warns of divergences that no permutation matched, and that so many tests hide all the same.

    Their p is the least that so many permutations can give, and corrected it cannot reach a star.
    """
    least, level = 1.0 / (1 + permutations), MARKS[-1][0]
    hidden = [
        row for row in rows if row.test == PERMUTATION and row.p <= least and row.p_holm >= level
    ]
    if hidden:
        logger.warning(
            "%d differences of divergences are as clear as %d permutations can show, and yet not "
            "significant among %d tests (Holm); --bootstrap %d can show more.",
            len(hidden),
            permutations,
            len(rows),
            math.ceil(len(rows) / level),
        )


@dataclass(frozen=True)
class _Shared:
    """Two models and the places, among the pairs of each, of the real trips that both have."""

    first: Assessment
    second: Assessment
    at_first: IntArray
    at_second: IntArray

    @classmethod
    def of(cls, first: Assessment, second: Assessment) -> _Shared:
        _, at_first, at_second = np.intersect1d(
            first.pairs.real, second.pairs.real, assume_unique=True, return_indices=True
        )
        return cls(first, second, at_first, at_second)


def _local_rows(shared: _Shared, bootstrap: Bootstrap) -> list[ComparisonRow]:
    rows = []
    for measure in PAIR_MEASURES:
        if not measure.compared:
            continue
        values_first = measure.of(shared.first.local)[shared.at_first]
        values_second = measure.of(shared.second.local)[shared.at_second]
        test = paired_test(values_first, values_second, bootstrap)
        rows.append(
            ComparisonRow(
                first=shared.first.name,
                second=shared.second.name,
                measure=measure.name,
                count=test.count,
                mean_first=test.mean_first,
                mean_second=test.mean_second,
                mean_difference=test.mean_difference,
                relative_difference=_relative(test.mean_difference, test.mean_first),
                interval=test.interval,
                effect_size=test.effect_size,
                test="Wilcoxon",
                p=test.wilcoxon_p,
                t_p=test.t_p,
            )
        )
    return rows


def _divergence_rows(
    shared: _Shared, permutations: int, rng: np.random.Generator
) -> list[ComparisonRow]:
    """Divergences from all real trips, of the generated trips that both models have a pair for."""
    rows = []
    first, second = shared.first, shared.second
    generated = (first.pairs.generated[shared.at_first], second.pairs.generated[shared.at_second])
    # Trips are exchanged in at most MAX_BLOCKS random groups, which bounds the work.
    num_blocks = min(len(shared.at_first), MAX_BLOCKS)
    block = rng.permutation(len(shared.at_first)) % MAX_BLOCKS
    signs = drawn_signs(permutations, num_blocks, rng)
    for name in first.bins:
        part = first.reference.part(name)
        assert part is not None  # it was what the bins were made of
        tables = [
            model.bins[name].by_group(trips, block, num_blocks)
            for model, trips in zip((first, second), generated, strict=True)
        ]
        if not all(table.any() for table in tables):
            continue
        result = paired_divergence_test(part.counts, tables[0], tables[1], signs)
        rows.append(
            ComparisonRow(
                first=first.name,
                second=second.name,
                measure=f"{name}_jsd",
                count=len(block),
                mean_first=result.first,
                mean_second=result.second,
                mean_difference=result.second - result.first,
                relative_difference=_relative(result.second - result.first, result.first),
                interval=None,
                effect_size=None,
                test=PERMUTATION,
                p=result.p,
                floor=part.floor(int(tables[0].sum())),
            )
        )
    return rows


def _relative(difference: float, base: float) -> float | None:
    return difference / base if base else None


def _corrected(rows: list[ComparisonRow]) -> list[ComparisonRow]:
    if not rows:
        return rows
    p = np.array([row.p for row in rows])
    p_holm, p_bh = holm(p), benjamini_hochberg(p)
    rows = [
        replace(row, p_holm=float(p_holm[i]), p_bh=float(p_bh[i])) for i, row in enumerate(rows)
    ]
    with_t = [i for i, row in enumerate(rows) if row.t_p is not None]
    t_p = np.array([rows[i].t_p for i in with_t], dtype=np.float64)
    for i, corrected, bounded in zip(with_t, holm(t_p), benjamini_hochberg(t_p), strict=True):
        rows[i] = replace(rows[i], t_p_holm=float(corrected), t_p_bh=float(bounded))
    return rows
