"""What the teacher's tokens stand for, roads or cells of a grid, and how its file says so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from critics.grid_mapper import GridMapper, bounds_to_dict
from critics.teacher_training.options import TeacherOptions
from data.road_network import RoadNetwork


def token_vocabulary(
    options: TeacherOptions, network: RoadNetwork
) -> tuple[NDArray[np.int64], dict[str, Any]]:  # [R]
    """The token of each road, and the `dataset_config` that tells a loader about it."""
    common: dict[str, Any] = {
        "vocabulary": options.vocabulary,
        "destination_prefix": options.destination_prefix,
        "loss": options.trained_loss,
    }
    if options.vocabulary == "road":
        roads = {"num_roads": network.num_roads, "network": network.content_hash}
        places = {"num_places": network.num_roads}
        return np.arange(network.num_roads, dtype=np.int64), {**common, **roads, **places}
    mapper = GridMapper(network, options.grid_size, options.downsample, options.bounds)
    grid = {
        "grip_size": list(mapper.grid_dims),
        "grid_size": options.grid_size,
        "downsample": options.downsample,
        "num_places": mapper.num_tokens,
        **bounds_to_dict(mapper.grid.bounds),
    }
    return mapper.road_to_token, {**common, **grid}
