"""From a request to trips: the city it is about opened, the student loaded, its trips searched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import torch

from config.generation import (
    COSTS,
    DEFAULT_NUM_TRIPS,
    HOTTEST,
    PairSettings,
    SearchSettings,
)
from runtime.device import prefers_loops
from runtime.files import sha256_of_arrays
from search.demand import ModelledOD
from search.drawn_times import with_drawn_times
from search.engine import SearchEngine
from search.graph import SearchGraph
from search.interface import Search
from search.od import ListedOD, ODSource, RepeatedOD, SampledOD
from search.request import GenerationRequest
from search.scorer import Scorer
from search.searches import build_search, fits_costs, identity_of, usual_rows_per_trip
from search.student import City, open_city
from search.trips import GeneratedTrip
from times.distribution import TimeDistribution
from ways.costs import CountedWays

# About so many positions are encoded in a pass: more of them only push the caches out.
_ROWS_A_PASS_CPU = 384
_ROWS_A_PASS_GPU = 4096
_MOST_ALIKE = 4  # trips of one pair that are encoded as one, roughly


class Session:
    """A request with its city opened; the student is loaded when the first trip is wanted."""

    def __init__(
        self, request: GenerationRequest, device: torch.device, city: City | None = None
    ) -> None:
        self.request, self.device = request, device
        self.city = city or open_city(request.config, request.model_path)
        drawn = request.pairs.file is None and request.pairs.split != "model"
        statistics_split = request.pairs.split if drawn else "train"
        self.dataset = self.city.trips(statistics_split)
        self.source: ODSource = self._open_source()

    def asked(self, search: SearchSettings, pairs: PairSettings | None = None) -> Session:
        """The same student in the same city, asked by another search or for other pairs."""
        pairs = pairs or self.request.pairs
        request = replace(self.request, search=search, pairs=pairs)
        other = Session(request, self.device, self.city)
        other.scorer = self.scorer
        return other

    def _open_source(self) -> ODSource:
        request = self.request
        source: ODSource
        if request.pairs.file is not None:
            source = ListedOD.read(request.pairs.file, self.city.network, request.num_trips)
        else:
            source = self._drawn_source(request.num_trips or DEFAULT_NUM_TRIPS)
        times = request.pairs.routes_per_od
        return RepeatedOD(source, times) if times > 1 else source

    def _drawn_source(self, count: int) -> ODSource:
        request = self.request
        if request.pairs.split == "model":
            network, anonymity = self.city.network, request.pairs.anonymity
            return ModelledOD(self.dataset, network, count, request.seed, anonymity)
        return SampledOD(self.dataset, count, request.seed)

    def identity(self) -> dict[str, object]:
        """All that decides which trips come out, as plain data."""
        return {
            **identity_of(self.search),
            **self.source.identity(),
            **self.city.identity(),
            **self._times_identity(),
            **self._costs_identity(),
            "time_log1p_mean": self.dataset.time_mean,
            "time_log1p_std": self.dataset.time_std,
        }

    def _times_identity(self) -> dict[str, object]:
        drawn = self.travel_times
        if drawn is None:
            return {}
        return {"travel_times": drawn.content_hash, "times_seed": self.request.seed}

    def _costs_identity(self) -> dict[str, object]:
        ways = self._counted_ways()
        counted = {"road_seconds": ways.road_seconds, "turn_surprise": ways.turn_surprise}
        return {name: sha256_of_arrays(a) for name, a in counted.items() if a is not None}

    @cached_property
    def search(self) -> SearchSettings:
        """The search asked for, with costs that are to be found for the student."""
        asked = self.request.search
        if not fits_costs(asked):
            return asked
        found = self.city.fitted_costs(self.device)
        prices = {name: getattr(found, name) for name in COSTS}
        # Fairly drawn, the student's own opinion has as much say as was found, not all of it.
        temperature = min(asked.temperature / found.least_sharpness, HOTTEST)
        return replace(asked, costs="given", temperature=temperature, **prices)

    def _counted_ways(self) -> CountedWays:
        """What training trips say of ways, as far as the search asks for it."""
        seconds = self.city.road_seconds if self.search.delay_cost else None
        turns = self.city.turn_surprise if self.search.turn_cost else None
        return CountedWays(self.city.network, seconds, turns)

    @cached_property
    def travel_times(self) -> TimeDistribution | None:
        """From what times are drawn; None where trips keep the expected ones."""
        if self.request.search.times == "expected":
            return None
        return self.city.travel_times(self.device)

    @cached_property
    def graph(self) -> SearchGraph:
        """The road network for the searches."""
        graph = SearchGraph.of(self.city.network)
        if not self.search.charges:
            return graph
        step_cost = self._counted_ways().step_costs(*self.search.prices)
        return replace(graph, step_cost=step_cost)

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
        import search.kernels.sample
        import search.kernels.shortest_path
        import search.kernels.ways  # noqa: F401

        assert self.scorer is not None

    def generate(self, begin: int, end: int) -> Iterator[GeneratedTrip]:
        """The trips begin:end of the request, in order."""
        together = self.request.pairs.routes_per_od
        search = self._make_search(end - begin)
        if together > 1 or search.comes_again:
            self.scorer.expect_alike()
        engine = SearchEngine(search, self.scorer, together)
        trips = engine.run(self.source.requests(begin, end))
        if self.travel_times is None:
            return trips
        road_class = self.city.network.road_attr_type
        return with_drawn_times(trips, self.travel_times, road_class, self.request.seed)

    def _make_search(self, num_trips: int) -> Search:
        request = self.request
        search = self.search
        rows = _ROWS_A_PASS_CPU if prefers_loops(self.device) else _ROWS_A_PASS_GPU
        alike = min(request.pairs.routes_per_od, _MOST_ALIKE)
        usual = max(1, alike * rows // usual_rows_per_trip(search))
        slots = max(1, min(request.trips_in_flight or usual, num_trips))
        return build_search(search, self.graph, slots, request.seed, rows)
