"""What the tags of a way mean for a vehicle: may it drive there, which way, how wide, how fast.

Only the meaning of single ways and nodes; how they hang together is for other modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from data.osm.speeds import parse_speed_kmh
from data.osm.streets import Findings, StreetKind

Network = Literal["drive", "service", "all"]
Vehicle = Literal["car", "taxi", "bus", "hgv"]
Tags = Mapping[str, str]

# Lanes in each direction and km/h where the map does not say.
CLASS_DEFAULTS: dict[str, tuple[int, float]] = {
    "motorway": (2, 110.0),
    "motorway_link": (1, 60.0),
    "trunk": (2, 90.0),
    "trunk_link": (1, 50.0),
    "primary": (1, 60.0),
    "primary_link": (1, 50.0),
    "secondary": (1, 60.0),
    "secondary_link": (1, 50.0),
    "tertiary": (1, 50.0),
    "tertiary_link": (1, 40.0),
    "unclassified": (1, 50.0),
    "residential": (1, 40.0),
    "living_street": (1, 15.0),
    "road": (1, 40.0),
    "service": (1, 20.0),
    "busway": (1, 50.0),
    "track": (1, 20.0),
    "ferry": (1, 15.0),
}
OTHER_CLASS = (1, 40.0)

_STREETS = (
    *("motorway", "motorway_link", "trunk", "trunk_link", "primary", "primary_link"),
    *("secondary", "secondary_link", "tertiary", "tertiary_link"),
    *("unclassified", "residential", "living_street", "road"),
)
NETWORK_CLASSES: dict[Network, tuple[str, ...]] = {
    "drive": _STREETS,
    "service": (*_STREETS, "service"),
    "all": (*_STREETS, "service", "track", "busway"),
}

# The keys that speak of a vehicle, the special before the general.
VEHICLE_KEYS: dict[Vehicle, tuple[str, ...]] = {
    "car": ("motorcar", "motor_vehicle", "vehicle"),
    "taxi": ("taxi", "psv", "motorcar", "motor_vehicle", "vehicle"),
    "bus": ("bus", "psv", "motor_vehicle", "vehicle"),
    "hgv": ("hgv", "goods", "motor_vehicle", "vehicle"),
}
_FORBIDDEN = frozenset(
    (
        "no",
        "private",
        "agricultural",
        "forestry",
        "delivery",
        "emergency",
        "military",
        "employees",
        "residents",
        "use_sidepath",
        "dismount",
        "restricted",
        "permit",
    )
)
_ALLOWED = frozenset(
    (
        "yes",
        "permissive",
        "designated",
        "destination",
        "customers",
        "official",
        "public",
        "unknown",
        "discouraged",
        "variable",
    )
)
_PASSABLE_BARRIERS = frozenset(
    (
        "gate",
        "lift_gate",
        "swing_gate",
        "sliding_gate",
        "toll_booth",
        "border_control",
        "cattle_grid",
        "entrance",
        "height_restrictor",
        "arch",
        "sally_port",
        "kerb",
        "no",
        "coupure",
        "spikes",
        "sliding_beam",
        "checkpoint",
        "rumble_strip",
        "bump_gate",
    )
)
_PRIVATE_SERVICES = frozenset(("driveway", "emergency_access", "drive-through"))
_YES = frozenset(("yes", "true", "1", "f", "ft", "y", "forward"))
_REVERSE = frozenset(("-1", "reverse", "t", "tf", "backward"))
_NO = frozenset(("no", "false", "0", "b", "n", "both"))
_BY_TIME = frozenset(("reversible", "alternating"))
_ROUNDABOUTS = frozenset(("roundabout", "circular"))
_IMPLIED_ONEWAY = frozenset(("motorway", "motorway_link"))
_SEPARATORS = re.compile(r"[;|,]")
MAX_LANES = 20


@dataclass
class TagReader:
    """Reads ways' tags for one network and one kind of vehicle; counts what it leaves out."""

    network: Network
    vehicle: Vehicle
    findings: Findings
    default_speeds_kmh: Mapping[str, float]

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of `highway` that belong to the network."""
        classes = NETWORK_CLASSES[self.network]
        if self.vehicle in ("bus", "taxi") and "busway" not in classes:
            classes = (*classes, "busway")
        return classes

    def street(self, tags: Tags) -> tuple[StreetKind, bool] | None:
        """The kind of street, and whether it runs against its vertices; None where left out."""
        highway = tags.get("highway", "")
        if self.network == "all" and tags.get("route") == "ferry":
            highway = "ferry"
        reason = self._why_not(tags, highway)
        if reason:
            self.findings.left_out[reason] += 1
            return None
        forward, backward = self._directions(tags, highway)
        forward &= self._permits(tags, ":forward", True)
        backward &= self._permits(tags, ":backward", True)
        if not (forward or backward):
            self.findings.left_out["closed in both directions"] += 1
            return None
        return self._kind(tags, highway, forward, backward), not forward

    def _why_not(self, tags: Tags, highway: str) -> str:
        if tags.get("area") == "yes":
            return "areas"
        if "yes" in (tags.get("disused"), tags.get("abandoned"), tags.get("razed")):
            return "disused"
        if highway == "ferry" and not self._permits(tags, "", False):
            return "ferries without vehicles"
        if self.network == "all":
            return ""
        if highway == "service" and tags.get("service") in _PRIVATE_SERVICES:
            return "driveways and the like"
        if not self._permits(tags, "", highway != "busway" or self.vehicle == "bus"):
            return "no access"
        return ""

    def _permits(self, tags: Tags, suffix: str, otherwise: bool) -> bool:
        """What the most special key that speaks of the vehicle says of it."""
        for key in (*VEHICLE_KEYS[self.vehicle], "access"):
            value = tags.get(key + suffix)
            if value is None:
                continue
            for word in _SEPARATORS.split(value):
                if word.strip().lower() in _FORBIDDEN:
                    return False
                if word.strip().lower() in _ALLOWED:
                    return True
            self.findings.not_understood[f"{key}{suffix}={value}"[:80]] += 1
        return otherwise

    def _directions(self, tags: Tags, highway: str) -> tuple[bool, bool]:
        for key in (*(f"oneway:{mode}" for mode in VEHICLE_KEYS[self.vehicle]), "oneway"):
            value = tags.get(key)
            if value is None:
                continue
            directions = parse_oneway(value)
            if directions is not None:
                return directions
            self.findings.not_understood[f"{key}={value}"[:80]] += 1
        implied = tags.get("junction") in _ROUNDABOUTS or highway in _IMPLIED_ONEWAY
        return True, not implied

    def _kind(self, tags: Tags, highway: str, forward: bool, backward: bool) -> StreetKind:
        oneway = not (forward and backward)
        lanes, speeds = self._lanes(tags, highway, oneway), self._speeds(tags, highway)
        if not forward:  # its vertices will be turned round
            lanes, speeds = lanes[::-1], speeds[::-1]
        return StreetKind(
            highway=highway,
            oneway=oneway,
            lanes_forward=lanes[0],
            lanes_backward=lanes[0] if oneway else lanes[1],
            speed_forward_kmh=speeds[0],
            speed_backward_kmh=speeds[0] if oneway else speeds[1],
            tunnel=is_set(tags.get("tunnel")),
            bridge=is_set(tags.get("bridge")),
            roundabout=tags.get("junction") in _ROUNDABOUTS,
        )

    def _lanes(self, tags: Tags, highway: str, oneway: bool) -> tuple[int, int]:
        default = CLASS_DEFAULTS.get(highway, OTHER_CLASS)[0]
        total = self._count(tags, "lanes")
        directions = []
        for key in ("lanes:forward", "lanes:backward"):
            lanes = self._count(tags, key)
            if lanes is None and total is not None:
                lanes = total if oneway else max(1, total // 2)
            directions.append(default if lanes is None else lanes)
        return directions[0], directions[1]

    def _count(self, tags: Tags, key: str) -> int | None:
        value = tags.get(key)
        lanes = parse_lanes(value)
        if value is not None and lanes is None:
            self.findings.not_understood[f"{key}={value}"[:80]] += 1
        return lanes

    def _speeds(self, tags: Tags, highway: str) -> tuple[float, float]:
        default = self.default_speeds_kmh.get(highway, CLASS_DEFAULTS.get(highway, OTHER_CLASS)[1])
        general: float | None = None
        for key in ("maxspeed", "maxspeed:type", "source:maxspeed", "zone:maxspeed"):
            value = tags.get(key)
            general = None if value is None else parse_speed_kmh(value)
            if general is not None:
                break
            if value is not None and key == "maxspeed":
                self.findings.not_understood[f"maxspeed={value}"[:80]] += 1
        directions = []
        for key in ("maxspeed:forward", "maxspeed:backward"):
            speed = parse_speed_kmh(tags.get(key, "")) or general
            directions.append(default if speed is None else speed)
        return directions[0], directions[1]

    def blocks(self, tags: Tags) -> bool:
        """Whether a node with these tags cannot be passed by the vehicle."""
        barrier = tags.get("barrier")
        if barrier is None or self.network == "all":
            return False
        return not self._permits(tags, "", barrier in _PASSABLE_BARRIERS)


def parse_oneway(text: str) -> tuple[bool, bool] | None:
    """Whether one may drive along and against the vertices; None where the text is unknown."""
    for word in _SEPARATORS.split(text):
        word = word.strip().lower()
        if word in _YES:
            return True, False
        if word in _REVERSE:
            return False, True
        if word in _NO or word in _BY_TIME:  # by the clock, both directions are driven
            return True, True
    return None


def parse_lanes(text: str | None) -> int | None:
    """The number of lanes, of a list the lowest; None where the text says none."""
    words = [word.strip() for word in _SEPARATORS.split(text or "")]
    counts = [int(float(word)) for word in words if re.fullmatch(r"\d{1,2}(\.\d)?", word)]
    counts = [count for count in counts if 1 <= count <= MAX_LANES]
    return min(counts) if counts else None


def is_set(text: str | None) -> bool:
    """Whether a tag like `bridge` says that there is one: `yes`, `viaduct`, ..."""
    return (text or "no").strip().lower() not in ("no", "false", "0", "")
