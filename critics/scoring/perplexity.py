"""LM-TAD's own measure, so that published figures can be held beside ours.

A trip's log-perplexity is the mean surprise of its tokens after SOT, over the whole vocabulary and
with EOT as the last of them. The rule of the paper calls trips outliers that exceed mean + 3 σ.
It knows no lengths and no support: percentiles are among all normal trips alike.
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from critics.road_teacher import LMTADRoadTeacher
from critics.scoring.calibration import Calibration
from critics.scoring.scores import AspectScores, ModelScores
from critics.scoring.trips import Surroundings, position_offsets
from metrics.trips import Trips

FloatArray = NDArray[np.float64]

_LOGITS_AT_ONCE = 1 << 24


def token_log_perplexity(
    logits: Tensor,  # float [N, L, V], of the tokens as they were read
    tokens: Tensor,  # int64 [N, L]
    length: Tensor,  # int64 [N], tokens that count, SOT among them
) -> Tensor:  # [N]
    """Mean of −log p over the tokens after the first."""
    nll = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    ).view(len(tokens), -1)
    counted = torch.arange(1, tokens.shape[1], device=tokens.device) < length.unsqueeze(1)
    return (nll * counted).sum(1) / counted.sum(1).clamp(min=1)


@torch.no_grad()
def log_perplexity(teacher: LMTADRoadTeacher, trips: Trips) -> FloatArray:
    """The log-perplexity of each trip; what exceeds the teacher's block is not read. [n]"""
    lmtad = teacher.teacher
    model, config, device = lmtad.model, lmtad.config, teacher.device
    prefix = 2 if lmtad.destination_prefix else 1
    room = config.block_size - prefix
    result = np.zeros(len(trips))
    order = np.argsort(-trips.lengths, kind="stable")  # the first of a part is its longest
    first = 0
    while first < len(order):
        longest = min(int(trips.lengths[order[first]]) + prefix + 1, config.block_size)
        count = max(1, _LOGITS_AT_ONCE // (config.vocab_size * longest))
        chosen = order[first : first + count]
        lengths = np.minimum(trips.lengths[chosen], room)
        width = int(lengths.max())
        roads = np.zeros((len(chosen), width), dtype=np.int64)
        for row, trip in enumerate(chosen):
            roads[row, : lengths[row]] = trips.trip(int(trip))[0][: lengths[row]]
        tokens = teacher.road_to_token[torch.from_numpy(roads).to(device)]
        head = torch.full((len(chosen), prefix), config.sot_id, device=device)
        if prefix == 2:
            last = torch.from_numpy(trips.destination[chosen].astype(np.int64)).to(device)
            head[:, 1] = teacher.road_to_token[last]
        tokens = torch.cat([head, tokens, torch.full_like(head[:, :1], config.eot_id)], dim=1)
        length = torch.from_numpy(lengths).to(device) + prefix
        tokens[torch.arange(len(chosen), device=device), length] = config.eot_id
        length = (length + 1).clamp(max=config.block_size)
        tokens = tokens[:, : config.block_size]
        found = token_log_perplexity(model(tokens), tokens, length)
        result[chosen] = found.double().cpu().numpy()
        first += count
    return result


class PerplexityScorer:
    """A teacher's log-perplexity as a score of its own."""

    def __init__(self, name: str, teacher: LMTADRoadTeacher, val: Trips) -> None:
        self.name, self.teacher = f"{name}, perplexity", teacher
        self._calibration = Calibration.fit(log_perplexity(teacher, val), _alike(val))

    def scores(self, trips: Trips) -> ModelScores:
        started = time.perf_counter()
        raw = log_perplexity(self.teacher, trips)
        aspects = AspectScores(raw, self._calibration.level(raw, _alike(trips)))
        elapsed = time.perf_counter() - started
        positions = int(position_offsets(trips)[-1])
        return ModelScores(self.name, {"route": aspects}, None, None, elapsed, positions, True)


def _alike(trips: Trips) -> Surroundings:
    nothing = np.zeros(len(trips), dtype=np.int64)
    return Surroundings(nothing, nothing)
