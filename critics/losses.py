"""Distillation losses over candidate sets: what the student's logits are compared with.

Every loss takes logits `[..., C]` and the number of candidates that are real at each position,
`candidate_len` `[...]`; what stands past it is never read. The teacher's logits are constants.
Positions at which the teacher has a non-finite logit are left out. Which positions count, weights
and schedules are the business of `distill_hook`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from config.choices import Combination, LossKind
from data.masks import real_entries

Reduction = Literal["mean", "sum", "batchmean", "none"]
_LOG_ZERO = -1e30  # the log of nothing, finite so that 0 * log 0 is 0 and its gradient too


@dataclass(frozen=True)
class CandidateDistributions:
    """Log-probabilities of both sides over the same outcomes."""

    log_p: Tensor  # [..., C] student
    log_q: Tensor  # [..., C] teacher
    outcome: Tensor  # bool [..., C]: where there is an outcome (a candidate, or a group's first)
    position: Tensor  # bool [...]: where the loss is defined


Divergence = Callable[[CandidateDistributions], Tensor]  # one number for each position


def first_of_group(keys: Tensor, candidate_len: Tensor) -> Tensor:  # [..., C] -> int64 [..., C]
    """For each candidate the first one with the same key; padding stands for itself."""
    size = keys.shape[-1]
    real = real_entries(candidate_len, size)
    same = (keys.unsqueeze(-1) == keys.unsqueeze(-2)) & real.unsqueeze(-2)  # [..., C, C]
    index = torch.arange(size, device=keys.device)
    first = same.int().argmax(dim=-1)  # argmax returns the first of equals
    return torch.where(real, first, index)


class LossOptions(TypedDict, total=False):
    """What every loss takes beside the logits; see `distillation_loss`."""

    reduction: Reduction
    tau_squared: bool
    tie_keys: Tensor | None
    group_keys: Tensor | None
    position_mask: Tensor | None


def candidate_distributions(
    student_logits: Tensor,  # [..., C]
    teacher_logits: Tensor,  # [..., C]
    candidate_len: Tensor | None = None,  # int64 [...]
    temperature: float = 1.0,
    *,
    tie_keys: Tensor | None = None,  # int64 [..., C]
    group_keys: Tensor | None = None,  # int64 [..., C]
    position_mask: Tensor | None = None,  # bool [...]
) -> CandidateDistributions:
    """Both distributions at `temperature`.

    `tie_keys` (the candidates' cells) treats ties as `marginal`: the teacher's distribution over
    the distinct cells beside the student's probability summed within each. `group_keys` (the
    candidates' zones) sums both sides over the candidates that share a key; with `tie_keys` as
    well, a shared cell's probability is first divided evenly among its candidates.
    """
    student, teacher = student_logits.float(), teacher_logits.detach().float()
    size = student.shape[-1]
    if candidate_len is None:
        candidate_len = torch.full(student.shape[:-1], size, device=student.device)
    real = real_entries(candidate_len, size)
    finite = (torch.isfinite(teacher) | ~real).all(dim=-1) & (candidate_len > 0)
    position = finite if position_mask is None else finite & position_mask
    teacher = torch.where(real & finite.unsqueeze(-1), teacher, 0.0) / temperature
    student = torch.where(real, student / temperature, _LOG_ZERO)
    log_p = torch.log_softmax(student, dim=-1)
    outcome = real
    if group_keys is not None:
        if tie_keys is not None:
            first = first_of_group(tie_keys, candidate_len)
            members = torch.zeros_like(teacher).scatter_add(-1, first, real.float())
            teacher = teacher - members.gather(-1, first).clamp(min=1.0).log()
        log_q = torch.log_softmax(torch.where(real, teacher, _LOG_ZERO), dim=-1)
        first = first_of_group(group_keys, candidate_len)
        outcome = _is_first(first, real)
        log_p, log_q = _sum_groups(log_p, first, outcome), _sum_groups(log_q, first, outcome)
    else:
        if tie_keys is not None:
            first = first_of_group(tie_keys, candidate_len)
            outcome = _is_first(first, real)
            log_p = _sum_groups(log_p, first, outcome)
        log_q = torch.log_softmax(torch.where(outcome, teacher, _LOG_ZERO), dim=-1)
    return CandidateDistributions(log_p, log_q, outcome, position)


def _is_first(first: Tensor, real: Tensor) -> Tensor:  # bool [..., C]
    return real & (first == torch.arange(first.shape[-1], device=first.device))


def _sum_groups(log_p: Tensor, first: Tensor, outcome: Tensor) -> Tensor:
    """Adds probabilities of candidates with the same `first`, in log space; lands on the first."""
    highest = torch.full_like(log_p, _LOG_ZERO)
    highest = highest.scatter_reduce(-1, first, log_p.detach(), "amax")
    relative = (log_p - highest.gather(-1, first)).clamp(min=-80.0)  # padding may be far below
    total = torch.zeros_like(log_p).scatter_add(-1, first, relative.exp())
    summed = highest + torch.where(outcome, total, 1.0).log()
    return torch.where(outcome, summed, _LOG_ZERO)


def forward_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    candidate_len: Tensor | None = None,
    temperature: float = 1.0,
    **options: Unpack[LossOptions],
) -> Tensor:
    """KL(teacher || student) in nats: covers everything that the teacher finds possible."""
    return distillation_loss(
        "forward_kl", student_logits, teacher_logits, candidate_len, temperature, **options
    )


def reverse_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    candidate_len: Tensor | None = None,
    temperature: float = 1.0,
    **options: Unpack[LossOptions],
) -> Tensor:
    """KL(student || teacher) in nats: settles on what the teacher finds likeliest."""
    return distillation_loss(
        "reverse_kl", student_logits, teacher_logits, candidate_len, temperature, **options
    )


def jensen_shannon(
    student_logits: Tensor,
    teacher_logits: Tensor,
    candidate_len: Tensor | None = None,
    temperature: float = 1.0,
    **options: Unpack[LossOptions],
) -> Tensor:
    """The Jensen-Shannon divergence in nats: symmetric, at most log 2."""
    return distillation_loss(
        "jensen_shannon", student_logits, teacher_logits, candidate_len, temperature, **options
    )


def distillation_loss(
    kind: LossKind | Divergence,
    student_logits: Tensor,
    teacher_logits: Tensor,
    candidate_len: Tensor | None = None,
    temperature: float = 1.0,
    *,
    reduction: Reduction = "mean",
    tau_squared: bool = False,
    tie_keys: Tensor | None = None,
    group_keys: Tensor | None = None,
    position_mask: Tensor | None = None,
) -> Tensor:
    """The loss named `kind`, or a divergence of one's own, at the positions of `position_mask`.

    `tau_squared` multiplies by the temperature squared, which keeps the gradient's size as the
    temperature rises. For `tie_keys` and `group_keys` see `candidate_distributions`.
    """
    sides = candidate_distributions(
        student_logits,
        teacher_logits,
        candidate_len,
        temperature,
        tie_keys=tie_keys,
        group_keys=group_keys,
        position_mask=position_mask,
    )
    divergence = DIVERGENCES[kind] if isinstance(kind, str) else kind
    per_position = torch.where(sides.position, divergence(sides), 0.0)  # [...]
    if tau_squared:
        per_position = per_position * temperature**2
    return _reduce(per_position, sides.position, reduction)


def _forward_kl(sides: CandidateDistributions) -> Tensor:  # -> [...]
    return _kl(sides.log_q, sides.log_p, sides.outcome)


def _reverse_kl(sides: CandidateDistributions) -> Tensor:  # -> [...]
    return _kl(sides.log_p, sides.log_q, sides.outcome)


def _jensen_shannon(sides: CandidateDistributions) -> Tensor:  # -> [...]
    log_p, log_q, outcome = sides.log_p, sides.log_q, sides.outcome
    middle = torch.logaddexp(log_p, log_q) - 0.6931471805599453  # log 2
    return 0.5 * (_kl(log_q, middle, outcome) + _kl(log_p, middle, outcome))


def _kl(log_a: Tensor, log_b: Tensor, outcome: Tensor) -> Tensor:
    return torch.where(outcome, log_a.exp() * (log_a - log_b), 0.0).sum(dim=-1)


DIVERGENCES: dict[LossKind, Divergence] = {
    "forward_kl": _forward_kl,
    "reverse_kl": _reverse_kl,
    "jensen_shannon": _jensen_shannon,
}


def _reduce(per_position: Tensor, position: Tensor, reduction: Reduction) -> Tensor:
    """`mean` over the positions that count, `sum`, `batchmean` (sum per batch row) or `none`."""
    if reduction == "none":
        return per_position
    total = per_position.sum()
    if reduction == "sum":
        return total
    if reduction == "batchmean":
        return total / max(per_position.shape[0] if per_position.ndim else 1, 1)
    if reduction == "mean":
        return total / position.sum().clamp(min=1)
    raise ValueError(f"{reduction!r} is not a reduction.")


def relation_loss(
    student: Tensor,  # [N, D]
    teacher: Tensor,  # [N, E]
    row_mask: Tensor | None = None,  # bool [N]
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """How differently two spaces of any widths arrange the same N things.

    The squared difference of their cosine-similarity matrices, averaged (or summed) over the
    ordered pairs of different rows.
    """
    student_relations = _cosine_similarities(student)
    teacher_relations = _cosine_similarities(teacher.detach())
    count = student.shape[0]
    pair = ~torch.eye(count, dtype=torch.bool, device=student.device)
    if row_mask is not None:
        pair &= row_mask.unsqueeze(0) & row_mask.unsqueeze(1)
    squared = torch.where(pair, (student_relations - teacher_relations).square(), 0.0).sum()
    return squared if reduction == "sum" else squared / pair.sum().clamp(min=1)


def _cosine_similarities(rows: Tensor) -> Tensor:  # [N, D] -> [N, N]
    unit = F.normalize(rows.float(), dim=-1)
    return unit @ unit.T


def combine(
    supervised: Tensor,
    distilled: Tensor,
    weight: float,
    combination: Combination = "additive",
) -> Tensor:
    """`supervised + weight * distilled`, or `(1 - weight) * supervised + weight * distilled`."""
    if weight == 0.0:
        return supervised
    if combination == "convex":
        return (1.0 - weight) * supervised + weight * distilled
    return supervised + weight * distilled
