"""Searches on small cities, set up for the generation tests."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.reference_generate import PlainGenerator
from bench.reference_student import PlainHOSER
from config import Config
from config.generation import SearchSettings
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from search.astar import BestFirstSearch
from search.beam import BeamSearch
from search.engine import SearchEngine
from search.graph import SearchGraph
from search.interface import Search
from search.scorer import Scorer
from search.searches import build_search
from search.shortest_path import ShortestPath
from search.student import open_city
from search.trips import GeneratedTrip, TripRequests
from ways.costs import CountedWays

Request = tuple[int, int, int]  # origin, destination, start


@dataclass
class Setup:
    """A student in its city."""

    config: Config
    network: RoadNetwork
    student: HOSER
    trips: TripDataset

    @property
    def graph(self) -> SearchGraph:
        return SearchGraph.of(self.network)

    def scorer(self) -> Scorer:
        features = self.trips.tables("cpu")
        return Scorer(self.student, features, self.graph, self.trips.time_mean, self.trips.time_std)

    def search(self, search: Search, requests: Sequence[Request]) -> list[GeneratedTrip]:
        columns = np.array(requests, dtype=np.int64).reshape(-1, 3).T
        block = TripRequests(0, *(column.copy() for column in columns))
        return list(SearchEngine(search, self.scorer()).run([block]))

    def beam(
        self,
        requests: Sequence[Request],
        width: int = 4,
        slots: int = 8,
        max_steps: int = 5000,
        first_arrival: bool = True,
    ) -> list[GeneratedTrip]:
        search = BeamSearch(self.graph, slots, width, max_steps, first_arrival=first_arrival)
        return self.search(search, requests)

    def sample(
        self,
        requests: Sequence[Request],
        width: int | None = None,
        slots: int = 8,
        temperature: float = 1.0,
        seed: int = 0,
        detour_cost: float = 0.0,
    ) -> list[GeneratedTrip]:
        chosen = SearchSettings("sample", width, temperature=temperature, detour_cost=detour_cost)
        return self.search(build_search(chosen, self.charging(chosen), slots, seed), requests)

    def best_first(
        self, requests: Sequence[Request], slots: int = 8, max_steps: int = 5000, rows: int = 1
    ) -> list[GeneratedTrip]:
        return self.search(BestFirstSearch(self.graph, slots, max_steps, rows), requests)

    def directed(
        self,
        requests: Sequence[Request],
        detour_cost: float,
        slots: int = 8,
        rows: int = 1,
        *,
        delay_cost: float = 0.0,
        turn_cost: float = 0.0,
        road_seconds: NDArray[np.float64] | None = None,
        turn_surprise: NDArray[np.float64] | None = None,
    ) -> list[GeneratedTrip]:
        costs = {"detour_cost": detour_cost, "delay_cost": delay_cost, "turn_cost": turn_cost}
        chosen = SearchSettings("astar", **costs)  # type: ignore[arg-type]
        graph = self.charging(chosen, road_seconds, turn_surprise)
        return self.search(build_search(chosen, graph, slots, 0, rows), requests)

    def charging(
        self,
        chosen: SearchSettings,
        road_seconds: NDArray[np.float64] | None = None,
        turn_surprise: NDArray[np.float64] | None = None,
    ) -> SearchGraph:
        """The graph, with what steps cost that search."""
        if not chosen.charges:
            return self.graph
        ways = CountedWays(self.network, road_seconds, turn_surprise)
        return replace(self.graph, step_cost=ways.step_costs(*chosen.prices))

    def shortest_path(
        self, requests: Sequence[Request], slots: int = 8, max_steps: int = 5000
    ) -> list[GeneratedTrip]:
        return self.search(ShortestPath(self.graph, slots, max_steps), requests)

    def plain(self) -> PlainGenerator:
        model = PlainHOSER(self.config, self.network)
        model.load_state_dict(self.student.state_dict(), strict=False)
        return PlainGenerator(model, self.network, self.trips.time_mean, self.trips.time_std)


def published_setup(parity_dir: Path, city: Path) -> Setup:
    """The original's student in the parity city."""
    opened = open_city(Config(data_dir=str(city)), parity_dir / "hoser_state.pth")
    student = opened.load_student(torch.device("cpu"))
    return Setup(opened.config, opened.network, student, opened.trips("test"))


def random_setup(city: Path, seed: int = 0) -> Setup:
    """A student that has learned nothing, in any city."""
    torch.manual_seed(seed)
    config = Config(data_dir=str(city))
    network = RoadNetwork.load(city)
    student = HOSER(config, network).eval()
    return Setup(config, network, student, TripDataset.load(city, "train", network))


def epoch(text: str) -> int:
    """Seconds since 1970 of an ISO time."""
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a generated file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def requests_of(setup: Setup, count: int) -> list[Request]:
    """Roads anywhere in the city, and times within a week."""
    rng = np.random.default_rng(0)
    roads = rng.integers(setup.network.num_roads, size=(count, 2))
    starts = epoch("2015-11-02T00:00:00Z") + rng.integers(7 * 86_400, size=count)
    return [(int(o), int(d), int(s)) for (o, d), s in zip(roads, starts)]
