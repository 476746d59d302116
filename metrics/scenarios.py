"""The situations that trips are told apart by: when they start, where they go, what they drive.

Which scenarios there are is a YAML file; `config.scenarios` is its schema. Times are read as they
are written. The centre is a disc that follows from the real trips alone, so that every model is
judged by the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.scenarios import Place, Scenario, ScenarioFile, load_scenarios
from data.clock import SECONDS_PER_DAY, weekday
from data.geometry import haversine
from data.road_network import RoadNetwork
from metrics.trips import Trips
from runtime.errors import UserError

BoolArray = NDArray[np.bool_]

SHIPPED = Path(__file__).parent / "scenarios.yaml"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RADIUS_KM = 6371.009


@dataclass(frozen=True)
class Centre:
    """The disc around the median end point that holds half of all real trips' ends."""

    lat: float
    lon: float
    radius_km: float
    holds_road: BoolArray  # [R]

    @classmethod
    def of(cls, real: Trips, network: RoadNetwork) -> Centre:
        """The centre that the real trips suggest."""
        ends = np.concatenate([real.origin, real.destination])
        lat = float(np.median(network.center_lat[ends]))
        lon = float(np.median(network.center_lon[ends]))
        distance = _distance_km(network, lat, lon)
        radius = float(np.median(distance[ends]))
        return cls(lat, lon, radius, distance <= radius)


def _distance_km(network: RoadNetwork, lat: float, lon: float) -> NDArray[np.float64]:
    """How far each road's centre is from a point. [R]"""
    center = np.array(lon), np.array(lat)
    return haversine(network.center_lon, network.center_lat, *center, RADIUS_KM)


@dataclass(frozen=True)
class Scenarios:
    """The scenarios of a file, with the roads of their places known."""

    file: ScenarioFile
    network: RoadNetwork
    roads_of: dict[str, BoolArray]  # place -> [R]

    @classmethod
    def of(cls, centre: Centre, network: RoadNetwork, file: str | Path | None = None) -> Scenarios:
        """The shipped scenarios, or those of a file."""
        loaded = load_scenarios(file or SHIPPED)
        places = loaded.places.items()
        roads = {name: _roads_in(name, place, centre, network) for name, place in places}
        return cls(loaded, network, roads)

    @property
    def descriptions(self) -> dict[str, str]:
        """What each scenario is, in words."""
        return {name: each.description for name, each in self.file.scenarios.items()}

    def min_trips(self, name: str) -> int:
        """How many real and generated trips a scenario must have to be measured."""
        return self.file.scenarios[name].min_trips

    def label(self, trips: Trips) -> dict[str, BoolArray]:
        """For every scenario, which trips belong to it. [n] each"""
        labels: dict[str, BoolArray] = {}
        for name, scenario in self.file.scenarios.items():
            labels[name] = self._holds(scenario, trips, labels)
        return labels

    def _holds(self, scenario: Scenario, trips: Trips, earlier: dict[str, BoolArray]) -> BoolArray:
        holds = _in_time(scenario, trips) & self._in_places(scenario, trips)
        if scenario.roads is not None:
            names = self.network.type_names
            unknown = [kind for kind in scenario.roads.types if kind not in names]
            if unknown:
                raise UserError(
                    f"Scenario roads: there is no type {', '.join(unknown)} in this network; "
                    f"there are: {', '.join(map(str, names))}."
                )
            kinds = [names.index(kind) for kind in scenario.roads.types]
            of_kind = np.isin(self.network.road_attr_type, kinds)
            holds &= _share(of_kind, trips) >= scenario.roads.share
        if scenario.length_km is not None:
            length = self.network.length_m[trips.road_ids] / 1000.0
            driven = np.add.reduceat(length, trips.offsets[:-1])
            holds &= (driven >= scenario.length_km.least) & (driven < scenario.length_km.below)
        for other in scenario.all_of:
            holds &= earlier[other]
        for other in scenario.none_of:
            holds &= ~earlier[other]
        return holds

    def _in_places(self, scenario: Scenario, trips: Trips) -> BoolArray:
        holds = np.ones(len(trips), dtype=bool)
        for place, roads, wanted in (
            (scenario.starts_in, trips.origin, True),
            (scenario.ends_in, trips.destination, True),
            (scenario.starts_outside, trips.origin, False),
            (scenario.ends_outside, trips.destination, False),
        ):
            if place is not None:
                holds &= self.roads_of[place][roads] == wanted
        if scenario.within is not None:
            holds &= _share(self.roads_of[scenario.within], trips) >= 0.5
        return holds


def _in_time(scenario: Scenario, trips: Trips) -> BoolArray:
    day, second = np.divmod(trips.start_time, SECONDS_PER_DAY)
    holds = np.ones(len(trips), dtype=bool)
    if scenario.weekdays:
        wanted = [WEEKDAYS.index(name) for name in scenario.weekdays]
        holds &= np.isin(weekday(day), wanted)
    if scenario.hours:
        inside = np.zeros(len(trips), dtype=bool)
        for start, stop in scenario.hours:
            begin, end = start * 3600, stop * 3600
            # From 22 to 6 goes past midnight.
            inside |= (
                (second >= begin) & (second < end)
                if begin <= end
                else (second >= begin) | (second < end)
            )
        holds &= inside
    return holds


def _share(roads: BoolArray, trips: Trips) -> NDArray[np.float64]:
    """The share of each trip's roads among `roads`. [n]"""
    inside = roads[trips.road_ids].astype(np.int64)
    return np.add.reduceat(inside, trips.offsets[:-1]) / trips.lengths


def _roads_in(name: str, place: Place, centre: Centre, network: RoadNetwork) -> BoolArray:
    if place.disc is not None:
        disc = place.disc
        return _distance_km(network, disc.lat, disc.lon) <= disc.radius_km
    if place.polygon is not None:
        return _inside_polygon(np.array(place.polygon), network)
    if place.zones is not None:
        zones = network.require_zones()
        unknown = [zone for zone in place.zones if zone >= zones.num_zones]
        if unknown:
            raise UserError(
                f"Place {name}: there is no zone {unknown[0]}; zones go from 0 to "
                f"{zones.num_zones - 1}."
            )
        return np.isin(zones.road2zone, place.zones)
    return centre.holds_road


def _inside_polygon(corners: NDArray[np.float64], network: RoadNetwork) -> BoolArray:
    """Which road centres lie inside: a ray to the east crosses the border oddly often."""
    lon, lat = network.center_lon, network.center_lat
    inside = np.zeros(network.num_roads, dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y1 > lat) != (y2 > lat)
        if y1 != y2:
            inside ^= crosses & (lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1))
    return inside
