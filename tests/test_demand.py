"""Demand that is modelled: nobody's own trips, the city's own habits."""

from __future__ import annotations

import numpy as np
import pytest

from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from search.demand import ModelledOD
from search.trips import TripRequests

COUNT = 6000


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> tuple[TripDataset, RoadNetwork]:
    folder = make_demo_city(tmp_path_factory.mktemp("city") / "city", 250, 3000, 1, progress=False)
    ensure_zones(folder, 12)
    network = RoadNetwork.load(folder)
    return TripDataset.load(folder, "train", network), network


def drawn(city: tuple[TripDataset, RoadNetwork], k: int, seed: int = 0) -> TripRequests:
    source = ModelledOD(*city, COUNT, seed, k)
    blocks = list(source.requests(0, COUNT))
    return TripRequests(
        0,
        np.concatenate([block.origin for block in blocks]),
        np.concatenate([block.destination for block in blocks]),
        np.concatenate([block.start for block in blocks]),
    )


def ends(trips: TripDataset) -> tuple[np.ndarray, np.ndarray]:
    return trips.road_ids[trips.offsets[:-1]], trips.road_ids[trips.offsets[1:] - 1]


def distance(first: np.ndarray, second: np.ndarray, size: int) -> float:
    """Half the difference of two distributions."""
    shares = [np.bincount(each, minlength=size) / len(each) for each in (first, second)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def test_requests_depend_on_seed_and_number_alone(city: tuple[TripDataset, RoadNetwork]) -> None:
    source = ModelledOD(*city, COUNT, 3, 5)
    whole = drawn(city, 5, seed=3)
    (part,) = source.requests(4090, 4110)
    assert part.first == 4090 and len(part) == 20
    for name in ("origin", "destination", "start"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[4090:4110])
    assert (drawn(city, 5, seed=4).origin != whole.origin).any()
    assert source.identity()["k"] == 5


def test_demand_is_that_of_the_city(city: tuple[TripDataset, RoadNetwork]) -> None:
    trips, network = city
    found = drawn(city, 5)
    zone = network.require_zones().road2zone
    num_zones = network.require_zones().num_zones
    origin, destination = ends(trips)
    assert distance(zone[found.origin], zone[origin], num_zones) < 0.04
    assert distance(zone[found.destination], zone[destination], num_zones) < 0.05
    pair = zone[origin] * num_zones + zone[destination]
    drawn_pair = zone[found.origin] * num_zones + zone[found.destination]
    assert distance(drawn_pair, pair, num_zones**2) < 0.15
    hours = [starts // 3600 % 24 for starts in (found.start, np.asarray(trips.starts))]
    assert distance(hours[0], hours[1], 24) < 0.05
    assert (found.origin != found.destination).mean() > 0.99


def test_fewer_than_k_trips_say_nothing(city: tuple[TripDataset, RoadNetwork]) -> None:
    """With a threshold that no count reaches, only lengths, ends and distances remain."""
    trips, network = city
    found = drawn(city, 100_000)
    zone = network.require_zones().road2zone
    inside = np.flatnonzero(zone[found.origin] == zone[found.origin][0])
    roads = np.flatnonzero(zone == zone[found.origin][0])
    share = network.length_m[roads] / network.length_m[roads].sum()
    counts = np.bincount(found.origin[inside], minlength=network.num_roads)[roads]
    assert np.abs(counts / counts.sum() - share).sum() / 2 < 0.2
    own = set(zip(*(each.tolist() for each in ends(trips)), np.asarray(trips.starts).tolist()))
    asked = zip(found.origin.tolist(), found.destination.tolist(), found.start.tolist())
    assert sum(each in own for each in asked) <= 1
