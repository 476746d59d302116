"""The searches by name: what each is called in files, how it is built, what its trips depend on.

The search NAME is the module `search/NAME.py`, which says of itself what there is to know in its
`KIND`. To add one: such a module, and its name in `config.generation.SearchName`.
"""

from __future__ import annotations

from importlib import import_module
from typing import get_args

from config.generation import SearchName, SearchSettings
from search.graph import SearchGraph
from search.interface import Chosen, Search, SearchKind

_BEHIND_SCOUTS = 8  # of so many places in a beam one is taken, on average


def kind_of(name: SearchName) -> SearchKind:
    """What a search says of itself."""
    kind = import_module(f"search.{name}").KIND
    assert isinstance(kind, SearchKind)
    return kind


def build_search(
    settings: SearchSettings, graph: SearchGraph, num_slots: int, seed: int, rows: int = 1
) -> Search:
    """The search asked for, with room for `num_slots` trips, and for `rows` where that is more."""
    chosen = Chosen(settings, rows_per_trip(settings), seed, rows)
    return kind_of(settings.name).build(graph, num_slots, chosen)


def label_of(settings: SearchSettings) -> str:
    """How files and runs are named after a search: `beam4`, `astar`, `astar_fitted`."""
    width = rows_per_trip(settings) if has_beam(settings) else ""
    return f"{settings.name}{width}{'_fitted' if fits_costs(settings) else ''}"


def fits_costs(settings: SearchSettings) -> bool:
    """Whether what detours cost is found for the student, and the search charges it."""
    return settings.costs == "fitted" and may_charge(settings.name)


def may_charge(name: SearchName) -> bool:
    """Whether a search can charge what detours cost."""
    return "costs" in kind_of(name).reads


def has_beam(settings: SearchSettings) -> bool:
    """Whether the search keeps a beam of some width."""
    kind = kind_of(settings.name)
    return kind.may_have_beam and (settings.beam_width or kind.width) is not None


def rows_per_trip(settings: SearchSettings) -> int:
    """How many partial trips of one trip are continued at a time, at most."""
    usual = kind_of(settings.name).width
    return (settings.beam_width or usual or 1) if has_beam(settings) else 1


def usual_rows_per_trip(settings: SearchSettings) -> int:
    """How many are on average: behind scouts little is left of a wide beam."""
    rows = rows_per_trip(settings)
    follows_scouts = settings.arrival == "best" and "arrival" in kind_of(settings.name).reads
    return max(1, rows // _BEHIND_SCOUTS) if follows_scouts else rows


def unread(settings: SearchSettings) -> list[str]:
    """Fields that were set and have no say: other searches read them."""
    kinds = [kind_of(name) for name in get_args(SearchName)]
    own, usual = kind_of(settings.name), SearchSettings()
    others = {name for kind in kinds for name in kind.reads} - set(own.reads)
    others |= set() if own.may_have_beam else {"beam_width"}
    return sorted(name for name in others if getattr(settings, name) != getattr(usual, name))


def _decisive(settings: SearchSettings) -> list[str]:
    """What the search reads; the costs that were given speak for themselves."""
    given = settings.costs == "given"
    return [name for name in kind_of(settings.name).reads if name != "costs" or not given]


def identity_of(settings: SearchSettings) -> dict[str, object]:
    """What of the settings decides which trips come out, as plain data."""
    width = {"beam_width": rows_per_trip(settings)} if has_beam(settings) else {}
    return {
        "search": settings.name,
        **width,
        **{name: getattr(settings, name) for name in _decisive(settings)},
        "max_steps": settings.max_steps,
        "times": settings.times,
    }
