"""What a teacher is trained on: the likelihood of the road taken, or of the next token.

Both are returned as sums with counts, so that a split's mean is exact however it is batched.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from critics.lmtad import LMTAD
from critics.teacher_training.examples import Examples
from critics.teacher_training.options import TeacherLoss
from runtime.precision import Precision

HEAD_ELEMENTS = 1 << 25  # logits over the vocabulary that are in memory at once


@dataclass(frozen=True)
class Likelihood:
    """How well predictions fit."""

    nll_sum: Tensor  # nats
    count: Tensor  # int64, predictions
    right: Tensor  # int64, predictions whose likeliest outcome was the true one

    @property
    def loss(self) -> Tensor:
        """The mean over the predictions."""
        return self.nll_sum / self.count.clamp(min=1)


@dataclass(frozen=True)
class Objective:
    """Measures a model on examples; `candidates` asks about the reachable roads' tokens only."""

    kind: TeacherLoss
    precision: Precision

    @property
    def described(self) -> str:
        """Among what the true outcome is to be found, for a log line."""
        return "among the candidates" if self.kind == "candidates" else "of the next token"

    def __call__(self, model: LMTAD, examples: Examples) -> Likelihood:
        """The likelihood of what really followed."""
        with self.precision.autocast():
            hidden = model.hidden(examples.tokens)  # [B, L, E]
        if self.kind == "candidates":
            return _among_candidates(model, hidden, examples)
        return self._over_vocabulary(model, hidden, examples)

    def _over_vocabulary(self, model: LMTAD, hidden: Tensor, examples: Examples) -> Likelihood:
        wanted = examples.targets >= 0
        states, targets = hidden[wanted], examples.targets[wanted]  # [P, E], [P]
        nll_sum = states.new_zeros((), dtype=torch.float32)
        right = torch.zeros((), dtype=torch.long, device=hidden.device)
        size = max(1, HEAD_ELEMENTS // model.config.vocab_size)
        for part, target in zip(states.split(size), targets.split(size), strict=True):
            # Recomputed in the backward pass: only one part's logits exist at a time.
            nll, hits = checkpoint(self._of_part, model, part, target, use_reentrant=False)
            nll_sum, right = nll_sum + nll, right + hits
        return Likelihood(nll_sum, torch.tensor(len(targets), device=hidden.device), right)

    def _of_part(self, model: LMTAD, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with self.precision.autocast():
            logits = model.lm_head(states)  # [P, V]
        nll = F.cross_entropy(logits.float(), targets, reduction="sum")
        return nll, (logits.detach().argmax(-1) == targets).sum()


def _among_candidates(model: LMTAD, hidden: Tensor, examples: Examples) -> Likelihood:
    states = hidden[examples.choice_row, examples.choice_place].float()  # [Q, E]
    # An indexed read would send gradients back in whatever order threads come to them.
    flat = model.token_logits(F.embedding(examples.owner, states), examples.candidate_token)  # [M]
    logits = flat.new_full(examples.candidate_shape, -torch.inf)  # [Q, C]
    logits = logits.index_put((examples.owner, examples.candidate_place), flat)
    nll = F.cross_entropy(logits, examples.label, reduction="sum")
    right = (logits.detach().argmax(-1) == examples.label).sum()
    return Likelihood(nll, torch.tensor(len(states), device=hidden.device), right)
