"""What a generation is asked for: by which search, between which roads, and how the work is done.

The choices are named here, once; the search NAME is the module `search/NAME.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from config.section import LARGEST_INT
from runtime.errors import UserError

SearchName = Literal["beam", "astar", "sample", "shortest_path"]
ArrivalName = Literal["best", "first"]
SplitName = Literal["train", "test"]
TimesName = Literal["drawn", "expected"]
CostsName = Literal["given", "fitted"]
PairSource = Literal["train", "val", "test", "model"]  # a split, or a smoothed model of demand

DEFAULT_MAX_STEPS = 5000
DEFAULT_NUM_TRIPS = 5000
MAX_BEAM_WIDTH = 1 << 14
MAX_PROCESSES = 1024
HOTTEST = 100.0
COSTLIEST = 1000.0
COSTS = ("detour_cost", "delay_cost", "turn_cost")  # of `SearchSettings`
# Drawn trips are then as varied as the drivers' own; 1 draws fairly from what the student believes.
USUAL_TEMPERATURE = 0.5


@dataclass(frozen=True)
class SearchSettings:
    """How a trip is looked for."""

    name: SearchName = "beam"
    beam_width: int | None = None  # None: 4 for beam; sample has no beam then, and draws exactly
    max_steps: int = DEFAULT_MAX_STEPS  # partial trips to continue, at most, per trip
    arrival: ArrivalName = "best"  # with which a beam trip ends; the first, as in the documents
    temperature: float = USUAL_TEMPERATURE  # of the distribution that `sample` draws from
    detour_cost: float = 0.0  # nats a km of road beyond the cheapest way
    delay_cost: float = 0.0  # nats a minute beyond it, as long as roads usually take
    turn_cost: float = 0.0  # a nat by which turns are unlikelier than its, as trips took them
    costs: CostsName = "given"  # or found for the student by likelihood, with its sharpness
    times: TimesName = "drawn"  # or the expected ones, as the original writes them

    def __post_init__(self) -> None:
        check_choice("search", self.name, get_args(SearchName))
        check_choice("times", self.times, get_args(TimesName))
        check_choice("costs", self.costs, get_args(CostsName))
        check_choice("arrival", self.arrival, get_args(ArrivalName))
        if not 0.0 < self.temperature <= HOTTEST:
            raise UserError(
                f"temperature is {self.temperature}; it must be above 0 and at most {HOTTEST:g}."
            )
        self._check_costs()
        check_count("beam_width", self.beam_width, MAX_BEAM_WIDTH)
        check_count("max_steps", self.max_steps)

    @property
    def prices(self) -> tuple[float, float, float]:
        """Of a km, a minute and a nat in vain; fitted ones are not known yet."""
        return self.detour_cost, self.delay_cost, self.turn_cost

    @property
    def charges(self) -> bool:
        """Whether detours cost something."""
        return any(self.prices)

    def _check_costs(self) -> None:
        fitted = self.costs == "fitted"
        if fitted and self.name == "sample" and self.beam_width is not None:
            raise UserError(
                "costs are for astar, and for sample without a beam; leave out beam_width."
            )
        for name in COSTS:
            cost = getattr(self, name)
            if cost and fitted:
                raise UserError(
                    f"{name} is {cost}, but costs are to be fitted; ask for one of them."
                )
            if not 0.0 <= cost <= COSTLIEST:
                raise UserError(f"{name} is {cost}; it must be between 0 and {COSTLIEST:g} nats.")
            if cost and self.name == "sample" and self.beam_width is not None:
                raise UserError(
                    f"{name} is for astar, and for sample without a beam; leave out beam_width."
                )


@dataclass(frozen=True)
class PairSettings:
    """Where trips begin and end: pairs drawn from a split or a model, or a file's in its order."""

    split: PairSource = "test"
    file: Path | None = None
    routes_per_od: int = 1  # trips asked for one pair, one after the other
    anonymity: int = 5  # of the model: what fewer trips than this say is not used

    def __post_init__(self) -> None:
        check_choice("od_source", self.split, get_args(PairSource))
        check_count("routes_per_od", self.routes_per_od)
        check_count("anonymity", self.anonymity)


@dataclass(frozen=True)
class Execution:
    """How the work is done; the trips do not depend on it."""

    processes: int = 1
    batch_size: int | None = None  # trips searched at a time; None: what suits the device
    resume: bool = False  # continue the output instead of starting over
    progress: bool = False

    def __post_init__(self) -> None:
        check_count("processes", self.processes, MAX_PROCESSES)
        check_count("batch_size", self.batch_size)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses a value that is none of the choices."""
    if value not in allowed:
        raise UserError(f"{name} is {value!r}; allowed: {', '.join(allowed)}.")


def check_count(name: str, number: int | None, most: int = LARGEST_INT) -> None:
    """Refuses a number below 1, and one above `most`: by default what sums of 64 bits hold."""
    if number is not None and number < 1:
        raise UserError(f"{name} is {number}; it must be at least 1.")
    if number is not None and number > most:
        raise UserError(f"{name} is {number}; it must be at most {most}.")
