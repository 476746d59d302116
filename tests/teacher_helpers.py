"""Small teachers and batches of tokens for the tests of the teacher's side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from config.choices import Window
from critics.lmtad import LMTAD, LMTADConfig
from critics.lmtad_teacher import LMTADTeacher
from critics.weights import TeacherWeights


def small_weights(
    num_places: int = 30,
    block_size: int = 12,
    destination_prefix: bool = False,
    vocabulary: str = "road",
    seed: int = 0,
    integer_poe: bool = False,
) -> TeacherWeights:
    """A random LM-TAD whose logits differ enough to tell histories apart."""
    torch.manual_seed(seed)
    config = LMTADConfig(num_places + 3, block_size, 2, 2, 16, bias=True, integer_poe=integer_poe)
    model = LMTAD(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0)
    dataset_config = {
        "vocabulary": vocabulary,
        "destination_prefix": destination_prefix,
        "grip_size": [1, num_places],
    }
    return TeacherWeights(model.state_dict(), config.to_dict(), dataset_config)


def token_batch(
    seed: int, num_places: int, max_len: int = 20
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Trace tokens [B, T], lengths [B], candidate tokens [B, T, C] and counts, destinations."""
    rng = np.random.default_rng(seed)
    b, t, c = rng.integers(1, 5), rng.integers(1, max_len), rng.integers(1, 5)
    trace_len = rng.integers(1, t + 1, b)
    trace = rng.integers(0, min(num_places, 4), (b, t))
    candidate_len = rng.integers(0, c + 1, (b, t)) * (np.arange(t) < trace_len[:, None])
    candidates = rng.integers(0, num_places, (b, t, c))
    destination = rng.integers(0, num_places, b)
    arrays = (trace, trace_len, candidates, candidate_len, destination)
    a, b_, c_, d, e = (torch.from_numpy(array.astype(np.int64)) for array in arrays)
    return a, b_, c_, d, e


def naive_history(
    trace: list[int], step: int, prefix: list[int], window: Window, block_size: int
) -> list[int]:
    """What the teacher reads before judging what follows `step`, told in words."""
    room = block_size - len(prefix)
    first = 0
    if window == "full":
        while step - first >= room:
            first += max(1, room // 2)
    else:
        first = max(0, step - min(window, room) + 1)
    return prefix + trace[first : step + 1]


def naive_candidate_logits(
    teacher: LMTADTeacher,
    trace: Tensor,
    trace_len: Tensor,
    candidates: Tensor,
    candidate_len: Tensor,
    destination: Tensor,
    window: Window,
) -> Tensor:
    """One position at a time, through the full vocabulary."""
    result = torch.full(candidates.shape, -torch.inf)
    for b in range(len(trace)):
        prefix = [teacher.sot_id]
        if teacher.destination_prefix:
            prefix.append(int(destination[b]))
        for t in range(int(trace_len[b])):
            block = teacher.config.block_size
            history = naive_history(trace[b].tolist(), t, prefix, window, block)
            with torch.no_grad():
                logits = teacher.model(torch.tensor([history]))[0, -1]
            for c in range(int(candidate_len[b, t])):
                result[b, t, c] = logits[candidates[b, t, c]]
    return result
