"""Trips and roads as GeoJSON (RFC 7946) for GIS programs.

Written feature by feature, so that memory does not depend on how many there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork
from metrics.generated import GeneratedTrips
from metrics.trips import Trips
from runtime.files import replace_atomically

DECIMALS = 7  # about a centimetre

Feature = dict[str, Any]
Position = list[float]


def write_feature_collection(path: Path, features: Iterable[Feature]) -> int:
    """Writes features, one a line; returns their number."""
    count = 0
    with replace_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for feature in features:
            file.write(("\n" if count == 0 else ",\n") + json.dumps(feature, allow_nan=False))
            count += 1
        file.write("\n]}\n")
    return count


def road_features(network: RoadNetwork) -> Iterator[Feature]:
    """Every road with its id, type and length."""
    for road in range(network.num_roads):
        yield {
            "type": "Feature",
            "id": road,
            "geometry": {"type": "LineString", "coordinates": _polyline(network, road)},
            "properties": {
                "road_id": road,
                "highway": network.type_names[int(network.road_attr_type[road])],
                "length_m": float(network.length_m[road]),
            },
        }


def trip_features(trips: Trips, network: RoadNetwork, kind: str) -> Iterator[Feature]:
    """Every trip as a line along its roads, or several lines where roads are not joined."""
    for index in range(len(trips)):
        roads, times = trips.trip(index)
        yield {
            "type": "Feature",
            "id": index,
            "geometry": _geometry(network, roads),
            "properties": {
                "kind": kind,
                "trip": index,
                "origin_road": int(roads[0]),
                "destination_road": int(roads[-1]),
                "roads": len(roads),
                "start": _iso(int(times[0])),
                "end": _iso(int(times[-1])),
                "minutes": float(times[-1] - times[0]) / 60.0,
            },
        }


def generated_features(generated: GeneratedTrips, network: RoadNetwork) -> Iterator[Feature]:
    """Generated trips, with what their file says of them."""
    for index, feature in enumerate(trip_features(generated.trips, network, "generated")):
        if generated.reached is not None:
            feature["properties"]["reached"] = bool(generated.reached[index])
        if generated.log_prob is not None and np.isfinite(generated.log_prob[index]):
            feature["properties"]["log_prob"] = float(generated.log_prob[index])
        yield feature


def _geometry(network: RoadNetwork, roads: NDArray[np.int32]) -> dict[str, Any]:
    lines: list[list[Position]] = []
    for road in roads.tolist():
        line = _polyline(network, road)
        if lines and lines[-1][-1] == line[0]:
            lines[-1].extend(line[1:])
        else:
            lines.append(line)
    if len(lines) == 1:
        return {"type": "LineString", "coordinates": lines[0]}
    return {"type": "MultiLineString", "coordinates": lines}


def _polyline(network: RoadNetwork, road: int) -> list[Position]:
    span = slice(network.vertex_offsets[road], network.vertex_offsets[road + 1])
    lon = np.round(network.vertex_lon[span], DECIMALS).tolist()
    lat = np.round(network.vertex_lat[span], DECIMALS).tolist()
    points = [list(point) for point in zip(lon, lat, strict=True)]
    return points if len(points) > 1 else points * 2  # a line has at least two positions


def _iso(seconds: int) -> str:
    return f"{np.datetime64(seconds, 's')}Z"
