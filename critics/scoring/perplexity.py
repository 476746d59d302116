"""LM-TAD's own measure, so that published figures can be held beside ours.

A trip's log-perplexity is the mean surprise of its tokens after SOT, over the whole vocabulary and
with EOT as the last of them. The rule of the paper calls trips outliers that exceed mean + 3 σ.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from critics.road_teacher import LMTADRoadTeacher
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
    order = np.argsort(trips.lengths, kind="stable")
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
