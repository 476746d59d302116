"""Origins that the teacher itself draws, given a destination of the student's trips."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from critics.replay.requests import Requests, own_requests
from critics.road_teacher import LMTADRoadTeacher, RoadTeacher
from dataset import TripDataset
from runtime.errors import UserError

_DESTINATIONS_AT_ONCE = 1024


@torch.no_grad()
def teachers_requests(
    teacher: RoadTeacher, dataset: TripDataset, count: int, generator: np.random.Generator
) -> Requests:
    """Destinations and starts of the dataset's trips, each with an origin from the teacher.

    Only a teacher of roads whose loss went over the whole vocabulary has learned where trips begin.
    """
    if not isinstance(teacher, LMTADRoadTeacher) or not _knows_origins(teacher):
        raise UserError(
            "This teacher has not learned where trips begin; distill.replay.od can be teacher with "
            "an LM-TAD of roads that was trained with --loss vocabulary and the destination prefix."
        )
    own = own_requests(dataset, count, generator)
    noise = torch.from_numpy(generator.random(len(own))).to(teacher.device)
    destination = torch.from_numpy(own.destination).to(teacher.device)
    origins = []
    for begin in range(0, len(own), _DESTINATIONS_AT_ONCE):
        rows = slice(begin, begin + _DESTINATIONS_AT_ONCE)
        token = teacher.road_to_token[destination[rows]]
        prefix = torch.stack([torch.full_like(token, teacher.teacher.sot_id), token], dim=1)
        hidden = teacher.teacher.model.hidden(prefix)[:, -1]
        head = teacher.teacher.model.lm_head.weight[: teacher.teacher.num_places]
        logits = F.linear(hidden, head).float()
        logits.scatter_(1, token.unsqueeze(1), -torch.inf)  # not where the trip would end
        cumulated = logits.softmax(dim=1).double().cumsum(dim=1)
        threshold = noise[rows].unsqueeze(1) * cumulated[:, -1:]
        origins.append((cumulated <= threshold).sum(dim=1).clamp(max=head.shape[0] - 1))
    origin = torch.cat(origins).cpu().numpy()
    usable = np.flatnonzero(origin != own.destination)
    return Requests(origin, own.destination, own.start)[usable]


def _knows_origins(teacher: LMTADRoadTeacher) -> bool:
    lmtad = teacher.teacher
    trained_on = lmtad.dataset_config.get("loss")
    return lmtad.vocabulary == "road" and lmtad.destination_prefix and trained_on == "vocabulary"
