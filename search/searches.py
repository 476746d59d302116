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
from search.draw import DrawSearch
from search.graph import SearchGraph
from search.interface import Search
from search.sample import SampleSearch
from search.shortest_path import ShortestPath


@dataclass(frozen=True)
class SearchKind:
    """One way to look for a trip."""

    build: Callable[[SearchGraph, int, Chosen], Search]
    width: int | None = None  # of its beam unless another is asked for; None: it has no beam then
    may_have_beam: bool = False


@dataclass(frozen=True)
class Chosen:
    """What a search is built with."""

    settings: SearchSettings
    width: int
    seed: int
    rows: int  # partial trips that a pass has room for


def _beam(graph: SearchGraph, num_slots: int, chosen: Chosen) -> Search:
    settings = chosen.settings
    first = settings.arrival == "first"
    return BeamSearch(graph, num_slots, chosen.width, settings.max_steps, first_arrival=first)


def _sample(graph: SearchGraph, num_slots: int, chosen: Chosen) -> Search:
    settings, seed = chosen.settings, chosen.seed
    steps, temperature = settings.max_steps, settings.temperature
    if settings.beam_width is None:
        return DrawSearch(graph, num_slots, steps, chosen.rows, temperature=temperature, seed=seed)
    width = settings.beam_width
    return SampleSearch(graph, num_slots, width, steps, temperature=temperature, seed=seed)


def _best_first(graph: SearchGraph, num_slots: int, chosen: Chosen) -> Search:
    return BestFirstSearch(graph, num_slots, chosen.settings.max_steps, chosen.rows)


def _shortest_path(graph: SearchGraph, num_slots: int, chosen: Chosen) -> Search:
    return ShortestPath(graph, num_slots, chosen.settings.max_steps)


SEARCHES: dict[SearchName, SearchKind] = {
    "beam": SearchKind(_beam, width=4, may_have_beam=True),
    "astar": SearchKind(_best_first),
    "sample": SearchKind(_sample, may_have_beam=True),
    "shortest_path": SearchKind(_shortest_path),
}


def build_search(
    settings: SearchSettings, graph: SearchGraph, num_slots: int, seed: int, rows: int = 1
) -> Search:
    """The search asked for, with room for `num_slots` trips, and for `rows` where that is more."""
    chosen = Chosen(settings, rows_per_trip(settings), seed, rows)
    return SEARCHES[settings.name].build(graph, num_slots, chosen)


def label_of(settings: SearchSettings) -> str:
    """How files and runs are named after a search: `beam4`, `astar`."""
    return f"{settings.name}{rows_per_trip(settings)}" if has_beam(settings) else settings.name


def has_beam(settings: SearchSettings) -> bool:
    """Whether the search keeps a beam of some width."""
    kind = SEARCHES[settings.name]
    return kind.may_have_beam and (settings.beam_width or kind.width) is not None


def rows_per_trip(settings: SearchSettings) -> int:
    """How many partial trips of one trip are continued at a time."""
    usual = SEARCHES[settings.name].width
    return (settings.beam_width or usual or 1) if has_beam(settings) else 1


def identity_of(settings: SearchSettings) -> dict[str, object]:
    """What of the settings decides which trips come out, as plain data."""
    own: dict[str, object] = {}
    if has_beam(settings):
        own["beam_width"] = rows_per_trip(settings)
    if settings.name == "beam":
        own["arrival"] = settings.arrival
    if settings.name == "sample":
        own["temperature"] = settings.temperature
    return {
        "search": settings.name,
        **own,
        "max_steps": settings.max_steps,
        "times": settings.times,
    }
