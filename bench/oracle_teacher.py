"""The demo city's own drivers as a teacher, and on the road again: what could be reached at best.

No trained teacher knows more than `OracleTeacher`, and no model makes more realistic trips than
the drivers themselves, sent out a second time between the same roads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from config import Config
from critics.distill_hook import DistillationManager
from data.batch import Batch
from data.demo_city.oracle import DemoCityOracle
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.files import sha256_of_json
from search.od import SampledOD
from search.trips import GeneratedTrip, TripRequests
from search.writer import HEADER, format_row
from training.resources import ResourcePool, Resources


class OracleTeacher:
    """A `RoadTeacher` that answers whole trips, as a teacher cache asks for them."""

    def __init__(self, oracle: DemoCityOracle) -> None:
        self.name = "oracle"
        self.device = torch.device("cpu")
        self.tie_keys: Tensor | None = None
        self.repeats_histories = False
        self.oracle = oracle

    def identity(self) -> dict[str, str]:
        return {"teacher": "oracle", "city": sha256_of_json(self.oracle.settings.as_json())}

    def trip_logits(self, dataset: TripDataset, trip_id: NDArray[np.int64]) -> NDArray[np.float32]:
        roads = [np.asarray(dataset.trip(int(trip))[0], dtype=np.int32) for trip in trip_id]
        offsets = np.cumsum([0, *map(len, roads)], dtype=np.int64)
        start = np.asarray(dataset.starts[trip_id], dtype=np.int64)
        return self.oracle.log_probabilities(np.concatenate(roads), offsets, start)

    def batch_logits(
        self, batch: Batch, position_mask: Tensor, dataset: TripDataset | None = None
    ) -> Tensor:
        raise RuntimeError("the oracle answers whole trips only; leave distill.cache on")

    def hidden_states(self, batch: Batch, step: Tensor) -> Tensor:
        raise RuntimeError("the oracle has no hidden states; leave distill.embedding_weight at 0")

    def road_vectors(self) -> Tensor:
        raise RuntimeError("the oracle has no embeddings; leave distill.first_embeddings: random")


class OraclePool(ResourcePool):
    """Resources whose teacher is the oracle of the city."""

    def __init__(self, oracle: DemoCityOracle) -> None:
        super().__init__()
        self._oracle = OracleTeacher(oracle)

    def teacher(
        self, config: Config, resources: Resources, device: torch.device
    ) -> DistillationManager:
        return DistillationManager(config, resources.network, device, self._oracle)


def drive_again(oracle: DemoCityOracle, requests: TripRequests, output: Path) -> None:
    """Writes trips of the city's drivers, in the format of generated trips."""
    table = oracle.drive(requests.origin, requests.destination, requests.start)
    rows = [HEADER]
    for number in np.flatnonzero(table.length):
        length = table.length[number]
        roads = table.roads[number, :length].astype(np.int64)
        times = requests.start[number] + table.elapsed_s[number, :length].astype(np.int64)
        origin, destination = int(requests.origin[number]), int(requests.destination[number])
        reached = bool(roads[-1] == destination)
        trip = GeneratedTrip(int(number), origin, destination, roads, times, reached, 0.0)
        rows.append(format_row(trip))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(b"".join(rows))


def drive_test_pairs_again(
    oracle: DemoCityOracle, network: RoadNetwork, num_generated: int, output: Path
) -> None:
    """Writes the drivers' trips for the very test pairs that `bench.students.drive` asks for."""
    test = TripDataset.load(network.folder, "test", network)
    requests = next(SampledOD(test, num_generated, 0).requests(0, num_generated))
    drive_again(oracle, requests, output)
