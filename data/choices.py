"""The choices that trips make: at every position, the roads that can come next and the one taken.

Flat arrays, position after position; what a model thinks of a choice is `judge`'s business, and
where its logits come from is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NO_WAY = -1  # the road that was taken cannot be driven onto


@dataclass(frozen=True)
class Choices:
    """All candidates of P positions, one after the other."""

    count: IntArray  # [P]
    begin: IntArray  # [P]
    edge: IntArray  # [M], which edge of the reachability each candidate is
    label: IntArray  # [P], the taken candidate's place in the flat list, or NO_WAY

    @classmethod
    def of(cls, network: RoadNetwork, here: IntArray, taken: IntArray) -> Choices:
        """The choices of driving from the roads `here` [P] onto the roads `taken` [P]."""
        count = network.out_degree[here]
        begin = np.cumsum(count) - count
        place = np.arange(count.sum()) - np.repeat(begin, count)
        edge = np.repeat(network.reach_offsets[here], count) + place
        hits = np.flatnonzero(network.reach_targets[edge] == np.repeat(taken, count))
        position = np.repeat(np.arange(len(here)), count)[hits]
        position, first = np.unique(position, return_index=True)
        label = np.full(len(here), NO_WAY, dtype=np.int64)
        label[position] = hits[first]
        return cls(count, begin, edge, label)


@dataclass(frozen=True)
class Judgement:
    """What a distribution over the candidates says of the choices made. All [P]."""

    surprise: FloatArray  # negative log-probability of the road taken, nats; inf where NO_WAY
    entropy: FloatArray  # the surprise that the model itself expects
    variance: FloatArray  # of the surprise, under the model
    likeliest: IntArray  # the edge that the model would have taken; -1 at a dead end


def log_probabilities(logits: NDArray[np.floating], count: IntArray) -> FloatArray:
    """Flat logits [M] of choices of `count` [P] candidates, normalised choice by choice."""
    exact = logits.astype(np.float64)
    count = count[count > 0]
    if not len(count):
        return exact
    begin = np.cumsum(count) - count
    relative = exact - np.repeat(np.maximum.reduceat(exact, begin), count)
    return relative - np.repeat(np.log(np.add.reduceat(np.exp(relative), begin)), count)


def judge(logits: NDArray[np.floating], choices: Choices) -> Judgement:
    """Holds flat logits [M] of all candidates against the choices."""
    some = choices.count > 0
    surprise, entropy, variance = (np.zeros(len(some)) for _ in range(3))
    likeliest = np.full(len(some), -1, dtype=np.int64)
    surprise[choices.label == NO_WAY] = np.inf
    if not some.any():
        return Judgement(surprise, entropy, variance, likeliest)
    begin, count = choices.begin[some], choices.count[some]
    log_p = log_probabilities(logits, choices.count)
    weight = np.exp(log_p)
    mean = np.add.reduceat(-weight * log_p, begin)
    entropy[some] = mean
    variance[some] = np.maximum(np.add.reduceat(weight * log_p**2, begin) - mean**2, 0.0)
    made = choices.label != NO_WAY
    surprise[made] = -log_p[choices.label[made]]
    top = np.flatnonzero(log_p == np.repeat(np.maximum.reduceat(log_p, begin), count))
    owner, first = np.unique(np.repeat(np.flatnonzero(some), count)[top], return_index=True)
    likeliest[owner] = choices.edge[top[first]]
    return Judgement(surprise, entropy, variance, likeliest)
