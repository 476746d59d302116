"""Turn restrictions of OpenStreetMap: what a relation forbids to a vehicle, in terms of ways.

Which roads that concerns is `data.osm.turns`.
"""

from __future__ import annotations

from collections.abc import Iterable

from data.osm.streets import Findings, Restriction
from data.osm.tags import VEHICLE_KEYS, Tags, Vehicle

Member = tuple[str, int, str]  # "n", "w" or "r"; id; role

_KINDS = frozenset(
    f"{prefix}_{turn}"
    for prefix in ("no", "only")
    for turn in ("left_turn", "right_turn", "straight_on", "u_turn", "turn", "entry", "exit")
)


def parse_restriction(
    tags: Tags, members: Iterable[Member], vehicle: Vehicle, findings: Findings
) -> Restriction | None:
    """The restriction that binds the vehicle at all times; None, and counted, where there is none.

    What holds at certain hours only is left out: at other hours people drive there.
    """
    kind, reason = _kind_for(tags, vehicle)
    if not reason and kind not in _KINDS:
        reason = "of an unknown kind"
    roles: dict[tuple[str, str], list[int]] = {}
    for what, number, role in members:
        roles.setdefault((what, role), []).append(number)
    from_ways, to_ways = roles.get(("w", "from"), []), roles.get(("w", "to"), [])
    via_nodes, via_ways = roles.get(("n", "via"), []), roles.get(("w", "via"), [])
    one_via = (len(via_nodes) == 1) != bool(via_ways)
    if not reason and not (from_ways and to_ways and one_via):
        reason = "with a member missing"
    if reason:
        findings.restrictions[reason] += 1
        return None
    via_node = via_nodes[0] if via_nodes else None
    return Restriction(kind, tuple(from_ways), via_node, tuple(via_ways), tuple(to_ways))


def _kind_for(tags: Tags, vehicle: Vehicle) -> tuple[str, str]:
    """The kind, and why it does not bind the vehicle at all times ("" where it does)."""
    keys = VEHICLE_KEYS[vehicle]
    # A restriction for the vehicle itself comes before the one for everybody.
    for key in (*(f"restriction:{mode}" for mode in keys), "restriction"):
        kind = tags.get(key, "").strip().lower()
        if "@" in kind:
            return "", "at certain hours"
        if not kind:
            continue
        if key == "restriction" and _excepted(tags, keys):
            return "", "not for this vehicle"
        if "day_on" in tags or "hour_on" in tags:
            return "", "at certain hours"
        return kind, ""
    if any(key.startswith("restriction") and key.endswith(":conditional") for key in tags):
        return "", "at certain hours"
    return "", "not for this vehicle"


def _excepted(tags: Tags, keys: tuple[str, ...]) -> bool:
    words = tags.get("except", "").replace(",", ";").split(";")
    return any(word.strip().lower() in keys for word in words)
