"""The data between the steps of an import: kinds of street, ways, segments."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class StreetKind(NamedTuple):
    """Everything about a street but its place. A one-way street runs along its vertices."""

    highway: str
    oneway: bool
    lanes_forward: int
    lanes_backward: int
    speed_forward_kmh: float
    speed_backward_kmh: float
    tunnel: bool = False
    bridge: bool = False
    roundabout: bool = False

    @property
    def is_symmetric(self) -> bool:
        """Whether both directions are the same."""
        return (
            not self.oneway
            and self.lanes_forward == self.lanes_backward
            and self.speed_forward_kmh == self.speed_backward_kmh
        )


class Restriction(NamedTuple):
    """A turn restriction: from one of `from_ways` through the node or the ways onto `to_ways`."""

    kind: str  # no_left_turn, only_straight_on, ...
    from_ways: tuple[int, ...]
    via_node: int | None
    via_ways: tuple[int, ...]
    to_ways: tuple[int, ...]


@dataclass
class Findings:
    """What an import met on its way, for the log and the report: counts by reason."""

    left_out: Counter[str] = field(default_factory=Counter)  # ways
    not_understood: Counter[str] = field(default_factory=Counter)  # tags, key=value
    restrictions: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Ways:
    """W polylines whose vertices are nodes; a node may be in several ways."""

    kinds: list[StreetKind]
    way_id: IntArray  # [W]
    kind: IntArray  # [W] row of `kinds`
    name: IntArray  # [W] the same number is the same name
    offsets: IntArray  # [W + 1]
    node: IntArray  # [V]
    lon: FloatArray  # [V] NaN where the file does not say
    lat: FloatArray  # [V]
    barriers: IntArray  # nodes that no vehicle passes
    restrictions: list[Restriction]
    findings: Findings
    ends_only: bool = False  # ways meet at their ends only, wherever else they cross
    attribution: str = ""

    def __len__(self) -> int:
        return len(self.way_id)


@dataclass
class Segments:
    """S pieces of street from one junction or end to the next."""

    kinds: list[StreetKind]
    kind: IntArray  # [S]
    name: IntArray  # [S]
    first_way: IntArray  # [S] id of the way that it begins with
    last_way: IntArray  # [S]
    offsets: IntArray  # [S + 1]
    node: IntArray  # [V]
    lon: FloatArray  # [V]
    lat: FloatArray  # [V]

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def from_node(self) -> IntArray:
        """The node that each segment begins at. [S]"""
        return self.node[self.offsets[:-1]]

    @property
    def to_node(self) -> IntArray:
        """The node that each segment ends at. [S]"""
        return self.node[self.offsets[1:] - 1]


@dataclass
class KindTable:
    """Numbers kinds of street, and names, in the order of their appearance."""

    kinds: dict[StreetKind, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)

    def kind(self, kind: StreetKind) -> int:
        """The number of a kind."""
        return self.kinds.setdefault(kind, len(self.kinds))

    def name(self, name: str) -> int:
        """The number of a name."""
        return self.names.setdefault(name, len(self.names))
