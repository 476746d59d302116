"""One piece of points from records to trips with their quality."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.match.cleaning import clean, thin
from data.match.legs import Trips, trips_of_legs
from data.match.matcher import Legs, Matcher, TripPoints
from data.match.records import Records
from data.match.settings import MatchSettings, spacing_m

IntArray = NDArray[np.int64]
DISTANCE_EDGES_M = np.array([0, 2, 5, 10, 15, 20, 30, 50, 100, 200, 2000], dtype=np.float64)


@dataclass(frozen=True)
class PointPlaces:
    """Where points lie on the roads, for those who want them."""

    vehicle: NDArray[np.int32]
    time_s: NDArray[np.float64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    road: NDArray[np.int32]  # −1 where the point is left out
    along_m: NDArray[np.float32]
    distance_m: NDArray[np.float32]


@dataclass
class PieceResult:
    """Trips of a piece and what there is to say about them."""

    trips: Trips
    counts: Counter[str] = field(default_factory=Counter)
    distances: IntArray = field(
        default_factory=lambda: np.zeros(len(DISTANCE_EDGES_M) - 1, dtype=np.int64)
    )
    places: PointPlaces | None = None


def match_piece(records: Records, matcher: Matcher, settings: MatchSettings) -> PieceResult:
    """Cleans, matches and cuts the points of a piece into trips."""
    counts: Counter[str] = Counter()
    counts["points"] += len(records)
    cleaned = clean(records, settings.cleaning, counts)
    counts["trips in the points"] += len(cleaned.offsets) - 1
    spacing = spacing_m(matcher.model.sigma_m)
    points, rows = thin(records, cleaned, spacing, counts)
    legs = matcher.match(points)
    _count_points(points, legs, counts)
    vehicle = records["vehicle"][rows[points.offsets[:-1]]] if len(rows) else rows.astype(np.int32)
    trips = trips_of_legs(legs, vehicle, matcher.network, settings, counts)
    matched = legs.places.leg >= 0
    distances, _ = np.histogram(legs.places.distance_m[matched], DISTANCE_EDGES_M)
    result = PieceResult(trips, counts, distances.astype(np.int64))
    if settings.keep_points:
        result.places = _places(records, rows, legs)
    return result


def _count_points(points: TripPoints, legs: Legs, counts: Counter[str]) -> None:
    matched = legs.places.leg >= 0
    counts["points: matched"] += int(matched.sum())
    counts["points: off the roads"] += int((~matched).sum())
    found = np.zeros(len(points.offsets) - 1, dtype=np.int64)
    np.add.at(found, legs.trip, 1)
    counts["trips without a road near"] += int((found == 0).sum())
    counts["trips that broke"] += int((found > 1).sum())
    counts["breaks"] += int(np.maximum(found - 1, 0).sum())


def _places(records: Records, rows: IntArray, legs: Legs) -> PointPlaces:
    matched = legs.places.leg >= 0
    road = np.full(len(rows), -1, dtype=np.int32)
    where = legs.offsets[legs.places.leg[matched]] + legs.places.number[matched]
    road[matched] = legs.roads[where]
    return PointPlaces(
        vehicle=records["vehicle"][rows],
        time_s=records["time_s"][rows],
        lon=records["lon"][rows],
        lat=records["lat"][rows],
        road=road,
        along_m=legs.places.along_m,
        distance_m=legs.places.distance_m,
    )
