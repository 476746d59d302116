"""One set of generated trips held against the real ones: every measure, interval and scenario."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.behaviour import Behaviour, behave
from metrics.distributions import NUM_BINS, BinnedTrips, Values, bin_index, jensen_shannon
from metrics.generated import GeneratedTrips
from metrics.local import PairMetrics, measure_local
from metrics.measures import OVERALL_MEASURES, Subject, measure_quantities, pair_values
from metrics.od import Pairs, pair_trips
from metrics.reference import RealPart, Reference
from metrics.statistics import Bootstrap, Interval, divergence_interval
from metrics.trips import Trips

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Distribution:
    """A quantity's histograms: `edges` [100], the last bin is open."""

    edges: list[float]
    real: list[int]
    generated: list[int]

    @classmethod
    def of(cls, part: RealPart, generated: BinnedTrips) -> Distribution:
        """The quantity of real and generated trips side by side."""
        edges = part.edges[:-1].tolist()
        return cls(edges, part.counts.tolist(), generated.histogram().tolist())


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
    overall = sides.measures(None, np.ones(len(generated), dtype=bool))
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
        label: sides.scenario(label, generated_labels[label]) for label in reference.labels
    }
    bins, distributions = _distributed(quantities, reference, len(generated))
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
        distributions=distributions,
        behaviour=behaviour,
    )


def _distributed(
    quantities: dict[str, Values], reference: Reference, num_trips: int
) -> tuple[dict[str, BinnedTrips], dict[str, Distribution]]:
    """Which trips fall into which of the real ones' bins, and both sides' distributions."""
    bins, distributions = {}, {}
    for name, values in quantities.items():
        part = reference.part(name)
        if part is not None:
            bins[name] = BinnedTrips.of(values, part.edges, num_trips)
            distributions[name] = Distribution.of(part, bins[name])
    return bins, distributions


@dataclass(frozen=True)
class _Sides:
    """Real and generated trips side by side, ready to be measured in part."""

    reference: Reference
    quantities: dict[str, Values]
    pairs: Pairs
    local: PairMetrics
    generated_bootstrap: Bootstrap
    pair_bootstrap: Bootstrap

    def scenario(self, label: str, generated_mask: BoolArray) -> ScenarioMeasures:
        """The measures of one scenario; none where it has too few trips."""
        real_mask = self.reference.labels[label]
        counts = int(real_mask.sum()), int(generated_mask.sum())
        min_trips = self.reference.scenarios.min_trips(label)
        return ScenarioMeasures(
            real_trips=counts[0],
            generated_trips=counts[1],
            pairs=int(real_mask[self.pairs.real].sum()),
            measures=(
                self.measures(label, generated_mask)
                if min(counts) >= min_trips or min_trips == 1
                else Measures()
            ),
        )

    def measures(self, scenario: str | None, generated_mask: BoolArray) -> Measures:
        """The measures over all trips, or those of a scenario; a pair follows its real trip."""
        measures = Measures()
        for name, quantity in self.quantities.items():
            part = self.reference.part(name, scenario)
            self._add_divergence(measures, name, part, quantity.of_units(generated_mask))
        real_mask = np.ones(len(self.reference.trips), dtype=bool)
        if scenario is not None:
            real_mask = self.reference.labels[scenario]
        chosen = np.flatnonzero(real_mask[self.pairs.real])
        for name, values in pair_values(self.local).items():
            mean = float(values[chosen].mean()) if len(chosen) else None
            interval = self.pair_bootstrap.mean_interval(values[chosen], chosen)
            measures.add(name, mean, interval)
        return measures

    def _add_divergence(
        self, measures: Measures, name: str, real: RealPart | None, generated: Values
    ) -> None:
        divergence, interval, floor = None, None, None
        if real is not None and len(generated.values):
            bins = bin_index(generated.values, real.edges)
            counts = np.bincount(bins, minlength=NUM_BINS)
            divergence = float(jensen_shannon(real.counts, counts))
            table = self.generated_bootstrap.table(bins, generated.unit)
            drawn = self.generated_bootstrap.histograms(table)
            interval = divergence_interval(real.resampled, drawn, divergence)
            floor = real.floor(len(generated.values))
        measures.add(f"{name}_jsd", divergence, interval)
        measures.values[f"{name}_jsd_floor"] = floor
        measures.values[f"{name}_real_mean"] = None if real is None else _mean(real.values)
        measures.values[f"{name}_gen_mean"] = _mean(generated)


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
