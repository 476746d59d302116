"""What the HTML report shows, gathered as plain data.

Roads are written once; a trip refers to them by id. Coordinates are whole millionths of a degree,
each relative to the one before, which keeps a city of 50,000 roads at a few megabytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.attribution import read_attribution
from data.road_network import RoadNetwork
from metrics.assessment import Assessment, Measures
from metrics.comparison import Comparison
from metrics.measures import MEASURES, QUANTITIES, pair_values
from metrics.trips import Trips
from report.inputs import LearningCurve
from report.sections import Section
from report.tables import MARKS_LEGEND, comparison_rows

MICRODEGREES = 1e6
TRIPS_SHOWN = 60


@dataclass(frozen=True)
class Run:
    """One evaluated model: its measurements and, where known, how it was trained."""

    assessment: Assessment
    od_source: str
    curves: Sequence[LearningCurve] = field(default_factory=list)


def build_payload(
    title: str,
    runs: Sequence[Run],
    comparisons: Sequence[Comparison],
    sections: Sequence[Section] = (),
) -> dict[str, Any]:
    """Everything the report's scripts read. All runs are of the same network."""
    network = runs[0].assessment.reference.network
    sources = list(dict.fromkeys(run.od_source for run in runs))
    shown = {source: _shown_real_trips(source, runs) for source in sources}
    references = {run.od_source: run.assessment.reference for run in runs}
    return {
        "title": title,
        "network": network_payload(network),
        "attribution": read_attribution(network.folder),
        "sources": {
            source: {
                "real_trips": len(references[source].trips),
                "traffic": _traffic(references[source].trips, network),
                "trips": [
                    trip_payload(references[source].trips, int(index)) for index in shown[source]
                ],
                "centre": _centre(references[source]),
            }
            for source in sources
        },
        "runs": [_run(run, shown[run.od_source]) for run in runs],
        "measures": [
            {
                "key": measure.name,
                "title": measure.title,
                "unit": measure.unit,
                "smaller_is_better": None if measure.better is None else measure.better == "lower",
                "headline": measure.headline,
                "plotted": measure.plotted,
                "floor": measure.floor if measure.is_divergence else None,
            }
            for measure in MEASURES.values()
        ],
        "quantities": [[each.name, each.title, each.unit] for each in QUANTITIES if each.plotted],
        "scenarios": runs[0].assessment.reference.scenarios.descriptions,
        "curves": _curves(runs),
        "comparisons": [_comparison(comparison) for comparison in comparisons],
        "marks_legend": MARKS_LEGEND,
        "sections": [section.to_json() for section in sections],
    }


def network_payload(network: RoadNetwork) -> dict[str, Any]:
    """The roads as the map draws them."""
    lon = np.round(network.vertex_lon * MICRODEGREES).astype(np.int64)
    lat = np.round(network.vertex_lat * MICRODEGREES).astype(np.int64)
    return {
        "vertices_of_road": np.diff(network.vertex_offsets).tolist(),
        "lon": np.diff(lon, prepend=0).tolist(),
        "lat": np.diff(lat, prepend=0).tolist(),
        "length_m": np.round(network.length_m).astype(np.int64).tolist(),
        "type": network.road_attr_type.tolist(),
        "type_names": network.type_names,
    }


def _centre(reference: Any) -> dict[str, float]:
    centre = reference.centre
    return {"lat": centre.lat, "lon": centre.lon, "radius_km": centre.radius_km}


def _traffic(trips: Trips, network: RoadNetwork) -> list[int]:
    """How many trip steps each road carries. [R]"""
    return np.bincount(trips.road_ids, minlength=network.num_roads).tolist()


def trip_payload(trips: Trips, index: int) -> dict[str, Any]:
    """One trip: its roads, and seconds since its start."""
    roads, times = trips.trip(index)
    return {
        "index": index,
        "roads": roads.tolist(),
        "start": int(times[0]),
        "seconds": (times - times[0]).tolist(),
    }


def _shown_real_trips(source: str, runs: Sequence[Run]) -> NDArray[np.int64]:
    """Real trips from the best to the worst matched of the first model, evenly; by all shared."""
    of_source = [run.assessment for run in runs if run.od_source == source]
    shared = of_source[0].pairs.real
    for assessment in of_source[1:]:
        shared = np.intersect1d(shared, assessment.pairs.real)
    if not len(shared):
        shared = of_source[0].pairs.real
    if not len(shared):
        return np.zeros(0, dtype=np.int64)
    first = of_source[0]
    far = first.local.hausdorff_km[np.isin(first.pairs.real, shared)]
    ordered = first.pairs.real[np.isin(first.pairs.real, shared)][np.argsort(far, kind="stable")]
    picks = np.unique(np.linspace(0, len(ordered) - 1, min(TRIPS_SHOWN, len(ordered))).astype(int))
    return ordered[picks]


def _run(run: Run, shown: NDArray[np.int64]) -> dict[str, Any]:
    assessment = run.assessment
    generated = assessment.read_trips()
    position = {int(real): k for k, real in enumerate(assessment.pairs.real)}
    measures = pair_values(assessment.local)
    trips: list[dict[str, Any] | None] = []
    for real in shown.tolist():
        k = position.get(real)
        if k is None:
            trips.append(None)
            continue
        trip = trip_payload(generated, int(assessment.pairs.generated[k]))
        trips.append({**trip, "values": {name: float(v[k]) for name, v in measures.items()}})
    unpaired = [] if len(shown) else range(min(TRIPS_SHOWN, len(generated)))
    return {
        "model": assessment.name,
        "source": run.od_source,
        "generated_trips": assessment.num_trips,
        "pairs": len(assessment.pairs),
        "measures": _measures(assessment.overall),
        "scenarios": {
            name: {
                "real_trips": found.real_trips,
                "generated_trips": found.generated_trips,
                "pairs": found.pairs,
                "measures": _measures(found.measures),
            }
            for name, found in assessment.scenarios.items()
        },
        "distributions": {
            name: {"edges": d.edges, "real": d.real, "generated": d.generated}
            for name, d in assessment.distributions.items()
        },
        "traffic": assessment.traffic.tolist(),
        "trips": trips,
        "unpaired": [trip_payload(generated, index) for index in unpaired],
    }


def _measures(measures: Measures) -> dict[str, Any]:
    """Each measure as [value, low, high], and the means beside the divergences."""
    found: dict[str, Any] = {}
    for name, value in measures.values.items():
        interval = measures.intervals.get(name)
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        found[name] = [value, low, high]
    return found


def _curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    curves: dict[str, dict[str, Any]] = {}
    for run in runs:
        for curve in run.curves:
            epochs = [
                {key: value if math.isfinite(value) else None for key, value in row.items()}
                for row in curve.epochs
            ]
            curves.setdefault(curve.name, {"name": curve.name, "epochs": epochs})
    return list(curves.values())


def _comparison(comparison: Comparison) -> dict[str, Any]:
    rows, header = comparison_rows(comparison)
    marks = {
        f"{row.first}\n{row.second}\n{row.measure}": {
            "mark": row.mark,
            "better": row.mean_difference < 0,
        }
        for row in comparison.rows
    }
    return {
        "source": comparison.od_source,
        "models": comparison.models,
        "header": header,
        "rows": rows,
        "marks": marks,
    }
