"""Which teacher a configuration means: one, or several that speak with one voice.

What several believe on average is nearer to the truth than what most of them believe alone, and
the student hears how sure they are together. A single teacher is `road_teacher`'s business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from critics.registry import require_teachers
from critics.road_teacher import HOSERRoadTeacher, LMTADRoadTeacher, RoadTeacher
from data.choices import log_probabilities
from data.laid_out import here_and_taken
from dataset import Batch, TripDataset
from runtime.errors import UserError

if TYPE_CHECKING:
    from config.schema import Config
    from data.road_network import RoadNetwork


class JointRoadTeacher:
    """Several teachers; its distributions over the candidates are the means of theirs."""

    def __init__(self, members: Sequence[RoadTeacher]) -> None:
        first, *others = members
        if any(not _same_roads(first.tie_keys, other.tie_keys) for other in others):
            raise UserError(
                "These teachers disagree on which roads share a token; teachers that teach "
                "together need the same vocabulary."
            )
        self.members = tuple(members)
        self.name = f"{first.name} x {len(self.members)}"
        self.device, self.tie_keys = first.device, first.tie_keys
        self.repeats_histories = all(member.repeats_histories for member in self.members)

    def identity(self) -> dict[str, str]:
        return {
            f"{name} {number}": value
            for number, member in enumerate(self.members)
            for name, value in member.identity().items()
        }

    def batch_logits(
        self, batch: Batch, position_mask: Tensor, dataset: TripDataset | None = None
    ) -> Tensor:
        return mean_opinion(
            [member.batch_logits(batch, position_mask, dataset) for member in self.members]
        )

    def hidden_states(self, batch: Batch, step: Tensor) -> Tensor:
        """Side by side: their cosine similarities are the means of the members'."""
        states = [member.hidden_states(batch, step) for member in self.members]
        return torch.cat([F.normalize(state, dim=-1) for state in states], dim=-1)

    def trip_logits(self, dataset: TripDataset, trip_id: NDArray[np.int64]) -> NDArray[np.float32]:
        here, _ = here_and_taken(*dataset.laid_out(trip_id))
        count = dataset.network.out_degree[here]
        opinions = [
            log_probabilities(member.trip_logits(dataset, trip_id), count)
            for member in self.members
        ]
        joint = np.logaddexp.reduce(opinions) - math.log(len(opinions))
        return np.asarray(joint, dtype=np.float32)

    def road_vectors(self) -> Tensor:
        """Side by side, each member's as long as the others' in the mean."""
        vectors = [member.road_vectors().float() for member in self.members]
        return torch.cat([each / each.square().mean().sqrt() for each in vectors], dim=1)


def together(teachers: Sequence[RoadTeacher]) -> RoadTeacher:
    """One teacher as it is, several as one."""
    return teachers[0] if len(teachers) == 1 else JointRoadTeacher(teachers)


def mean_opinion(logits: Sequence[Tensor]) -> Tensor:
    """The log of the mean of softmaxes: each [..., C], minus infinity where nothing is asked."""
    asked = logits[0] != -torch.inf
    opinions = [part - part.logsumexp(dim=-1, keepdim=True) for part in logits]
    joint = torch.stack(opinions).logsumexp(dim=0) - math.log(len(opinions))
    return torch.where(asked, joint, -torch.inf)


def _same_roads(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def load_teacher(
    config: Config, network: RoadNetwork, device: torch.device | str = "cpu"
) -> RoadTeacher:
    """The configured teacher or teachers, frozen, on `device`."""
    kind = HOSERRoadTeacher if config.distill.teacher == "hoser" else LMTADRoadTeacher
    members = [
        kind.from_config(_with_teacher(config, path), network, device)
        for path in require_teachers(config)
    ]
    return together(members)


def _with_teacher(config: Config, path: Path) -> Config:
    distill = config.distill.model_copy(update={"ckpt": str(path)})
    return config.model_copy(update={"distill": distill})
