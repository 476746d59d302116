"""A start for a teacher's token embeddings: places that lie and lead alike begin alike.

Only where training begins from: the network and its file stay LM-TAD's. It helps a teacher that
sees each token a few times only, most of all to read a destination it has rarely been told.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.geometry import EARTH_RADIUS_M
from data.road_network import RoadNetwork

NUM_WAVES = 96
SHORTEST_KM, LONGEST_KM = 1.0, 30.0


def token_geometry(
    network: RoadNetwork,
    road_to_token: NDArray[np.int64],  # [R]
    num_places: int,
    width: int,
    seed: int,
) -> Tensor:
    """A vector [num_places, width] of mean square 1 for each place; zero where no road lies.

    Waves of many lengths and directions over the position, and the heading, mixed at random: the
    similarity of two vectors falls smoothly with distance and turning angle.
    """
    generator = np.random.default_rng([seed, 7])
    features = _road_features(network, generator)  # [R, F]
    mixing = generator.normal(size=(features.shape[1], width)) / np.sqrt(features.shape[1])
    vectors = features @ mixing
    summed = np.zeros((num_places, width))
    np.add.at(summed, road_to_token, vectors)
    roads = np.bincount(road_to_token, minlength=num_places)[:, None]
    mean = summed / np.maximum(roads, 1)
    scale = np.sqrt(np.square(mean[roads[:, 0] > 0]).mean())
    return torch.from_numpy((mean / scale).astype(np.float32))


def _road_features(
    network: RoadNetwork, generator: np.random.Generator
) -> NDArray[np.float64]:  # [R, F]
    km_per_degree = np.radians(1.0) * EARTH_RADIUS_M / 1000
    lat, lon = network.vertex_mean_lat, network.vertex_mean_lon
    y = (lat - lat.mean()) * km_per_degree
    x = (lon - lon.mean()) * km_per_degree * np.cos(np.radians(lat.mean()))
    length_km = np.exp(generator.uniform(np.log(SHORTEST_KM), np.log(LONGEST_KM), NUM_WAVES))
    direction = generator.uniform(0, 2 * np.pi, NUM_WAVES)
    wave = 2 * np.pi / length_km
    phase = np.outer(x, wave * np.cos(direction)) + np.outer(y, wave * np.sin(direction))
    heading = np.stack([np.cos(network.bearing), np.sin(network.bearing)], axis=1)
    heading = np.repeat(heading, NUM_WAVES // 4, axis=1)
    return np.concatenate([np.cos(phase), np.sin(phase), heading], axis=1)
