"""How probable a student finds whole trips; what a membership attack looks at."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dataset import TripDataset
from hoser import HOSER
from models.losses import mask_candidates
from runtime.device import resolve_device
from search.student import City

TRIPS_PER_BATCH = 64
MOST_TRIPS = 4000


def likelihood_auc(city: City, seed: int = 0) -> float | None:
    """The chance that a city's student finds a training trip likelier than a held-out test trip.

    By the mean log-probability of a trip's decisions; from as many trips of each split, of the
    training split those that the student has seen.
    """
    from metrics.leakage import auc

    city.say_what_differs()  # trips that it has not seen are no members
    device = resolve_device(None, city.config.training.device)
    student = city.load_student(device)
    splits = [city.trips(split) for split in ("train", "test")]
    most = city.config.data.max_train_trips or len(splits[0])
    seen = [min(most, len(splits[0])), len(splits[1])]
    count = min(MOST_TRIPS, *seen)
    rngs = [np.random.default_rng([seed, 6]) for _ in splits]
    chosen = [np.sort(r.choice(n, count, replace=False)) for r, n in zip(rngs, seen, strict=True)]
    scores = [
        _scores(student, split, trips, device) for split, trips in zip(splits, chosen, strict=True)
    ]
    return auc(scores[0], scores[1])


def _scores(
    student: HOSER, trips: TripDataset, chosen: NDArray[np.int64], device: torch.device
) -> NDArray[np.float64]:
    """Mean log-probability per decision of the chosen trips of a split. [count]"""
    scores = []
    student.eval()
    with torch.inference_mode():
        tables = student.encode_roads()
        for first in range(0, len(chosen), TRIPS_PER_BATCH):
            batch = trips.batch(chosen[first : first + TRIPS_PER_BATCH].tolist(), device)
            logits, _ = student(batch, tables)
            log_p = torch.log_softmax(mask_candidates(logits.float(), batch.candidate_len), dim=-1)
            # A position with one way on is no decision: every model is sure of it.
            decided = batch.position_mask & (batch.candidate_len > 1) & (batch.road_label >= 0)
            label = batch.road_label.clamp(min=0)[..., None]
            chosen_log_p = log_p.gather(-1, label).squeeze(-1).where(decided, 0.0)
            decisions = decided.sum(dim=1).clamp(min=1)
            scores.append((chosen_log_p.sum(dim=1) / decisions).cpu().numpy().astype(np.float64))
    return np.concatenate(scores)
