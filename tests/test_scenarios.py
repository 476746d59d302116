"""Scenarios of one's own: places, hours, roads and lengths, combined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shapely import Point, Polygon

from config.finding import SHIPPED_FOLDER
from config.scenarios import load_scenarios
from data.road_network import RoadNetwork
from metrics.assessment import assess
from metrics.generated import GeneratedTrips
from metrics.reference import Reference, Settings
from metrics.scenarios import SHIPPED, Centre, Scenarios
from metrics.trips import Trips, read_real_trips
from runtime.errors import UserError


@pytest.fixture(scope="module")
def network(tiny_city: Path) -> RoadNetwork:
    return RoadNetwork.load(tiny_city)


@pytest.fixture(scope="module")
def trips(tiny_city: Path, network: RoadNetwork) -> Trips:
    return read_real_trips(tiny_city, "train", network)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_of_ones_own(network: RoadNetwork, trips: Trips, tmp_path: Path) -> None:
    lon, lat = np.median(network.center_lon), np.median(network.center_lat)
    west, south = network.center_lon.min() - 0.001, network.center_lat.min() - 0.001
    corners = [[west, south], [lon, south], [lon + 0.002, lat], [west, lat + 0.001]]
    kind = str(network.type_names[0])
    file = write(
        tmp_path / "own.yaml",
        f"""
places:
  airport: {{disc: {{lat: {lat}, lon: {lon}, radius_km: 0.5}}}}
  harbour: {{polygon: {[[float(x), float(y)] for x, y in corners]}}}
  north: {{zones: [0, 1]}}
scenarios:
  night: {{description: at night, hours: [[22, 6]]}}
  rush: {{description: rush, weekdays: [mon, tue, wed, thu, fri], hours: [[7, 9], [17, 19]]}}
  to_airport: {{description: to the airport, ends_in: airport, starts_outside: airport}}
  airport_peak: {{description: to the airport at peak, all_of: [to_airport, rush]}}
  harbour: {{description: in the harbour, within: harbour}}
  north: {{description: from the north, starts_in: north}}
  small_roads: {{description: by small roads, roads: {{types: [{kind!r}], share: 0.3}}}}
  long: {{description: long, length_km: {{least: 2}}, min_trips: 1000}}
""",
    )
    scenarios = Scenarios.of(Centre.of(trips, network), network, file)
    labels = scenarios.label(trips)
    polygon = Polygon(corners)
    inside = [polygon.contains(Point(x, y)) for x, y in zip(network.center_lon, network.center_lat)]
    assert scenarios.roads_of["harbour"].tolist() == inside
    zones = network.require_zones().road2zone
    for i in range(len(trips)):
        roads, times = trips.trip(i)
        hour = int(times[0]) % 86_400 / 3600
        day = (int(times[0]) // 86_400 + 3) % 7
        assert labels["night"][i] == (hour >= 22 or hour < 6)
        rush = day < 5 and (7 <= hour < 9 or 17 <= hour < 19)
        assert labels["rush"][i] == rush
        airport = scenarios.roads_of["airport"]
        to_airport = airport[roads[-1]] and not airport[roads[0]]
        assert labels["to_airport"][i] == to_airport
        assert labels["airport_peak"][i] == (to_airport and rush)
        assert labels["harbour"][i] == (np.mean(np.array(inside)[roads]) >= 0.5)
        assert labels["north"][i] == (zones[roads[0]] in (0, 1))
        small = np.mean(network.road_attr_type[roads] == 0)
        assert labels["small_roads"][i] == (small >= 0.3)
        assert labels["long"][i] == (network.length_m[roads].sum() >= 2000)

    reference = Reference.of(trips, network, Settings(0.01, bootstrap=0, scenarios=str(file)))
    none = np.zeros(len(trips), dtype=np.int64)
    found = assess("same", GeneratedTrips(trips, none, None, None, None), reference)
    assert found.scenarios["long"].measures.values == {}  # fewer than 1,000 trips
    assert found.scenarios["rush"].measures.values["distance_jsd"] == 0.0
    assert found.to_json()["scenarios"]["night"]["description"] == "at night"


def test_the_example_of_ones_own_scenarios_is_a_right_one() -> None:
    example = load_scenarios(SHIPPED_FOLDER / "own_scenarios" / "airport.yaml")
    assert example.scenarios["to_airport_peak"].all_of == ["to_airport", "peak"]
    assert load_scenarios(SHIPPED).scenarios.keys() >= {"peak", "to_centre"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("scenarios: {a: {description: x, ends_in: nowhere}}", "no place 'nowhere'"),
        ("scenarios: {a: {description: x, all_of: [b]}}", "no scenario 'b' before"),
        ("places: {p: {}}\nscenarios: {a: {description: x}}", "exactly one of"),
        ("scenarios: {a: {description: x, hours: [[7, 25]]}}", "hours"),
        ("scenarios: {a: {description: x, weekdays: [monday]}}", "weekdays"),
        ("scenarios: {}", "scenarios"),
    ],
)
def test_mistakes_say_what_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load_scenarios(write(tmp_path / "bad.yaml", text))


def test_unknown_roads_and_zones_are_named(
    network: RoadNetwork, trips: Trips, tmp_path: Path
) -> None:
    centre = Centre.of(trips, network)
    roads = "scenarios: {a: {description: x, roads: {types: [canal]}}}"
    with pytest.raises(UserError, match="no type canal"):
        Scenarios.of(centre, network, write(tmp_path / "a.yaml", roads)).label(trips)
    zones = "places: {p: {zones: [9999]}}\nscenarios: {a: {description: x}}"
    with pytest.raises(UserError, match="no zone 9999"):
        Scenarios.of(centre, network, write(tmp_path / "b.yaml", zones))
