"""Every measure of generated trips, one entry each: its name, how it reads, how it is computed.

Results, comparison, tables, plots and the report read these tables and nothing else, so a new
measure is one entry: in QUANTITIES (compared as a distribution), PAIR_MEASURES (one value for
each pair of a real and a generated trip) or OVERALL_MEASURES (one value for a whole file).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork
from metrics.behaviour import Behaviour
from metrics.distributions import Values
from metrics.generated import GeneratedTrips
from metrics.hourly import hourly_divergence
from metrics.local import PairMetrics
from metrics.od import OdGrid, Pairs
from metrics.quantities import (
    radius_of_gyration,
    segment_duration,
    trip_distance,
    trip_duration,
    trip_speed,
)
from metrics.route_choice import RouteChoice, copied, route_choice
from metrics.trips import Trips

FloatArray = NDArray[np.float64]
Better = Literal["lower", "higher"]


def floor_of(measure: str) -> str:
    """The name under which results have a divergence's floor."""
    return f"{measure}_floor"


@dataclass(frozen=True)
class Measure:
    """How a measure is named, and where it is shown."""

    name: str  # in result files
    title: str
    unit: str = ""
    better: Better | None = None
    headline: bool = False  # in the table of models side by side
    plotted: bool = False  # with its interval, for every model

    is_divergence: bool = False  # results have its floor beside it

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def floor(self) -> str:
        """The name of a divergence's floor: what two samples of the real trips differ by."""
        return floor_of(self.name)


@dataclass(frozen=True)
class Quantity:
    """One or more values of each trip; real and generated ones are compared as distributions."""

    name: str
    title: str
    unit: str
    of: Callable[[Trips, RoadNetwork], Values]
    short: str  # in the divergence's title
    plotted: bool = True

    @property
    def divergence(self) -> Measure:
        """The Jensen-Shannon divergence of generated from real values."""
        return Measure(
            f"{self.name}_jsd",
            f"{self.short} JSD",
            "nats",
            "lower",
            headline=True,
            plotted=self.plotted,
            is_divergence=True,
        )


@dataclass(frozen=True)
class PairMeasure(Measure):
    """One value for each pair; `compared` ones are tested between models."""

    of: Callable[[PairMetrics], FloatArray] = lambda pairs: pairs.hausdorff_km
    compared: bool = False


@dataclass(frozen=True)
class Subject:
    """A generated file beside the real trips, as overall measures see it."""

    network: RoadNetwork
    real: Trips
    generated: GeneratedTrips
    pairs: Pairs
    grid: OdGrid
    behaviour: Behaviour | None = None  # where there are training trips to learn the usual from
    training: Trips | None = None  # those trips

    @cached_property
    def route_choice(self) -> RouteChoice | None:
        """How routes are chosen; several measures read it."""
        return route_choice(self.real, self.generated.trips, self.grid)


@dataclass(frozen=True)
class Found:
    """A value; where it is a mean over generated trips, theirs too: an interval follows."""

    value: float | None
    by_trip: FloatArray | None = None  # [n]; NaN where a trip has none
    floor: float | None = None  # of a divergence: what two samples of the real trips differ by

    @classmethod
    def mean(cls, by_trip: FloatArray) -> Found:
        """The mean over the trips that have a value."""
        known = by_trip[~np.isnan(by_trip)]
        return cls(float(known.mean()) if len(known) else None, by_trip)


@dataclass(frozen=True)
class OverallMeasure(Measure):
    """One value for a whole file; None where it cannot be known."""

    of: Callable[[Subject], Found] = lambda _: Found(None)


def _od_match_rate(subject: Subject) -> Found:
    return Found(subject.pairs.od_match_rate)


def _reached_rate(subject: Subject) -> Found:
    reached = subject.generated.reached
    return Found(None) if reached is None else Found.mean(reached.astype(np.float64))


def _joined_rate(subject: Subject) -> Found:
    transitions = int((subject.generated.trips.lengths - 1).sum())
    unjoined = float(subject.generated.unjoined.sum())
    return Found(1.0 - unjoined / transitions if transitions else None)


def _route_choice(value: Callable[[RouteChoice], Found]) -> Callable[[Subject], Found]:
    """A figure of how routes are chosen, where some OD pairs have enough trips."""

    def of(subject: Subject) -> Found:
        choice = subject.route_choice
        return Found(None) if choice is None else value(choice)

    return of


def _copied(subject: Subject) -> Found:
    if subject.training is None:
        return Found(None)
    return Found.mean(copied(subject.generated.trips, subject.training).astype(np.float64))


def _by_hour(quantity: Callable[[Trips, RoadNetwork], Values]) -> Callable[[Subject], Found]:
    """A quantity's divergence within each hour of the day."""

    def of(subject: Subject) -> Found:
        sides = (subject.real, subject.generated.trips)
        real, generated = (quantity(trips, subject.network) for trips in sides)
        found = hourly_divergence(real, sides[0], generated, sides[1])
        return Found(None) if found is None else Found(found.divergence, floor=found.floor)

    return of


def _by_trip(values: Callable[[Behaviour], FloatArray]) -> Callable[[Subject], Found]:
    """The mean of a value of each trip, where the usual is known."""

    def of(subject: Subject) -> Found:
        behaviour = subject.behaviour
        return Found(None) if behaviour is None else Found.mean(values(behaviour))

    return of


def _whole(value: Callable[[Behaviour], float | None]) -> Callable[[Subject], Found]:
    """A value of the file as a whole, where the usual is known."""

    def of(subject: Subject) -> Found:
        behaviour = subject.behaviour
        return Found(None if behaviour is None else value(behaviour))

    return of


QUANTITIES = (
    Quantity("distance", "Trip distance", "km", trip_distance, "Distance"),
    Quantity("duration", "Segment duration", "min", segment_duration, "Duration"),
    Quantity("trip_duration", "Trip duration", "min", trip_duration, "Trip duration"),
    Quantity("speed", "Trip speed", "km/h", trip_speed, "Speed"),
    Quantity("radius", "Radius of gyration", "km", radius_of_gyration, "Radius"),
)

PAIR_MEASURES = (
    PairMeasure(
        "hausdorff_km",
        "Hausdorff",
        "km",
        "lower",
        headline=True,
        plotted=True,
        of=lambda pairs: pairs.hausdorff_km,
        compared=True,
    ),
    PairMeasure(
        "dtw_km",
        "DTW",
        "km",
        "lower",
        headline=True,
        plotted=True,
        of=lambda pairs: pairs.dtw_km,
        compared=True,
    ),
    PairMeasure(
        "edr",
        "EDR",
        "per point",
        "lower",
        headline=True,
        plotted=True,
        of=lambda pairs: pairs.edits / pairs.points,
        compared=True,
    ),
    PairMeasure(
        "hausdorff_km_per_point",
        "Hausdorff per point",
        "km",
        "lower",
        of=lambda pairs: pairs.hausdorff_km / pairs.points,
    ),
    PairMeasure(
        "dtw_km_per_point",
        "DTW per point",
        "km",
        "lower",
        of=lambda pairs: pairs.dtw_km / pairs.points,
    ),
)

OVERALL_MEASURES = (
    OverallMeasure(
        "od_match_rate", "OD match rate", "", "higher", headline=True, of=_od_match_rate
    ),
    OverallMeasure(
        "destination_reached_rate",
        "Destination reached",
        "",
        "higher",
        headline=True,
        of=_reached_rate,
    ),
    OverallMeasure("joined_transition_rate", "Drivable transitions", "", "higher", of=_joined_rate),
    OverallMeasure(
        "route_choice_divergence",
        "Route choice divergence",
        "nats",
        "lower",
        of=_route_choice(lambda choice: Found(choice.divergence, floor=choice.floor)),
        is_divergence=True,
    ),
    OverallMeasure(
        "routes_per_od",
        "Different routes",
        "per OD pair",
        of=_route_choice(lambda choice: Found(choice.generated_routes)),
    ),
    OverallMeasure(
        "real_routes_per_od",
        "Different routes of real trips",
        "per OD pair",
        of=_route_choice(lambda choice: Found(choice.real_routes)),
    ),
    OverallMeasure("copied_rate", "Copies of training trips", of=_copied),
    OverallMeasure(
        "trip_duration_jsd_by_hour",
        "Trip duration JSD by hour",
        "nats",
        "lower",
        of=_by_hour(trip_duration),
        is_divergence=True,
    ),
    OverallMeasure(
        "speed_jsd_by_hour",
        "Speed JSD by hour",
        "nats",
        "lower",
        of=_by_hour(trip_speed),
        is_divergence=True,
    ),
    OverallMeasure("detour", "Detour", "× shortest", of=_by_trip(lambda b: b.ratios.detour)),
    OverallMeasure(
        "detour_beyond_p95", "Detours beyond p95", of=_by_trip(lambda b: b.beyond["detour"])
    ),
    OverallMeasure(
        "duration_ratio", "Duration", "× usual", of=_by_trip(lambda b: b.ratios.duration)
    ),
    OverallMeasure(
        "duration_beyond_p95", "Durations beyond p95", of=_by_trip(lambda b: b.beyond["duration"])
    ),
    OverallMeasure("speed_ratio", "Speed", "× usual", of=_by_trip(lambda b: b.ratios.speed)),
    OverallMeasure(
        "speed_beyond_p95", "Speeds beyond p95", of=_by_trip(lambda b: b.beyond["speed"])
    ),
    OverallMeasure(
        "traffic_correlation",
        "Traffic correlation",
        "",
        "higher",
        of=_whole(lambda b: b.traffic_correlation),
    ),
    OverallMeasure(
        "traffic_error",
        "Traffic error",
        "of traffic",
        "lower",
        of=_whole(lambda b: b.traffic_error),
    ),
    OverallMeasure(
        "traffic_covered", "Traffic covered", "", "higher", of=_whole(lambda b: b.traffic_covered)
    ),
    OverallMeasure("od_covered", "OD covered", "", "higher", of=_whole(lambda b: b.od_covered)),
)

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        *(quantity.divergence for quantity in QUANTITIES),
        *PAIR_MEASURES,
        *OVERALL_MEASURES,
    )
}
HEADLINE = [measure for measure in MEASURES.values() if measure.headline]
PLOTTED = [measure for measure in MEASURES.values() if measure.plotted]


def measure_quantities(trips: Trips, network: RoadNetwork) -> dict[str, Values]:
    """Every quantity of the trips, by name."""
    return {quantity.name: quantity.of(trips, network) for quantity in QUANTITIES}


def pair_values(local: PairMetrics) -> dict[str, FloatArray]:
    """Every measure of pairs, by name. [K] each"""
    return {measure.name: measure.of(local) for measure in PAIR_MEASURES}
