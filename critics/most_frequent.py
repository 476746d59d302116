"""The simplest opinion that could work: how often training trips took each turn.

What it believes with a sense of the way beside it, `way_fitting` finds out as for any other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.choices import Choices
from data.laid_out import here_and_taken
from data.turn_counts import edge_counts
from dataset import TripDataset


class MostFrequent:
    """Every way on is counted once more than it was driven."""

    name = "most frequent transition"

    def __init__(self, train: TripDataset) -> None:
        self.network = train.network
        self.logit = np.log1p(edge_counts(train.network, train.road_ids, train.offsets))  # [E]

    def trip_logits(self, dataset: TripDataset, trip_id: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of all candidates of all positions of whole trips, one after the other."""
        choices = Choices.of(self.network, *here_and_taken(*dataset.laid_out(trip_id)))
        return self.logit[choices.edge].astype(np.float32)
