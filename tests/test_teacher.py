"""The frozen teacher against a naive loop over positions: windows, full history, destinations."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from critics.histories import build_histories, unique_rows
from critics.lmtad_teacher import LMTADTeacher
from critics.weights import load_weights, save_weights
from runtime.errors import UserError
from tests.teacher_helpers import (
    naive_candidate_logits,
    naive_history,
    small_weights,
    token_batch,
)


@functools.cache
def small_teacher(destination_prefix: bool) -> LMTADTeacher:
    """Shared by the tests, which only read it."""
    return LMTADTeacher(small_weights(destination_prefix=destination_prefix))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    window=st.sampled_from([1, 2, 3, 4, 8, 50, "full"]),
    prefix=st.booleans(),
    chunk=st.sampled_from([1, 64, 1 << 20]),
)
def test_equals_a_naive_loop(seed: int, window: int | str, prefix: bool, chunk: int) -> None:
    teacher = LMTADTeacher(small_weights(destination_prefix=prefix))
    teacher.chunk_elements = chunk
    batch = token_batch(seed, 30)
    expected = naive_candidate_logits(teacher, *batch, window=window)  # type: ignore[arg-type]
    actual = teacher.candidate_logits(*batch, window=window)  # type: ignore[arg-type]
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)


def test_the_history_holds_sot_and_the_current_road() -> None:
    trace = list(range(20))
    assert naive_history(trace, 0, [99], 4, 12) == [99, 0]
    assert naive_history(trace, 6, [99], 4, 12) == [99, 3, 4, 5, 6]
    assert naive_history(trace, 10, [99], "full", 12) == [99, *range(11)]
    assert naive_history(trace, 11, [99], "full", 12) == [99, *range(5, 12)]
    histories = build_histories(
        torch.tensor([trace]),
        torch.zeros(20, dtype=torch.long),
        torch.arange(20),
        torch.tensor([[99]]),
        "full",
        12,
    )
    assert len(histories.tokens) == 3
    for step in range(20):
        sequence, place = histories.sequence[step], histories.place[step]
        read = histories.tokens[sequence, : place + 1].tolist()
        assert read == naive_history(trace, step, [99], "full", 12)


def test_equal_windows_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = small_teacher(False)
    seen: list[torch.Tensor] = []
    hidden = teacher.model.hidden

    def watched(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tokens)
        return hidden(tokens)

    monkeypatch.setattr(teacher.model, "hidden", watched)
    trace = torch.tensor([[1, 2, 1, 2, 1, 2], [2, 1, 2, 1, 2, 1]])
    length = torch.tensor([6, 6])
    candidates = torch.zeros(2, 6, 1, dtype=torch.long)
    teacher.candidate_logits(
        trace, length, candidates, torch.ones(2, 6, dtype=torch.long), window=2
    )
    rows = {tuple(row) for tokens in seen for row in tokens.tolist()}
    total = sum(len(tokens) for tokens in seen)
    assert total == len(rows) == 4  # two beginnings, then (1, 2) and (2, 1)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    columns=st.integers(1, 12),
    high=st.sampled_from([2, 51_663, 2**31]),
)
def test_unique_rows_is_exact(seed: int, columns: int, high: int) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, high, (40, columns))
    rows = torch.from_numpy(pool[rng.integers(0, 40, 60)])
    representative, place = unique_rows(rows)
    assert torch.equal(rows[representative][place], rows)
    assert len(representative) == len({tuple(row) for row in rows.tolist()})


def test_positions_left_out_are_not_computed() -> None:
    teacher = small_teacher(True)
    batch = token_batch(3, 30)
    everything = teacher.candidate_logits(*batch, window=3)
    mask = torch.rand(batch[3].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    some = teacher.candidate_logits(*batch, window=3, position_mask=mask)
    expected = torch.where(mask.unsqueeze(-1), everything, -torch.inf)
    torch.testing.assert_close(some, expected)
    none = teacher.candidate_logits(*batch, position_mask=torch.zeros_like(mask))
    assert torch.isinf(none).all()


def test_a_cropped_row_can_be_given_its_whole_history() -> None:
    teacher = small_teacher(False)
    trace = torch.randint(0, 30, (1, 18), generator=torch.Generator().manual_seed(1))
    candidates = torch.randint(0, 30, (1, 18, 3), generator=torch.Generator().manual_seed(2))
    count = torch.full((1, 18), 3)
    whole = teacher.candidate_logits(trace, torch.tensor([18]), candidates, count)
    part = teacher.candidate_logits(
        trace,
        torch.tensor([8]),
        candidates[:, 10:],
        count[:, 10:],
        first_step=torch.tensor([10]),
    )
    torch.testing.assert_close(part, whole[:, 10:])


@pytest.mark.parametrize("window", [3, "full"])
def test_sparse_head_equals_the_full_softmax(window: int | str) -> None:
    teacher = small_teacher(False)
    trace, length, candidates, count, _ = token_batch(11, 30)
    logits = teacher.candidate_logits(trace, length, candidates, count, window=window)  # type: ignore[arg-type]
    for b in range(len(trace)):
        for t in range(int(length[b])):
            n = int(count[b, t])
            history = naive_history(trace[b].tolist(), t, [teacher.sot_id], window, 12)  # type: ignore[arg-type]
            with torch.no_grad():
                full = torch.softmax(teacher.model(torch.tensor([history]))[0, -1], -1)
            chosen = full[candidates[b, t, :n]]
            sparse = torch.softmax(logits[b, t, :n], -1)
            torch.testing.assert_close(sparse, chosen / chosen.sum(), atol=1e-4, rtol=1e-3)


def test_the_teacher_is_frozen_and_ignores_autocast() -> None:
    teacher = small_teacher(False)
    batch = token_batch(5, 30)
    plain = teacher.candidate_logits(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = teacher.candidate_logits(*batch)
    assert torch.equal(plain, inside)
    assert not plain.requires_grad and not plain.is_inference()
    assert not teacher.model.training
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_half_precision_is_close() -> None:
    half = LMTADTeacher(small_weights(), dtype="bfloat16")
    batch = token_batch(7, 30)
    exact = small_teacher(False).candidate_logits(*batch)
    rough = half.candidate_logits(*batch)
    assert rough.dtype == torch.float32
    real = torch.isfinite(exact)
    error = (exact - rough)[real].abs()
    assert error.median() < 0.02 * exact[real].abs().max()


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that is made inside it."""

    num_bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        is_view = function.overloadpacket in (torch.ops.aten.detach, torch.ops.aten.t)
        if isinstance(result, torch.Tensor) and not is_view:
            self.num_bytes = max(self.num_bytes, result.nbytes)
        return result


@pytest.mark.parametrize("window", [4, "full"])
def test_memory_does_not_depend_on_the_vocabulary(window: int | str) -> None:
    batch = token_batch(9, 30)
    largest = []
    for num_places in (30, 30_000):
        teacher = LMTADTeacher(small_weights(num_places))
        with LargestTensor() as noted:
            teacher.candidate_logits(*batch, window=window)  # type: ignore[arg-type]
        largest.append(noted.num_bytes)
    assert largest[0] == largest[1] > 0


def test_sinusoidal_positions() -> None:
    weights = small_weights(integer_poe=True)
    assert "transformer.wpe.weight" not in weights.state_dict
    teacher = LMTADTeacher(weights)
    table = teacher.model.transformer["wpe"].weight
    assert isinstance(table, torch.Tensor)
    for position in (0, 3, 11):
        for i in range(0, 16, 2):
            angle = position / 10000 ** (i / 16)
            np.testing.assert_allclose(table[position, i], np.sin(angle), atol=1e-6)
            np.testing.assert_allclose(table[position, i + 1], np.cos(angle), atol=1e-6)
    batch = token_batch(2, 30)
    expected = naive_candidate_logits(teacher, *batch, window=4)
    actual = teacher.candidate_logits(*batch, window=4)
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)


def test_fingerprint_follows_the_weights(tmp_path: object) -> None:
    first, second = small_weights(seed=0), small_weights(seed=1)
    assert first.fingerprint() != second.fingerprint()
    assert first.fingerprint() == small_weights(seed=0).fingerprint()
    told = small_weights(seed=0, destination_prefix=True)
    assert told.fingerprint() != first.fingerprint()
    path = f"{tmp_path}/w.pt"
    save_weights(path, first)
    assert load_weights(path).fingerprint() == first.fingerprint()


def test_a_block_without_room_is_refused() -> None:
    with pytest.raises(UserError, match="holds no road"):
        LMTADTeacher(small_weights(block_size=2, destination_prefix=True))
