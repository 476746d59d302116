"""Where a taught student's roads and zones begin: where the teacher's are, instead of at random.

A teacher of roads has a vector for every road, also for those that the student's own trips never
pass. Their main directions become the student's first road embeddings, their means in the zones
its first zone embeddings. Only where training begins from: what follows is training as usual, and
the student's file and what it costs stay the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hoser import HOSER
from runtime.distributed import Processes

LEAST_STRENGTH = 1e-9  # of a direction, beside the strongest: below is rounding


@torch.no_grad()
def begin_where_the_teacher_is(model: HOSER, vectors: Tensor, processes: Processes) -> None:
    """Replaces the embeddings of all roads and zones, given the teacher's vectors [R, E]."""
    encoder = model.road_network_encoder
    roads, zone_of_road = vectors.double().cpu(), model.road2zone.cpu()
    zones = roads.new_zeros(encoder.num_zones, roads.shape[1])
    zones.index_add_(0, zone_of_road, roads)
    zones /= torch.bincount(zone_of_road, minlength=encoder.num_zones).clamp(min=1).unsqueeze(1)
    for embedding, source in ((encoder.road_id_emb, roads), (encoder.zone_id_emb, zones)):
        embedding.weight.copy_(main_directions(source, embedding.weight.shape[1]))
        processes.same_everywhere(embedding.weight)  # processors differ in how they round


def main_directions(vectors: Tensor, width: int) -> Tensor:
    """The coordinates [n, width] of vectors [n, E] along their main directions, of mean square 1.

    Columns that the vectors do not reach are 0. Each direction is signed so that its largest
    component is positive: nothing is left to the solver's choice.
    """
    centered = vectors - vectors.mean(dim=0)
    strengths, directions = torch.linalg.eigh(centered.T @ centered)  # ascending; in columns
    reached = int((strengths > strengths[-1] * LEAST_STRENGTH).sum().clamp(max=width))
    directions = directions.flip(1)[:, :reached]
    largest = directions.abs().argmax(dim=0, keepdim=True)
    found = centered @ (directions * directions.gather(0, largest).sign())
    filled = vectors.new_zeros(len(vectors), width)
    filled[:, :reached] = found / found.square().mean().sqrt()
    return filled
