"""Distillation losses against float64 loops, the worked example, and their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from critics.losses import (
    candidate_distributions,
    combine,
    distillation_loss,
    first_of_group,
    forward_kl,
    jensen_shannon,
    relation_loss,
    reverse_kl,
)

STUDENT = torch.tensor([[2.1, 1.8, -0.5, -1.2]])
TEACHER = torch.tensor([[0.0032, 0.1547, 0.0018, 0.0003]]).log()


def test_worked_example_exactly() -> None:
    sides = candidate_distributions(STUDENT, TEACHER, torch.tensor([4]), 2.0)
    expected_q = [0.110998, 0.771767, 0.083249, 0.033986]
    expected_p = [0.430054, 0.370151, 0.117203, 0.082592]
    np.testing.assert_allclose(sides.log_q.exp()[0], expected_q, atol=6e-7)
    np.testing.assert_allclose(sides.log_p.exp()[0], expected_p, atol=6e-7)
    assert forward_kl(STUDENT, TEACHER, torch.tensor([4]), 2.0).item() == pytest.approx(
        0.358081, abs=6e-7
    )
    tokens = torch.tensor([[12458, 12459, 15203, 8964]])
    marginal = forward_kl(STUDENT, TEACHER, torch.tensor([4]), 2.0, tie_keys=tokens)
    assert marginal.item() == pytest.approx(0.358081, abs=6e-7)
    cross_entropy = torch.nn.functional.cross_entropy(STUDENT, torch.tensor([1]))
    assert cross_entropy.item() == pytest.approx(0.916253, abs=6e-7)


def softmax64(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max())
    return e / e.sum()


def divergence64(kind: str, p: np.ndarray, q: np.ndarray) -> float:
    def kl(a: np.ndarray, b: np.ndarray) -> float:
        return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    if kind == "forward_kl":
        return kl(q, p)
    if kind == "reverse_kl":
        return kl(p, q)
    m = (p + q) / 2
    return 0.5 * kl(q, m) + 0.5 * kl(p, m)


def loop64(
    kind: str,
    student: np.ndarray,
    teacher: np.ndarray,
    lengths: np.ndarray,
    tau: float,
    ties: np.ndarray | None,
    groups: np.ndarray | None,
) -> np.ndarray:
    """One position at a time, one candidate at a time."""
    result = np.zeros(len(student))
    for n, length in enumerate(lengths):
        if length == 0:
            continue
        p = softmax64(student[n, :length] / tau)
        logits = teacher[n, :length] / tau
        if ties is not None and groups is None:
            cells = list(dict.fromkeys(ties[n, :length].tolist()))
            q = softmax64(np.array([logits[ties[n, :length] == cell][0] for cell in cells]))
            p = np.array([p[ties[n, :length] == cell].sum() for cell in cells])
        elif groups is not None:
            weight = np.exp(logits - logits.max())
            if ties is not None:
                weight /= [(ties[n, :length] == cell).sum() for cell in ties[n, :length]]
            q = weight / weight.sum()
            zones = list(dict.fromkeys(groups[n, :length].tolist()))
            q = np.array([q[groups[n, :length] == zone].sum() for zone in zones])
            p = np.array([p[groups[n, :length] == zone].sum() for zone in zones])
        else:
            q = softmax64(logits)
        result[n] = divergence64(kind, p, q)
    return result


def ragged_batch(seed: int, tied: bool) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    n, c = int(rng.integers(1, 9)), int(rng.integers(1, 8))
    lengths = rng.integers(0, c + 1, n)
    student = rng.normal(0, 3, (n, c))
    keys = rng.integers(0, 3, (n, c))
    cell_logit = rng.normal(0, 4, (n, 3))
    teacher = np.take_along_axis(cell_logit, keys, 1) if tied else rng.normal(0, 4, (n, c))
    return student, teacher, lengths, keys, rng.integers(0, 3, (n, c))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    tau=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    kind=st.sampled_from(["forward_kl", "reverse_kl", "jensen_shannon"]),
    mode=st.sampled_from(["replicate", "marginal", "zone", "zone_marginal"]),
)
def test_equals_a_float64_loop_over_random_ragged_batches(
    seed: int, tau: float, kind: str, mode: str
) -> None:
    student, teacher, lengths, cells, zones = ragged_batch(seed, "marginal" in mode)
    ties = cells if "marginal" in mode else None
    groups = zones if "zone" in mode else None
    expected = loop64(kind, student, teacher, lengths, tau, ties, groups)
    padding = np.arange(student.shape[1]) >= lengths[:, None]
    teacher_logits = torch.from_numpy(np.where(padding, -np.inf, teacher)).float()
    student_logits = torch.from_numpy(np.where(padding, np.nan, student)).float().requires_grad_()
    length = torch.from_numpy(lengths)
    options = {
        "tie_keys": None if ties is None else torch.from_numpy(ties),
        "group_keys": None if groups is None else torch.from_numpy(groups),
    }
    for reduction, value in (
        ("none", expected),
        ("sum", expected.sum()),
        ("mean", expected.sum() / max((lengths > 0).sum(), 1)),
        ("batchmean", expected.sum() / len(expected)),
    ):
        loss = distillation_loss(
            kind,  # type: ignore[arg-type]
            student_logits,
            teacher_logits,
            length,
            tau,
            reduction=reduction,  # type: ignore[arg-type]
            **options,  # type: ignore[arg-type]
        )
        np.testing.assert_allclose(loss.detach(), value, rtol=3e-5, atol=3e-6)
    loss.backward()
    assert student_logits.grad is not None
    assert torch.isfinite(student_logits.grad).all()
    assert (student_logits.grad[torch.from_numpy(padding)] == 0).all()


def test_the_gradient_is_that_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    teacher = torch.randn(5, 4, generator=generator)
    keys = torch.tensor([[1, 1, 2, 3]] * 5)
    length = torch.tensor([4, 3, 2, 4, 1])
    loss = forward_kl(student, teacher, length, 2.0, reduction="sum", tie_keys=keys)
    (gradient,) = torch.autograd.grad(loss, student)
    step = 1e-3
    for n in range(5):
        for c in range(int(length[n])):
            moved = student.detach().clone()
            moved[n, c] += step
            up = forward_kl(moved, teacher, length, 2.0, reduction="sum", tie_keys=keys)
            moved[n, c] -= 2 * step
            down = forward_kl(moved, teacher, length, 2.0, reduction="sum", tie_keys=keys)
            assert gradient[n, c].item() == pytest.approx((up - down).item() / (2 * step), abs=2e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_teacher_rows_are_left_out(bad: float) -> None:
    teacher = TEACHER.repeat(2, 1)
    teacher[1, 2] = bad
    student = STUDENT.repeat(2, 1).requires_grad_()
    loss = forward_kl(student, teacher, torch.tensor([4, 4]), 2.0)
    assert loss.item() == pytest.approx(0.358081, abs=1e-6)
    loss.backward()
    assert student.grad is not None
    assert (student.grad[1] == 0).all()
    assert student.grad[0].abs().sum() > 0


def test_position_mask_and_tau_squared() -> None:
    student, teacher = STUDENT.repeat(3, 1), TEACHER.repeat(3, 1)
    mask = torch.tensor([True, False, True])
    length = torch.tensor([4, 4, 4])
    plain = forward_kl(student, teacher, length, 2.0, reduction="sum", position_mask=mask)
    assert plain.item() == pytest.approx(2 * 0.358081, abs=2e-6)
    scaled = forward_kl(
        student, teacher, length, 2.0, reduction="sum", position_mask=mask, tau_squared=True
    )
    assert scaled.item() == pytest.approx(4 * plain.item())


def test_no_position_at_all_gives_zero() -> None:
    student = torch.randn(2, 3, requires_grad=True)
    loss = forward_kl(student, torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad is not None and (student.grad == 0).all()


def test_jensen_shannon_is_symmetric_and_bounded() -> None:
    far = torch.tensor([[30.0, -30.0]])
    assert jensen_shannon(far, -far).item() == pytest.approx(math.log(2), abs=1e-6)
    assert jensen_shannon(STUDENT, TEACHER).item() == pytest.approx(
        jensen_shannon(TEACHER, STUDENT).item(), abs=1e-6
    )
    assert reverse_kl(STUDENT, TEACHER).item() == pytest.approx(
        forward_kl(TEACHER, STUDENT).item(), abs=1e-6
    )


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0], [-6e4, -6e4, 6e4]], requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [6e4, 0.0, -6e4]])
    keys = torch.tensor([[1, 1, 2], [1, 2, 2]])
    for tie_keys in (None, keys):
        loss = jensen_shannon(student, teacher, tie_keys=tie_keys, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()


def test_first_of_group_ignores_padding() -> None:
    keys = torch.tensor([[7, 7, 5, 7], [0, 3, 0, 0]])
    first = first_of_group(keys, torch.tensor([3, 2]))
    assert first.tolist() == [[0, 0, 2, 3], [0, 1, 2, 3]]


def test_relation_loss_compares_arrangements_not_coordinates() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    padded = torch.cat([3.0 * rows @ rotation, torch.zeros(6, 4, dtype=torch.float64)], dim=1)
    assert relation_loss(rows, padded).item() == pytest.approx(0.0, abs=1e-9)
    other = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    mask = torch.tensor([True, True, False, True, True, False])
    a, b = rows[mask].numpy(), other[mask].numpy()
    expected = []
    for i in range(4):
        for j in range(4):
            if i != j:
                left = a[i] @ a[j] / np.linalg.norm(a[i]) / np.linalg.norm(a[j])
                right = b[i] @ b[j] / np.linalg.norm(b[i]) / np.linalg.norm(b[j])
                expected.append((left - right) ** 2)
    assert relation_loss(rows, other, mask).item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert relation_loss(rows[:1], other[:1]).item() == 0.0


def test_combinations() -> None:
    supervised, distilled = torch.tensor(2.0), torch.tensor(3.0)
    assert combine(supervised, distilled, 0.5).item() == 3.5
    assert combine(supervised, distilled, 0.7, "convex").item() == pytest.approx(0.6 + 2.1)
    assert combine(supervised, distilled, 0.0) is supervised
