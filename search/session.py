"""From what the user asks for to trips: the searches by name, the request, and its generation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import torch

from config.schema import LARGEST_INT, Config
from runtime.errors import UserError
from search.beam import BeamSearch
from search.best_first import BestFirstSearch
from search.engine import SearchEngine
from search.graph import SearchGraph
from search.interface import Search
from search.od import ListedOD, ODSource, SampledOD
from search.scorer import Scorer
from search.shortest_path import ShortestPath
from search.student import City, open_city
from search.trips import GeneratedTrip

SearchName = Literal["beam", "astar", "shortest_path"]
SplitName = Literal["train", "test"]
DEFAULT_MAX_STEPS = 5000
DEFAULT_NUM_TRIPS = 5000
# About so many positions are encoded in a pass: more of them only push the caches out.
_ROWS_A_PASS_CPU = 384
_ROWS_A_PASS_GPU = 4096


@dataclass(frozen=True)
class GenerationRequest:
    """Which trips to generate, how, and with what. Plain data, also for other processes."""

    config: Config
    model_path: Path | None
    num_trips: int | None  # None: all of `od_file`, else the default number
    seed: int
    od_source: SplitName
    od_file: Path | None
    search: SearchName
    beam_width: int
    max_steps: int
    trips_in_flight: int | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("search", self.search, get_args(SearchName)),
            ("od_source", self.od_source, get_args(SplitName)),
        ):
            if value not in allowed:
                raise UserError(f"{name} is {value!r}; allowed: {', '.join(allowed)}.")
        for name, number in (
            ("num_gene", self.num_trips),
            ("beam_width", self.beam_width),
            ("max_steps", self.max_steps),
            ("batch_size", self.trips_in_flight),
        ):
            if number is not None and number < 1:
                raise UserError(f"{name} is {number}; it must be at least 1.")
            if number is not None and number > LARGEST_INT:
                raise UserError(f"{name} is {number}; it must be at most {LARGEST_INT}.")


class Session:
    """A request with its city opened; the student is loaded when the first trip is wanted."""

    def __init__(self, request: GenerationRequest, device: torch.device) -> None:
        self.request, self.device = request, device
        self.city: City = open_city(request.config, request.model_path)
        statistics_split = "train" if request.od_file is not None else request.od_source
        self.dataset = self.city.trips(statistics_split)
        self.source: ODSource = self._open_source()

    def _open_source(self) -> ODSource:
        request = self.request
        if request.od_file is not None:
            return ListedOD.read(request.od_file, self.city.network, request.num_trips)
        return SampledOD(self.dataset, request.num_trips or DEFAULT_NUM_TRIPS, request.seed)

    def identity(self) -> dict[str, object]:
        """All that decides which trips come out, as plain data."""
        request = self.request
        width = {"beam_width": request.beam_width} if request.search == "beam" else {}
        return {
            "search": request.search,
            **width,
            "max_steps": request.max_steps,
            **self.source.identity(),
            **self.city.identity(),
            "time_log1p_mean": self.dataset.time_mean,
            "time_log1p_std": self.dataset.time_std,
        }

    @cached_property
    def graph(self) -> SearchGraph:
        """The road network for the searches."""
        return SearchGraph.of(self.city.network)

    @cached_property
    def scorer(self) -> Scorer:
        """The student on the device."""
        dataset = self.dataset
        student = self.city.load_student(self.device)
        features = dataset.tables(self.device)
        return Scorer(student, features, self.graph, dataset.time_mean, dataset.time_std)

    def prepare(self) -> None:
        """Loads the student and the compiled loops, so that no trip waits for them."""
        import search.kernels.beam
        import search.kernels.best_first
        import search.kernels.shortest_path  # noqa: F401

        assert self.scorer is not None

    def generate(self, begin: int, end: int) -> Iterator[GeneratedTrip]:
        """The trips begin:end of the request, in order."""
        engine = SearchEngine(self._make_search(end - begin), self.scorer)
        return engine.run(self.source.requests(begin, end))

    def _make_search(self, num_trips: int) -> Search:
        request = self.request
        rows = _ROWS_A_PASS_CPU if self.device.type == "cpu" else _ROWS_A_PASS_GPU
        usual = max(1, rows // (request.beam_width if request.search == "beam" else 1))
        slots = max(1, min(request.trips_in_flight or usual, num_trips))
        if request.search == "beam":
            return BeamSearch(self.graph, slots, request.beam_width, request.max_steps)
        if request.search == "astar":
            return BestFirstSearch(self.graph, slots, request.max_steps)
        return ShortestPath(self.graph, slots, request.max_steps)
