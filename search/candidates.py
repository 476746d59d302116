"""Scores the candidates of encoded partial trips: one after the other on a CPU, padded elsewhere.

Roads have two or three candidates on average and a few have many, so a CPU would spend most of its
time on the padding of a rectangle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data.features import FeatureTables
from hoser import HOSER
from models.incremental import TripDecoder
from runtime.device import prefers_loops
from search.graph import SearchGraph
from search.interface import IntArray

_ROWS_A_BLOCK = 64


@dataclass
class CandidateScores:
    """Flat columns; those of partial trip n begin at `first[n]`."""

    logits: NDArray[np.float32]
    time_pred: NDArray[np.float32]  # normalised
    first: IntArray  # [N]


class CandidateScorer:
    """Logits and travel times of the next roads."""

    def __init__(
        self, model: HOSER, decoder: TripDecoder, features: FeatureTables, graph: SearchGraph
    ) -> None:
        self.model, self.decoder, self.features, self.graph = model, decoder, features, graph

    @torch.no_grad()
    def score(self, hidden: Tensor, road: Tensor, destination: Tensor) -> CandidateScores:
        """The scores at N positions with embeddings `hidden` [N, 2 d]; the others int64 [N]."""
        if prefers_loops(hidden.device) and hidden.dtype == torch.float32:
            return self._score_listed(hidden, road, destination)
        return self._score_padded(hidden, road, destination)

    def _score_padded(self, hidden: Tensor, road: Tensor, destination: Tensor) -> CandidateScores:
        width = self.graph.max_candidates
        candidates = self.features.candidates(road, destination, width)
        logits, time_pred = self.model.next_road_scores(
            hidden,
            self.decoder.tables,
            destination,
            candidates.road_id,
            candidates.metric_dis,
            candidates.metric_angle,
        )
        first = width * np.arange(len(road))
        return CandidateScores(
            logits.flatten().cpu().numpy(), time_pred.flatten().cpu().numpy(), first
        )

    def _score_listed(self, hidden: Tensor, road: Tensor, destination: Tensor) -> CandidateScores:
        listed = self.features.listed_candidates(road, destination, _ROWS_A_BLOCK)
        navigator, tables = self.model.navigator, self.decoder.tables
        zone = self.model.road2zone[destination]
        query = navigator.trip_query(hidden) + F.embedding(zone, tables.zone_query)
        logits, time_pred = self.model.score_candidates(
            query,
            navigator.trip_time(hidden),
            tables,
            candidate_road_id=listed.road_id,
            owner=listed.owner,
            metric_dis=listed.metric_dis,
            metric_angle=listed.metric_angle,
        )
        return CandidateScores(logits.numpy(), time_pred.numpy(), listed.first)
