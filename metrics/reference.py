"""The real trips, with all that every comparison with them needs, computed once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from config.choices import DtwKind, OnBadRows
from data.road_network import RoadNetwork
from metrics.behaviour import Behaviour, behave
from metrics.distributions import Values, bin_edges, bin_index
from metrics.floor import SampleSizes, divergence_floor
from metrics.measures import measure_quantities
from metrics.od import OdGrid
from metrics.scenarios import Centre, Scenarios
from metrics.statistics import Bootstrap
from metrics.trips import Trips
from metrics.usual import Usual

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on beside the trips."""

    grid_size: float = 0.001
    edr_eps: float = 100.0
    dtw: DtwKind = "fastdtw"
    bootstrap: int = 1000
    seed: int = 0
    on_bad_rows: OnBadRows = "error"
    scenarios: str | None = None  # a file of one's own
    behaviour: bool = True  # whether training trips are read to learn what is usual


@dataclass(frozen=True)
class RealPart:
    """A quantity of the real trips, or of some of them, and its resamples."""

    values: Values
    edges: NDArray[np.float64]  # [NUM_BINS + 1]
    blocks: IntArray  # [blocks, NUM_BINS], the histogram of each block of trips
    resampled: NDArray[np.float32]  # [samples, NUM_BINS]
    seed: int

    @classmethod
    def of(cls, values: Values, bootstrap: Bootstrap, seed: int) -> RealPart:
        """That of these values."""
        edges = bin_edges(values.values)
        blocks = bootstrap.table(bin_index(values.values, edges), values.unit)
        return cls(values, edges, blocks, bootstrap.histograms(blocks), seed)

    @cached_property
    def counts(self) -> IntArray:
        """How many values fall into each bin. [NUM_BINS]"""
        counts: IntArray = self.blocks.sum(axis=0)
        return counts

    def floor(self, generated_values: int) -> float | None:
        """What two samples of this distribution differ by, one of so many generated values."""
        sizes = SampleSizes(len(self.values.values), generated_values)
        return divergence_floor(self.blocks, sizes, self.values.clustered, self.seed)


@dataclass(frozen=True)
class Reference:
    """The real trips and what every comparison with them needs, computed once."""

    network: RoadNetwork
    trips: Trips
    settings: Settings
    grid: OdGrid
    quantities: dict[str, Values]
    centre: Centre
    scenarios: Scenarios
    labels: dict[str, BoolArray]
    bootstrap: Bootstrap
    usual: Usual | None = None  # of the training trips
    _parts: dict[tuple[str, str | None], RealPart | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        trips: Trips,
        network: RoadNetwork,
        settings: Settings,
        usual: Usual | None = None,
    ) -> Reference:
        """Measures the real trips."""
        centre = Centre.of(trips, network)
        scenarios = Scenarios.of(centre, network, settings.scenarios)
        return cls(
            network=network,
            trips=trips,
            settings=settings,
            grid=OdGrid.over(network, settings.grid_size),
            quantities=measure_quantities(trips, network),
            centre=centre,
            scenarios=scenarios,
            labels=scenarios.label(trips),
            bootstrap=Bootstrap(
                len(trips), settings.bootstrap, np.random.default_rng([settings.seed, 0])
            ),
            usual=usual,
        )

    def part(self, quantity: str, scenario: str | None = None) -> RealPart | None:
        """A quantity of all real trips, or of a scenario's; None where they have no values."""
        key = (quantity, scenario)
        if key not in self._parts:
            values = self.quantities[quantity]
            if scenario is not None:
                values = values.of_units(self.labels[scenario])
            has_some = len(values.values) > 0
            self._parts[key] = (
                RealPart.of(values, self.bootstrap, self.settings.seed) if has_some else None
            )
        return self._parts[key]

    @cached_property
    def behaviour(self) -> Behaviour | None:
        """How the real trips themselves behave: what to expect of a perfect model."""
        return None if self.usual is None else behave(self.trips, self.usual)
