"""One set of generated trips held against the real ones: every measure, interval and scenario."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.choices import DtwKind, OnBadRows
from data.road_network import RoadNetwork
from metrics.behaviour import Behaviour, behave
from metrics.distributions import (
    NUM_BINS,
    BinnedTrips,
    Values,
    bin_edges,
    bin_index,
    histogram,
    jensen_shannon,
)
from metrics.floor import SampleSizes, divergence_floor
from metrics.generated import GeneratedTrips
from metrics.local import PairMetrics, measure_local
from metrics.measures import OVERALL_MEASURES, Subject, measure_quantities, pair_values
from metrics.od import OdGrid, Pairs, pair_trips
from metrics.scenarios import Centre, Scenarios
from metrics.statistics import Bootstrap, Interval, divergence_interval
from metrics.trips import Trips
from metrics.usual import Usual

BoolArray = NDArray[np.bool_]


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
class Distribution:
    """A quantity's histograms: `edges` [100], the last bin is open."""

    edges: list[float]
    real: list[int]
    generated: list[int]


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

    @cached_property
    def edges(self) -> dict[str, NDArray[np.float64]]:
        """The bins of every quantity that the real trips have values of."""
        return {
            name: bin_edges(real.values)
            for name, real in self.quantities.items()
            if real.values.size
        }

    def floor(self, name: str, generated_values: int) -> float | None:
        """The floor of a quantity's divergence from all real trips, of so many generated values."""
        real = self.quantities[name]
        blocks = self.bootstrap.table(bin_index(real.values, self.edges[name]), real.unit)
        sizes = SampleSizes(len(real.values), generated_values)
        return divergence_floor(blocks, sizes, real.clustered, self.settings.seed)

    def distribution(self, name: str, generated: BinnedTrips) -> Distribution:
        """A quantity of real and generated trips side by side."""
        edges = self.edges[name]
        return Distribution(
            edges=edges[:-1].tolist(),
            real=histogram(self.quantities[name].values, edges).tolist(),
            generated=generated.histogram().tolist(),
        )

    @cached_property
    def behaviour(self) -> Behaviour | None:
        """How the real trips themselves behave: what to expect of a perfect model."""
        return None if self.usual is None else behave(self.trips, self.usual)


@dataclass(frozen=True)
class Measures:
    """The numbers for all trips or for those of one scenario; None where there is no value."""

    values: dict[str, float | None] = field(default_factory=dict)
    intervals: dict[str, Interval | None] = field(default_factory=dict)

    def add(self, name: str, value: float | None, interval: Interval | None = None) -> None:
        """Adds a measure that has an interval where it could be computed."""
        self.values[name] = value
        self.intervals[name] = interval

    def to_json(self) -> dict[str, Any]:
        """The values, with the intervals as pairs under `intervals`."""
        intervals = {
            name: None if interval is None else [interval.low, interval.high]
            for name, interval in self.intervals.items()
        }
        return {**self.values, "intervals": intervals}


@dataclass(frozen=True)
class ScenarioMeasures:
    """The measures of one scenario and how many trips they rest on."""

    real_trips: int
    generated_trips: int
    pairs: int
    measures: Measures


@dataclass(frozen=True)
class Assessment:
    """Everything measured of one generated file, without its trips.

    Those are read again where some are to be shown, so that the memory of a study is bounded by
    one file.
    """

    name: str
    reference: Reference
    read_trips: Callable[[], Trips]
    lengths: NDArray[np.int32]  # [n], roads of each generated trip
    traffic: NDArray[np.int64]  # [R], how many generated trip steps each road carries
    skipped: int  # bad rows of the file that were left out
    bins: dict[str, BinnedTrips]  # of every quantity
    pairs: Pairs
    local: PairMetrics
    overall: Measures
    scenarios: dict[str, ScenarioMeasures]
    distributions: dict[str, Distribution]
    behaviour: Behaviour | None = None

    @property
    def num_trips(self) -> int:
        """How many trips were generated."""
        return len(self.lengths)

    def to_json(self) -> dict[str, Any]:
        """The content of `results.json`, less its metadata."""
        scenarios = {
            name: {
                "description": self.reference.scenarios.descriptions[name],
                "real_trips": scenario.real_trips,
                "generated_trips": scenario.generated_trips,
                "pairs": scenario.pairs,
                **scenario.measures.to_json(),
            }
            for name, scenario in self.scenarios.items()
        }
        distributions = {
            name: {"bin_edges": d.edges, "real": d.real, "generated": d.generated}
            for name, d in self.distributions.items()
        }
        centre = self.reference.centre
        return {
            **self.overall.to_json(),
            "pairs": len(self.pairs),
            "matched_od_pairs": self.pairs.matched_od,
            "generated_od_pairs": self.pairs.generated_od,
            "generated_trips": self.num_trips,
            "skipped_rows": self.skipped,
            "behaviour": None if self.behaviour is None else self.behaviour.to_json(),
            "scenarios": scenarios,
            "centre": {"lat": centre.lat, "lon": centre.lon, "radius_km": centre.radius_km},
            "distributions": distributions,
        }


def assess(
    name: str,
    generated: GeneratedTrips,
    reference: Reference,
    read_again: Callable[[], Trips] | None = None,
) -> Assessment:
    """Measures generated trips against the real ones of `reference`.

    The result does not hold the trips if they can be read again.
    """
    settings = reference.settings
    rng = np.random.default_rng([settings.seed, 1])
    quantities = measure_quantities(generated.trips, reference.network)
    pairs = pair_trips(reference.trips, generated.trips, reference.grid)
    local = measure_local(
        reference.trips,
        generated.trips,
        pairs,
        reference.network,
        edr_eps=settings.edr_eps,
        dtw=settings.dtw,
    )
    sides = _Sides(
        reference,
        quantities,
        pairs,
        local,
        Bootstrap(len(generated), settings.bootstrap, rng),
        Bootstrap(len(pairs), settings.bootstrap, rng),
    )
    everything = np.ones(len(reference.trips), dtype=bool), np.ones(len(generated), dtype=bool)
    overall = sides.measures(*everything)
    behaviour = None if reference.usual is None else behave(generated.trips, reference.usual)
    subject = Subject(
        network=reference.network,
        real=reference.trips,
        generated=generated,
        pairs=pairs,
        grid=reference.grid,
        behaviour=behaviour,
        training=None if reference.usual is None else reference.usual.trips,
    )
    _add_overall(overall, subject, sides.generated_bootstrap)
    generated_labels = reference.scenarios.label(generated.trips)
    scenarios = {
        label: sides.scenario(reference.scenarios.min_trips(label), mask, generated_labels[label])
        for label, mask in reference.labels.items()
    }
    bins = {
        each: BinnedTrips.of(values, reference.edges[each], len(generated))
        for each, values in quantities.items()
        if each in reference.edges
    }
    return Assessment(
        name=name,
        reference=reference,
        read_trips=read_again or (lambda: generated.trips),
        lengths=generated.trips.lengths.astype(np.int32),
        traffic=np.bincount(generated.trips.road_ids, minlength=reference.network.num_roads),
        skipped=generated.skipped,
        bins=bins,
        pairs=pairs,
        local=local,
        overall=overall,
        scenarios=scenarios,
        distributions={name: reference.distribution(name, each) for name, each in bins.items()},
        behaviour=behaviour,
    )


@dataclass(frozen=True)
class _Sides:
    """Real and generated trips side by side, ready to be measured in part."""

    reference: Reference
    quantities: dict[str, Values]
    pairs: Pairs
    local: PairMetrics
    generated_bootstrap: Bootstrap
    pair_bootstrap: Bootstrap

    def scenario(
        self, min_trips: int, real_mask: BoolArray, generated_mask: BoolArray
    ) -> ScenarioMeasures:
        """The measures of one scenario; none where it has too few trips."""
        counts = int(real_mask.sum()), int(generated_mask.sum())
        return ScenarioMeasures(
            real_trips=counts[0],
            generated_trips=counts[1],
            pairs=int(real_mask[self.pairs.real].sum()),
            measures=(
                self.measures(real_mask, generated_mask)
                if min(counts) >= min_trips or min_trips == 1
                else Measures()
            ),
        )

    def measures(self, real_mask: BoolArray, generated_mask: BoolArray) -> Measures:
        """The measures over the chosen real and generated trips; a pair follows its real trip."""
        measures = Measures()
        real_values, generated_values = self.reference.quantities, self.quantities
        for name in real_values:
            self._add_divergence(
                measures,
                name,
                _restrict(real_values[name], real_mask),
                _restrict(generated_values[name], generated_mask),
            )
        chosen = np.flatnonzero(real_mask[self.pairs.real])
        for name, values in pair_values(self.local).items():
            mean = float(values[chosen].mean()) if len(chosen) else None
            interval = self.pair_bootstrap.mean_interval(values[chosen], chosen)
            measures.add(name, mean, interval)
        return measures

    def _add_divergence(
        self, measures: Measures, name: str, real: Values, generated: Values
    ) -> None:
        divergence, interval, floor = None, None, None
        if len(real.values) and len(generated.values):
            edges = bin_edges(real.values)
            real_bins = bin_index(real.values, edges)
            generated_bins = bin_index(generated.values, edges)
            counts = [np.bincount(bins, minlength=NUM_BINS) for bins in (real_bins, generated_bins)]
            divergence = float(jensen_shannon(counts[0], counts[1]))
            blocks = self.reference.bootstrap.table(real_bins, real.unit)
            interval = divergence_interval(
                self.reference.bootstrap.weights @ blocks,
                self.generated_bootstrap.histograms(generated_bins, generated.unit),
                divergence,
            )
            sizes = SampleSizes(len(real.values), len(generated.values))
            floor = divergence_floor(blocks, sizes, real.clustered, self.reference.settings.seed)
        measures.add(f"{name}_jsd", divergence, interval)
        measures.values[f"{name}_jsd_floor"] = floor
        measures.values[f"{name}_real_mean"] = _mean(real)
        measures.values[f"{name}_gen_mean"] = _mean(generated)


def _restrict(values: Values, mask: BoolArray) -> Values:
    if mask.all():
        return values
    kept = mask[values.unit]
    return Values(values.values[kept], values.unit[kept])


def _mean(values: Values) -> float | None:
    return float(values.values.mean()) if len(values.values) else None


def _add_overall(measures: Measures, subject: Subject, bootstrap: Bootstrap) -> None:
    for measure in OVERALL_MEASURES:
        found = measure.of(subject)
        if measure.is_divergence:
            measures.values[measure.floor] = found.floor
        if found.by_trip is None:
            measures.values[measure.name] = found.value
            continue
        known = np.flatnonzero(~np.isnan(found.by_trip))
        interval = bootstrap.mean_interval(found.by_trip[known], known)
        measures.add(measure.name, found.value, interval)
