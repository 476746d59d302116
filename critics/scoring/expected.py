"""The ways that were to be expected: what a student would have driven between the same ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from config.generation import SearchSettings
from critics.scoring.judges import StudentJudge
from data.features import FeatureTables
from metrics.trips import Trips
from search.engine import SearchEngine
from search.graph import SearchGraph
from search.scorer import Scorer
from search.searches import build_search
from search.trips import TripRequests

TRIPS_IN_FLIGHT = 256


def expected_routes(
    judge: StudentJudge, trips: Trips, chosen: Sequence[int]
) -> dict[int, list[int]]:
    """The roads of the most probable way of each chosen trip, where the search arrives."""
    places = np.asarray(chosen, dtype=np.int64)
    graph = SearchGraph.of(judge.network)
    features = FeatureTables(judge.network, judge.device)
    scorer = Scorer(judge.model, features, graph, *judge.time_statistics)
    search = build_search(SearchSettings("astar"), graph, min(TRIPS_IN_FLIGHT, len(places)), 0)
    requests = TripRequests(
        0,
        trips.origin[places].astype(np.int64),
        trips.destination[places].astype(np.int64),
        trips.start_time[places],
    )
    found = SearchEngine(search, scorer).run([requests])
    return {int(places[trip.number]): trip.road_ids.tolist() for trip in found if trip.reached}
