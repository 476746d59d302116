"""The terms of the distillation loss of one batch, and how they join the supervised loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from config.choices import Combination
from critics.losses import combine

KL, ZONES, RELATIONS = "kl", "zones", "relations"


@dataclass(frozen=True)
class Term:
    """One loss as a sum, so that it can be averaged over a whole accumulation group."""

    sum: Tensor
    count: Tensor  # positions or trips of this batch
    weight: float
    per_trip: bool = False  # what it is averaged over: trips, else positions

    def mean(self, num_positions: Tensor | float, num_trips: Tensor | float) -> Tensor:
        """The sum over the positions or trips of the group that the batch belongs to."""
        return self.sum / (num_trips if self.per_trip else num_positions)


@dataclass(frozen=True)
class DistillOutput:
    """The distillation terms of one batch by name; the KL is always among them."""

    terms: Mapping[str, Term]
    num_nonfinite: Tensor  # positions left out
    combination: Combination  # of the supervised loss and the KL; the other terms are added

    @property
    def kl_sum(self) -> Tensor:
        """The KL over positions, times the temperature squared where configured."""
        return self.terms[KL].sum

    @property
    def num_positions(self) -> Tensor:
        """How many positions the KL was taken at."""
        return self.terms[KL].count

    @property
    def loss(self) -> Tensor:
        """The KL averaged over this batch's positions: what `train/distill_loss` shows."""
        return self.kl_sum / self.num_positions.clamp(min=1)

    def means(self, num_positions: Tensor | float, num_trips: Tensor | float) -> dict[str, Tensor]:
        """Each term's share of the group's mean, unweighted."""
        return {name: term.mean(num_positions, num_trips) for name, term in self.terms.items()}

    def total(
        self,
        supervised: Tensor,
        num_positions: Tensor | float | None = None,
        num_trips: Tensor | float | None = None,
    ) -> Tensor:
        """The loss to minimise, given the supervised one.

        With the number of positions and trips of a whole accumulation group (and `supervised`
        divided by the group's counts too), the totals of its batches add up to the group's loss.
        """
        total = supervised
        for name, term in self.terms.items():
            count = num_trips if term.per_trip else num_positions
            mean = term.sum / (term.count.clamp(min=1) if count is None else count)
            total = combine(
                total, mean, term.weight, self.combination if name == KL else "additive"
            )
        return total
