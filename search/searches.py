"""The searches by name: what each is called in files, how it is built, what it costs.

To add one: a class with the methods of `search.interface.Search`, its name in
`config.generation.SearchName`, and its entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from config.generation import SearchName, SearchSettings
from search.beam import BeamSearch
from search.best_first import BestFirstSearch
from search.graph import SearchGraph
from search.interface import Search
from search.shortest_path import ShortestPath


@dataclass(frozen=True)
class SearchKind:
    """One way to look for a trip."""

    build: Callable[[SearchGraph, int, SearchSettings], Search]  # graph, trips at a time, settings
    has_width: bool = False  # whether `beam_width` means something to it


SEARCHES: dict[SearchName, SearchKind] = {
    "beam": SearchKind(
        lambda graph, slots, s: BeamSearch(graph, slots, s.beam_width, s.max_steps), has_width=True
    ),
    "astar": SearchKind(lambda graph, slots, s: BestFirstSearch(graph, slots, s.max_steps)),
    "shortest_path": SearchKind(lambda graph, slots, s: ShortestPath(graph, slots, s.max_steps)),
}


def build_search(settings: SearchSettings, graph: SearchGraph, num_slots: int) -> Search:
    """The search asked for, with room for `num_slots` trips."""
    return SEARCHES[settings.name].build(graph, num_slots, settings)


def label_of(settings: SearchSettings) -> str:
    """How files and runs are named after a search: `beam4`, `astar`."""
    return f"{settings.name}{settings.beam_width}" if has_width(settings) else settings.name


def rows_per_trip(settings: SearchSettings) -> int:
    """How many partial trips of one trip are continued at a time."""
    return settings.beam_width if has_width(settings) else 1


def has_width(settings: SearchSettings) -> bool:
    """Whether the search depends on `beam_width`."""
    return SEARCHES[settings.name].has_width


def identity_of(settings: SearchSettings) -> dict[str, object]:
    """What of the settings decides which trips come out, as plain data."""
    width = {"beam_width": settings.beam_width} if has_width(settings) else {}
    return {"search": settings.name, **width, "max_steps": settings.max_steps}
