"""What a `maxspeed` tag says, in km/h: numbers, units, lists, and the codes of national rules."""

from __future__ import annotations

import re

_KMH_PER_MILE = 1.609344
_KMH_PER_KNOT = 1.852
_NUMBER = re.compile(r"^(\d{1,3}(?:\.\d+)?)\s*(km/?h|kmh|kph|mph|mi/h|knots?|)$")
_ZONE = re.compile(r"zone:?\s*(\d{1,3})$")
_WORDS_KMH = {"walk": 7.0, "walking": 7.0, "none": 130.0, "unlimited": 130.0}
_RULES_KMH = {
    "urban": 50.0,
    "rural": 90.0,
    "trunk": 100.0,
    "motorway": 120.0,
    "living_street": 20.0,
    "pedestrian_zone": 7.0,
    "bicycle_road": 30.0,
    "school": 30.0,
    "nsl_single": 60 * _KMH_PER_MILE,
    "nsl_dual": 70 * _KMH_PER_MILE,
    "nsl_restricted": 30 * _KMH_PER_MILE,
}
# Where a country's rule is another one; the codes are those of the wiki's table of defaults.
_NATIONAL_RULES_KMH = {
    "at:rural": 100.0,
    "at:motorway": 130.0,
    "ch:rural": 80.0,
    "cz:motorway": 130.0,
    "de:rural": 100.0,
    "de:motorway": 130.0,
    "de:living_street": 7.0,
    "dk:rural": 80.0,
    "dk:motorway": 130.0,
    "fr:rural": 80.0,
    "fr:motorway": 130.0,
    "gb:urban": 30 * _KMH_PER_MILE,
    "gb:rural": 60 * _KMH_PER_MILE,
    "gb:motorway": 70 * _KMH_PER_MILE,
    "it:motorway": 130.0,
    "jp:urban": 40.0,
    "jp:rural": 60.0,
    "jp:motorway": 100.0,
    "nl:rural": 80.0,
    "nl:motorway": 130.0,
    "no:rural": 80.0,
    "pl:motorway": 140.0,
    "ro:motorway": 130.0,
    "ru:urban": 60.0,
    "ru:motorway": 110.0,
    "se:rural": 70.0,
    "se:motorway": 110.0,
    "ua:motorway": 130.0,
    "us:urban": 25 * _KMH_PER_MILE,
    "us:rural": 55 * _KMH_PER_MILE,
    "us:motorway": 65 * _KMH_PER_MILE,
}


def parse_speed_kmh(text: str) -> float | None:
    """The speed in km/h, of a list the lowest; None where the text says nothing."""
    speeds = [_parse_one(part) for part in re.split(r"[;|,]", text)]
    known = [speed for speed in speeds if speed is not None]
    return round(min(known), 1) if known else None


def _parse_one(text: str) -> float | None:
    text = text.strip().lower()
    number = _NUMBER.match(text)
    if number is not None:
        value, unit = float(number[1]), number[2]
        if unit.startswith("m"):
            value *= _KMH_PER_MILE
        elif unit.startswith("kn"):
            value *= _KMH_PER_KNOT
        return value if value > 0 else None
    zone = _ZONE.search(text)
    if zone is not None:
        miles = text.startswith(("gb:", "uk:", "us:"))
        return float(zone[1]) * (_KMH_PER_MILE if miles else 1.0) or None
    if text in _WORDS_KMH:
        return _WORDS_KMH[text]
    text = text.replace("uk:", "gb:")
    return _NATIONAL_RULES_KMH.get(text) or _RULES_KMH.get(text.rpartition(":")[2])
