"""The searches: equal to the original and to the plain way, whatever the batch, in every corner."""

from __future__ import annotations

import heapq
import itertools
import json
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.reference_generate import PlainTrip
from config.generation import SearchSettings
from runtime.errors import UserError
from search.astar import BestFirstSearch
from search.beam import BeamSearch
from search.engine import SearchEngine
from search.interface import PartialTrips
from search.searches import build_search
from search.trips import GeneratedTrip, TripRequests
from tests.generation_helpers import (
    Request,
    Setup,
    epoch,
    published_setup,
    random_setup,
    requests_of,
)

FRIDAY_EVENING = epoch("2015-11-06T23:58:30Z")


@pytest.fixture(scope="module")
def published(parity_dir: Path, parity_city: Path) -> Setup:
    return published_setup(parity_dir, parity_city)


@pytest.fixture(scope="module")
def some_requests(published: Setup) -> list[Request]:
    return requests_of(published, 12)


@pytest.mark.parametrize("slots", [4, 64])
def test_best_first_returns_the_originals_trips(
    published: Setup, parity_dir: Path, slots: int
) -> None:
    expected = json.loads((parity_dir / "astar.json").read_text())
    requests = [(t["origin"], t["destination"], epoch(t["start"])) for t in expected]
    trips = published.best_first(requests, slots)
    assert [trip.road_ids.tolist() for trip in trips] == [t["road_ids"] for t in expected]
    times = [[epoch(time) for time in t["times"]] for t in expected]
    assert [trip.times.tolist() for trip in trips] == times
    assert [trip.number for trip in trips] == list(range(len(expected)))


def test_best_first_equals_the_plain_way(published: Setup, some_requests: list[Request]) -> None:
    plain, requests = published.plain(), some_requests[:6]
    for trip, request in zip(published.best_first(requests), requests, strict=True):
        expected = plain.best_first(*request)
        assert trip.road_ids.tolist() == expected.road_ids
        assert trip.times.tolist() == expected.times
        assert trip.reached == expected.reached
        assert trip.log_prob == pytest.approx(expected.log_prob, abs=1e-4)


def test_scoring_ahead_saves_rounds_and_changes_no_trip(
    published: Setup, some_requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.engine._FIRST_PRUNING", 64)
    graph = published.graph

    def run(rows: int, max_steps: int) -> tuple[list[tuple[bytes, bytes, float]], int]:
        scorer = published.scorer()
        engine = SearchEngine(BestFirstSearch(graph, 3, max_steps, rows), scorer)
        columns = np.array(some_requests[:6]).T.copy()
        trips = list(engine.run([TripRequests(0, *columns)]))
        plain = [(t.road_ids.tobytes(), t.times.tobytes(), t.log_prob) for t in trips]
        return plain, scorer.cost.forward_passes

    for max_steps in (5000, 7):
        alone, rounds = run(1, max_steps)
        ahead, fewer = run(48, max_steps)
        assert ahead == alone and fewer < rounds


@pytest.mark.parametrize("width", [1, 2, 4, 16])
def test_beam_equals_the_plain_way(
    published: Setup, some_requests: list[Request], width: int
) -> None:
    plain = published.plain()
    for trip, request in zip(published.beam(some_requests, width), some_requests, strict=True):
        expected = plain.beam(*request, width)
        assert trip.road_ids.tolist() == expected.road_ids
        assert trip.times.tolist() == expected.times
        assert trip.reached == expected.reached
        assert trip.log_prob == pytest.approx(expected.log_prob, abs=1e-4)


def test_nothing_depends_on_what_shares_the_batch(
    published: Setup, some_requests: list[Request]
) -> None:
    requests = some_requests[:6]
    for run in (published.beam, published.best_first, published.shortest_path):
        alone = run(requests, slots=1)  # type: ignore[operator]
        for slots in (4, 6):
            together = run(requests, slots=slots)  # type: ignore[operator]
            for one, other in zip(alone, together, strict=True):
                assert np.array_equal(one.road_ids, other.road_ids)
                assert np.array_equal(one.times, other.times)
                assert one.log_prob == other.log_prob


def test_width_one_is_the_greedy_walk(published: Setup, some_requests: list[Request]) -> None:
    trips = published.beam(some_requests, width=1)
    for trip in trips:
        assert len(set(trip.road_ids.tolist())) == len(trip.road_ids)
    by_step = [trip for trip in trips if len(trip.road_ids) > 2]
    assert by_step
    scorer = published.scorer()
    for trip in by_step:
        first = PartialTrips(
            np.array([[0], [-1], [trip.origin], [trip.times[0]]]), np.zeros(1, np.float32)
        )
        scores = scorer.score(first, np.array([trip.destination]), trip.times[:1])
        candidates = published.network.candidates(trip.origin)
        best = scores.log_prob[0, : len(candidates)].argmax()
        assert candidates[best] == trip.road_ids[1]


def test_every_step_is_drivable_and_log_prob_is_the_sum(
    published: Setup, some_requests: list[Request]
) -> None:
    for trip in published.beam(some_requests):
        for here, there in zip(trip.road_ids, trip.road_ids[1:]):
            assert there in published.network.candidates(here)
        assert (np.diff(trip.times) >= 0).all()
        assert trip.log_prob <= 0


def test_shortest_paths_are_shortest(published: Setup, some_requests: list[Request]) -> None:
    network = published.network
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(network.num_roads))
    for road in range(network.num_roads):
        for target in network.candidates(road).tolist():
            graph.add_edge(road, target, weight=network.length_m[target])
    for trip in published.shortest_path(some_requests):
        ours = network.length_m[trip.road_ids[1:]].sum()
        shortest = networkx.shortest_path_length(
            graph, trip.origin, trip.destination, weight="weight"
        )
        assert ours == pytest.approx(shortest)
        assert trip.reached


def test_shortest_path_has_the_models_times(published: Setup) -> None:
    request = (52, 182, epoch("2015-11-05T23:29:48Z"))
    (route,) = published.shortest_path([request])
    plain = published.plain()
    trip = plain._continue([PlainTrip([52], [request[2]], 0.0)], 182)[0]
    for road in route.road_ids[1:]:
        (chosen,) = [found for found in trip if found.road_ids[-1] == road]
        trip = plain._continue([chosen], 182)[0] if road != 182 else []
    assert chosen.times == route.times.tolist()
    assert chosen.log_prob == pytest.approx(route.log_prob, abs=1e-4)


def test_origin_is_the_destination(published: Setup) -> None:
    request = (7, 7, FRIDAY_EVENING)
    for run in (published.beam, published.best_first, published.shortest_path):
        (trip,) = run([request])  # type: ignore[operator]
        assert trip.road_ids.tolist() == [7]
        assert trip.times.tolist() == [FRIDAY_EVENING]
        assert trip.reached and trip.seconds == 0 and trip.log_prob == 0.0


def test_time_runs_over_midnight_into_the_week_end(published: Setup) -> None:
    requests = [(52, 182, FRIDAY_EVENING), (52, 182, epoch("2015-11-08T23:59:59Z"))]
    plain = published.plain()
    for trip, request in zip(published.beam(requests), requests, strict=True):
        expected = plain.beam(*request, 4)
        assert trip.times.tolist() == expected.times
        assert trip.times[-1] // 86_400 == request[2] // 86_400 + 1


def test_max_steps_ends_the_search_at_the_nearest_road(published: Setup) -> None:
    request = (52, 182, FRIDAY_EVENING)
    plain = published.plain()
    for steps in (1, 2, 5):
        (trip,) = published.best_first([request], max_steps=steps)
        assert trip.road_ids.tolist() == plain.best_first(*request, max_steps=steps).road_ids
        (trip,) = published.beam([request], max_steps=steps)
        assert trip.road_ids.tolist() == plain.beam(*request, 4, max_steps=steps).road_ids
        (trip,) = published.shortest_path([request], max_steps=steps)
        assert not trip.reached and len(trip.road_ids) == steps + 1


@pytest.fixture(scope="module")
def broken_city(parity_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The parity city, where nothing leads onto road 182 and nothing leads away from road 52."""
    folder = tmp_path_factory.mktemp("broken") / "city"
    folder.mkdir()
    for name in ("roadmap.geo", "road_network_partition", "zone_trans_mat.npy"):
        (folder / name).write_bytes((parity_city / name).read_bytes())
    lines = (parity_city / "roadmap.rel").read_text().splitlines()
    kept = [
        line for line in lines[1:] if line.split(",")[3] != "182" and line.split(",")[2] != "52"
    ]
    (folder / "roadmap.rel").write_text("\n".join([lines[0], *kept]) + "\n")
    trips = (parity_city / "train.csv").read_text().splitlines()
    good = [line for line in trips if "182" not in line and "52" not in line.split('"')[1:2]]
    (folder / "train.csv").write_text("\n".join([trips[0], *_drivable(good, kept)]) + "\n")
    return random_setup(folder)


def _drivable(rows: list[str], edges: list[str]) -> list[str]:
    joined = {tuple(edge.split(",")[2:4]) for edge in edges}
    result = []
    for row in rows[1:]:
        roads = row.split('"')[1].split(",")
        if all(pair in joined for pair in itertools.pairwise(roads)):
            result.append(row)
    return result


def test_unreachable_destination_gives_the_nearest_trip(broken_city: Setup) -> None:
    request = (86, 182, FRIDAY_EVENING)
    plain = broken_city.plain()
    (trip,) = broken_city.best_first([request])
    assert not trip.reached
    assert trip.road_ids.tolist() == plain.best_first(*request).road_ids
    (directed,) = broken_city.directed([request], 2.0)
    assert not directed.reached and np.array_equal(directed.road_ids, trip.road_ids)
    (trip,) = broken_city.beam([request])
    assert not trip.reached
    assert trip.road_ids.tolist() == plain.beam(*request, 4).road_ids
    (route,) = broken_city.shortest_path([request])
    assert not route.reached
    reachable = networkx.descendants(
        networkx.DiGraph(
            (road, int(target))
            for road in range(broken_city.network.num_roads)
            for target in broken_city.network.candidates(road)
        ),
        86,
    ) | {86}
    distances = {road: plain._distance_m(road, 182) for road in reachable}
    assert distances[int(route.road_ids[-1])] == pytest.approx(min(distances.values()))


def test_a_road_without_successors_is_where_the_trip_stays(broken_city: Setup) -> None:
    for run in (broken_city.beam, broken_city.best_first, broken_city.shortest_path):
        (trip,) = run([(52, 86, FRIDAY_EVENING)])  # type: ignore[operator]
        assert trip.road_ids.tolist() == [52]
        assert not trip.reached and trip.log_prob == 0.0


def test_listed_and_padded_candidates_score_alike(published: Setup) -> None:
    scorer = published.scorer()
    published.student.requires_grad_(False)
    roads = torch.arange(published.network.num_roads)
    goals = roads.flip(0)
    torch.manual_seed(0)
    hidden = torch.randn(len(roads), published.student.trajectory_encoder.hidden_dim)
    listed = scorer.candidates._score_listed(hidden, roads, goals)
    padded = scorer.candidates._score_padded(hidden, roads, goals)
    for road, count in enumerate(published.network.out_degree.tolist()):
        for name in ("logits", "time_pred"):
            ours = getattr(listed, name)[listed.first[road] :][:count]
            theirs = getattr(padded, name)[padded.first[road] :][:count]
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_scores_that_are_not_finite_are_the_users_to_know(
    parity_dir: Path, parity_city: Path
) -> None:
    setup = published_setup(parity_dir, parity_city)
    with torch.no_grad():
        setup.student.navigator.v_proj.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        setup.beam([(52, 182, FRIDAY_EVENING)])


def test_memory_does_not_grow_with_the_number_of_trips(published: Setup) -> None:
    scorer = published.scorer()
    engine = SearchEngine(BeamSearch(published.graph, 4, 1, 24), scorer)
    taken = 0

    def requests():  # type: ignore[no-untyped-def]
        nonlocal taken
        for number in range(0, 400, 50):
            taken += 50
            roads = np.arange(number, number + 50) % published.network.num_roads
            yield TripRequests(number, roads, roads[::-1].copy(), np.full(50, FRIDAY_EVENING))

    most_ahead, peak_nodes = 0, 0
    for trip in engine.run(requests()):
        most_ahead = max(most_ahead, taken - trip.number)
        peak_nodes = max(peak_nodes, scorer.decoder.tree.depth.shape[0])
    assert trip.number == 399
    assert most_ahead <= 64 * 4 + 50
    assert peak_nodes <= 1 << 13


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 6)), max_size=60))
def test_the_queue_moves_like_heapq(actions: list[int | None]) -> None:
    from search.kernels.best_first import pop, push

    scores = np.zeros(64, dtype=np.float32)
    heap, size = np.zeros(64, dtype=np.int64), 0
    reference: list[_Item] = []
    for number, action in enumerate(actions):
        if action is not None:
            scores[number] = -action
            size = push(heap, size, scores, number)
            heapq.heappush(reference, _Item(number, action))
        elif reference:
            item, size = pop(heap, size, scores)
            assert item == heapq.heappop(reference).number
        assert heap[:size].tolist() == [item.number for item in reference]


class _Item:
    def __init__(self, number: int, cost: int) -> None:
        self.number, self.cost = number, cost

    def __lt__(self, other: _Item) -> bool:
        return self.cost < other.cost


def test_the_best_arrival_is_more_probable_than_the_first(published: Setup) -> None:
    requests = requests_of(published, 40)
    first = published.beam(requests, width=16)
    best = published.beam(requests, width=16, first_arrival=False)
    gained = [a.log_prob - b.log_prob for a, b in zip(best, first, strict=True) if b.reached]
    more, less = sum(g > 1e-4 for g in gained), sum(g < -1e-4 for g in gained)
    assert more > less
    assert sum(trip.reached for trip in best) >= sum(trip.reached for trip in first)
    again = published.beam(requests, width=16, slots=2, first_arrival=False)
    assert [trip.road_ids.tolist() for trip in again] == [trip.road_ids.tolist() for trip in best]


def test_scouts_lose_nothing(published: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where memory is tidied all the time; scouts may come where the beam has no room."""
    monkeypatch.setattr("search.engine._FIRST_PRUNING", 64)
    requests = requests_of(published, 40)
    arriving = published.beam(requests, width=2, first_arrival=False)
    requests = [r for r, trip in zip(requests, arriving, strict=True) if trip.reached]

    def run(scouts: int) -> list[GeneratedTrip]:
        search = BeamSearch(published.graph, 5, 16, 5000, scouts=scouts)
        scorer = published.scorer()
        if search.comes_again:
            scorer.expect_alike()
        trips = SearchEngine(search, scorer).run([TripRequests(0, *np.array(requests).T)])
        return list(trips)

    alone = run(16)
    for scouts in (1, 4):
        pairs = list(zip(run(scouts), alone, strict=True))
        assert all(a.reached >= b.reached for a, b in pairs)
        others = [(a, b) for a, b in pairs if b.reached and not same_route(a, b)]
        assert all(a.log_prob > b.log_prob for a, b in others)


def same_route(one: GeneratedTrip, other: GeneratedTrip) -> bool:
    return one.road_ids.tolist() == other.road_ids.tolist()


def test_the_last_steps_count(published: Setup) -> None:
    origin = next(
        r for r in range(published.network.num_roads) if len(published.network.candidates(r)) > 1
    )
    request = (origin, int(published.network.candidates(origin)[0]), FRIDAY_EVENING)
    (trip,) = published.beam([request], max_steps=1, first_arrival=False)
    assert trip.reached and trip.road_ids.tolist() == list(request[:2])
    chosen = SearchSettings("sample", 8, max_steps=1)
    (trip,) = published.search(build_search(chosen, published.graph, 1, seed=0), [request])
    assert trip.reached
