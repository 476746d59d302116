"""The schema of a scenario file: places, hours, roads and lengths that trips are told apart by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.loading import read_yaml, validate
from config.section import NonNegativeInt, PositiveFloat, PositiveInt, Section

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Hour = Annotated[int, Field(ge=0, le=24)]
Share = Annotated[float, Field(gt=0, le=1)]


class Disc(Section):
    """A circle around a point."""

    lat: float
    lon: float
    radius_km: PositiveFloat


class Place(Section):
    """Where a road's centre lies: exactly one of the ways to say it."""

    disc: Disc | None = None
    polygon: Annotated[list[tuple[float, float]], Field(min_length=3)] | None = None  # lon, lat
    zones: Annotated[list[NonNegativeInt], Field(min_length=1)] | None = None
    centre: bool = False  # the disc that holds half of all real trips' ends

    @model_validator(mode="after")
    def _exactly_one(self) -> Place:
        given = [self.disc, self.polygon, self.zones, self.centre or None]
        if sum(each is not None for each in given) != 1:
            raise ValueError("a place is exactly one of disc, polygon, zones and centre: true")
        return self


class RoadShare(Section):
    """Trips with at least this share of their roads of these types."""

    types: Annotated[list[str], Field(min_length=1)]
    share: Share = 0.5


class Range(Section):
    """From `least` on, up to but not including `below`."""

    least: Annotated[float, Field(ge=0)] = 0.0
    below: float = float("inf")


class Scenario(Section):
    """Trips for which everything that is given holds."""

    description: str
    weekdays: list[Weekday] = []
    hours: list[tuple[Hour, Hour]] = []  # [7, 9]: from 7:00 to before 9:00
    starts_in: str | None = None  # a place
    ends_in: str | None = None
    starts_outside: str | None = None
    ends_outside: str | None = None
    within: str | None = None  # at least half of the roads lie in this place
    roads: RoadShare | None = None
    length_km: Range | None = None
    all_of: list[str] = []  # other scenarios, named before
    none_of: list[str] = []
    min_trips: PositiveInt = 1  # real and generated, or it is not measured


class ScenarioFile(Section):
    """Places by name, and the scenarios that refer to them."""

    places: dict[str, Place] = {}
    scenarios: Annotated[dict[str, Scenario], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_known(self) -> ScenarioFile:
        earlier: set[str] = set()
        for name, scenario in self.scenarios.items():
            for place in places_of(scenario):
                if place not in self.places:
                    raise ValueError(f"scenario {name}: there is no place {place!r}")
            for other in (*scenario.all_of, *scenario.none_of):
                if other not in earlier:
                    raise ValueError(f"scenario {name}: there is no scenario {other!r} before it")
            earlier.add(name)
        return self


def places_of(scenario: Scenario) -> list[str]:
    """The places that a scenario names."""
    named = (
        scenario.starts_in,
        scenario.ends_in,
        scenario.starts_outside,
        scenario.ends_outside,
        scenario.within,
    )
    return [place for place in named if place is not None]


def load_scenarios(file: str | Path) -> ScenarioFile:
    """Reads and checks a scenario file."""
    tree = read_yaml(file)
    for section, model in (("places", Place), ("scenarios", Scenario)):
        part = tree.get(section)
        for name, each in part.items() if isinstance(part, dict) else ():
            if isinstance(each, dict):  # by itself, so that a mistake is named with its place
                validate(model, each, f"{file}: {section}.{name}")
    return validate(ScenarioFile, tree, str(file))
